"""The fidelity checks: what a sleep is, stated without the code that does it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sleepmem.model.layers import GatedDeltaNet, Recurrence
from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import sleep, sleep_steps


def ids(n_tokens: int, *, n_batch: int = 1, seed: int = 1) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(0, 61, (n_batch, n_tokens), generator=gen)


def lived(lm: SleepForCausalLM, n_batch: int = 1) -> tuple[Tensor, ...]:
    """Return fast weights that are not blank."""
    return sleep(lm, lm.model.blank(n_batch), ids(19, n_batch=n_batch, seed=9), 2)


@torch.no_grad()
def test_one_pass_is_the_plain_hybrid_bit_for_bit(make_lm) -> None:
    lm = make_lm()
    weights, tokens = lived(lm), ids(37)
    _, states = lm.model(lm.embed(tokens), lm.model.window_start(weights))
    for plain, slept in zip(fast_weights(states), sleep(lm, weights, tokens, 1), strict=True):
        assert torch.equal(plain, slept)


@torch.no_grad()
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_fast_weights_equal_one_scan_over_all_passes(make_lm, monkeypatch, passes: int) -> None:
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
def test_zeroing_the_fast_weights_removes_every_effect_of_the_episode(make_lm) -> None:
    lm = make_lm()
    question = ids(11, seed=3)

    def answer(weights: tuple[Tensor, ...]) -> Tensor:
        h, _ = lm.model(lm.embed(question), lm.model.window_start(weights))
        return lm.logits(h)

    one = sleep(lm, lm.model.blank(1), ids(37, seed=5), 3)
    other = sleep(lm, lm.model.blank(1), ids(37, seed=6), 3)
    assert not torch.equal(answer(one), answer(other))
    zeroed = [tuple(torch.zeros_like(w) for w in weights) for weights in (one, other)]
    assert torch.equal(answer(zeroed[0]), answer(zeroed[1]))
    assert torch.equal(answer(zeroed[0]), answer(lm.model.blank(1)))


def test_gradient_through_two_windows_and_two_passes_equals_finite_differences(make_lm) -> None:
    lm = make_lm("AG", double=True)
    windows, question = (ids(9, seed=5), ids(7, seed=6)), ids(5, seed=7)

    def loss() -> Tensor:
        weights = tuple(w.double() for w in lm.model.blank(1))
        for tokens in windows:
            weights = sleep(lm, weights, tokens, 2)
        h, _ = lm.model(lm.embed(question), lm.model.window_start(weights))
        return lm.logits(h)[0, -1].log_softmax(-1)[17]

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
@pytest.mark.parametrize("passes", [1, 3])
def test_padding_leaves_fast_weights_as_they_are(make_lm, passes: int) -> None:
    lm = make_lm()
    weights, tokens = lived(lm), ids(29)
    alone = sleep(lm, weights, tokens, passes)
    padded = torch.cat([tokens, ids(8, seed=4)], dim=1)
    mask = torch.arange(37)[None] < 29
    for a, b in zip(alone, sleep(lm, weights, padded, passes, mask), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_sleep_leaves_its_input_alone_and_keeps_float32(make_lm) -> None:
    lm = make_lm()
    weights = lived(lm)
    before = [w.clone() for w in weights]
    slept = sleep(lm, weights, ids(37), 2)
    assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))
    assert {w.dtype for w in slept} == {torch.float32}


@torch.no_grad()
def test_more_passes_change_the_fast_weights_and_steps_are_layers_times_passes(make_lm) -> None:
    lm = make_lm()
    steps = list(sleep_steps(lm, lived(lm), ids(21), 3))
    assert len(steps) == 3 * len(lm.model.layers)
    assert [step is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    assert not torch.equal(steps[-1][0], sleep(lm, lived(lm), ids(21), 1)[0])


@torch.no_grad()
def test_reading_on_from_the_hidden_states_of_the_first_pass_gives_the_same(make_lm) -> None:
    """Procedures A (continue) and B (restart) of the notes agree; re-embedding does not."""
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
