"""The fidelity checks: that a sleep is the paper's, stated without the code that does it.

Check 5, Rule 110 at growing depth, is a claim about training: `sleepmem bench paper` measures it.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sleepmem.model.layers import GatedDeltaNet, Recurrence
from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import sleep


def ids(n_tokens: int, *, seed: int = 1) -> Tensor:
    return torch.randint(0, 61, (1, n_tokens), generator=torch.Generator().manual_seed(seed))


def lived(lm: SleepForCausalLM) -> tuple[Tensor, ...]:
    """Return fast weights that are not blank."""
    return sleep(lm, lm.model.blank(1), ids(19, seed=9), 2)


def answer(lm: SleepForCausalLM, weights: tuple[Tensor, ...], question: Tensor) -> Tensor:
    h, _ = lm.model(lm.embed(question), lm.model.window_start(weights))
    return lm.logits(h)


@torch.no_grad()
def test_check_1_one_pass_is_the_plain_hybrid_bit_for_bit(make_lm) -> None:
    """N=1 equals the plain hybrid with window-local attention and carried fast weights."""
    lm = make_lm()
    weights, tokens = lived(lm), ids(37)
    _, states = lm.model(lm.embed(tokens), lm.model.window_start(weights))
    for plain, slept in zip(fast_weights(states), sleep(lm, weights, tokens, 1), strict=True):
        assert torch.equal(plain, slept)


@torch.no_grad()
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_check_2_fast_weights_equal_one_scan_over_all_passes(
    make_lm, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """Per layer, S after N passes is the token-by-token scan over the N x L inputs it was given."""
    lm = make_lm()
    weights, tokens = lived(lm), ids(37)
    seen: dict[int, list[Tensor]] = {}
    original = GatedDeltaNet.forward

    def recording(self: GatedDeltaNet, x: Tensor, state: Recurrence, mask: Tensor | None):
        seen.setdefault(id(self), []).append(x)
        return original(self, x, state, mask)

    monkeypatch.setattr(GatedDeltaNet, "forward", recording)
    slept = sleep(lm, weights, tokens, passes)
    monkeypatch.setattr(GatedDeltaNet, "forward", original)
    layers = [layer.mixer for layer in lm.model.layers if isinstance(layer.mixer, GatedDeltaNet)]
    for layer, start, end in zip(layers, weights, slept, strict=True):
        inputs = seen[id(layer)]
        assert len(inputs) == passes
        s = start
        for x in inputs:  # the short convolution starts from zero in every pass
            tail = None
            for t in range(x.shape[1]):
                _, (s, tail) = layer(x[:, t : t + 1], Recurrence(s, tail), None)
        torch.testing.assert_close(end, s, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_check_3_zeroing_the_fast_weights_removes_every_effect_of_the_window(make_lm) -> None:
    """A changed token of window 1 changes answers through the fast weights and nothing else."""
    lm, question = make_lm(), ids(11, seed=3)
    tokens = ids(37, seed=5)
    changed = tokens.clone()
    changed[0, 4] = (changed[0, 4] + 1) % 61
    one, other = (sleep(lm, lm.model.blank(1), window, 3) for window in (tokens, changed))
    assert not torch.equal(answer(lm, one, question), answer(lm, other, question))
    zeroed = [tuple(torch.zeros_like(w) for w in weights) for weights in (one, other)]
    assert torch.equal(answer(lm, zeroed[0], question), answer(lm, zeroed[1], question))
    blank = lm.model.blank(1)
    assert torch.equal(answer(lm, zeroed[0], question), answer(lm, blank, question))


def test_check_4_gradient_through_two_windows_and_two_passes_equals_finite_differences(
    make_lm,
) -> None:
    """Back-propagation through 2 windows x 2 passes agrees with finite differences."""
    lm = make_lm("AG", double=True)
    windows, question = (ids(9, seed=5), ids(7, seed=6)), ids(5, seed=7)

    def loss() -> Tensor:
        weights = tuple(w.double() for w in lm.model.blank(1))
        for tokens in windows:
            weights = sleep(lm, weights, tokens, 2)
        return answer(lm, weights, question)[0, -1].log_softmax(-1)[17]

    # the layers compute in float32 inside, so run them in double for this check
    with double_inside():
        loss().backward()
        gen = torch.Generator().manual_seed(0)
        for name, parameter in lm.named_parameters():
            direction = torch.randn(parameter.shape, generator=gen, dtype=torch.float64)
            step = 1e-5
            with torch.no_grad():
                values = []
                for sign in (1, -1):
                    parameter += sign * step * direction
                    values.append(float(loss()))
                    parameter -= sign * step * direction
            numeric = (values[0] - values[1]) / (2 * step)
            analytic = float((parameter.grad * direction).sum())
            assert analytic == pytest.approx(numeric, rel=2e-4, abs=1e-7), name


class double_inside:
    """Turn `Tensor.float` into a no-op for doubles."""

    def __enter__(self) -> None:
        self._float = Tensor.float
        Tensor.float = lambda x: x if x.dtype == torch.float64 else self._float(x)  # type: ignore

    def __exit__(self, *_: object) -> None:
        Tensor.float = self._float  # type: ignore[method-assign]


@torch.no_grad()
def test_check_6_floating_point_work_of_an_answer_is_the_same_for_all_passes(make_lm) -> None:
    """Prediction costs the same for every N; only the sleep costs N times as much."""
    lm, tokens, question = make_lm(), ids(37), ids(11, seed=3)
    asleep, awake = [], []
    for passes in (1, 2, 4, 8):
        with FlopCounterMode(display=False) as counter:
            weights = sleep(lm, lm.model.blank(1), tokens, passes)
        asleep.append(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            answer(lm, weights, question)
        awake.append(counter.get_total_flops())
    assert awake == [awake[0]] * 4
    assert awake[0] > 0
    assert asleep == [n * asleep[0] for n in (1, 2, 4, 8)]


@torch.no_grad()
def test_check_7_reading_on_from_the_hidden_states_of_the_first_pass_gives_the_same(
    make_lm,
) -> None:
    """Procedures A (continue) and B (restart) agree; N passes on top of waking do not."""
    lm = make_lm()
    weights, tokens, passes = lived(lm), ids(33), 3
    h, states = lm.model(lm.embed(tokens), lm.model.window_start(weights))  # pass 1, awake
    for _ in range(passes - 1):
        h, states = lm.model(h, lm.model.window_start(fast_weights(states)))
    restarted = sleep(lm, weights, tokens, passes)
    for a, b in zip(fast_weights(states), restarted, strict=True):
        torch.testing.assert_close(a, b)
    awake = sleep(lm, weights, tokens, 1)
    wrong = sleep(lm, awake, tokens, passes)
    assert not torch.allclose(wrong[0], restarted[0], atol=1e-4)
