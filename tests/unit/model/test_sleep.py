"""What a sleep promises besides being the paper's, which `test_fidelity` judges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sleepmem.model import layers
from sleepmem.model.delta_rule import delta_chunked, delta_step
from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import n_layer_passes, sleep, sleep_steps


def ids(n_tokens: int, *, n_batch: int = 1, seed: int = 1) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(0, 61, (n_batch, n_tokens), generator=gen)


def lived(lm: SleepForCausalLM, n_batch: int = 1) -> tuple[Tensor, ...]:
    """Return fast weights that are not blank."""
    return sleep(lm, lm.model.blank(n_batch), ids(19, n_batch=n_batch, seed=9), 2)


@torch.no_grad()
@pytest.mark.parametrize("loop_layers", [0, 2])
@pytest.mark.parametrize("passes", [1, 3])
def test_padding_leaves_fast_weights_as_they_are(make_lm, passes: int, loop_layers: int) -> None:
    lm = make_lm(loop_layers=loop_layers)
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
@pytest.mark.parametrize("layers", ["AGAG", "GA", "AAG"])
def test_with_loop_layers_a_pass_writes_what_the_one_before_it_wrote_rewritten(
    make_lm, layers: str
) -> None:
    lm = make_lm(layers, loop_layers=2)
    n_prelude, n_end = layers.index("G"), layers.rindex("G") + 1
    weights, h = lived(lm), lm.embed(ids(21))
    assert torch.equal(
        sleep(lm, weights, ids(21), 1)[0],
        lm.model(h, lm.model.window_start(weights))[1][n_prelude].weights,
    )
    for layer in lm.model.layers[:n_prelude]:
        h, _ = layer(h, None)
    expected = weights
    for n in range(3):
        if n:
            for layer in lm.model.loop_layers:
                h, _ = layer(h, None)
        states, y = lm.model.window_start(expected), h
        after = []
        core = zip(lm.model.layers[n_prelude:n_end], states[n_prelude:n_end], strict=True)
        for layer, state in core:
            y, state = layer(y, state)
            after.append(state)
        expected = fast_weights(after)
    found = list(sleep_steps(lm, weights, ids(21), 3))
    assert len(found) == n_layer_passes(lm, 3) == n_prelude + 3 * (n_end - n_prelude) + 2 * 2
    assert all(map(torch.equal, found[-1], expected))


@torch.no_grad()
@pytest.mark.parametrize("loop_layers", [0, 2])
@pytest.mark.parametrize("block", [1, 8, 29, 37])
def test_sleep_in_blocks_of_tokens_is_the_same_but_for_rounding(
    make_lm, block: int, loop_layers: int
) -> None:
    lm, tokens = make_lm(loop_layers=loop_layers), ids(37, n_batch=2)
    weights, mask = lived(lm, n_batch=2), torch.arange(37)[None] < torch.tensor([[37], [30]])
    whole = sleep(lm, weights, tokens, 2, mask)
    *between, new = sleep_steps(lm, weights, tokens, 2, mask, block=block)
    assert between == [None] * (n_layer_passes(lm, 2) * -(-37 // block) - 1)
    for a, b in zip(whole, new, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("n_tokens", [1, 37])
def test_mixed_precision_leaves_the_delta_rule_in_float32(
    make_lm, monkeypatch: pytest.MonkeyPatch, n_tokens: int
) -> None:
    lm = make_lm()
    weights, plain = lived(lm), delta_step if n_tokens == 1 else delta_chunked
    seen: list[tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]] = []

    def recording(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((inputs, plain(*inputs)))
        return seen[-1][1]

    monkeypatch.setattr(layers, "delta_step", recording)
    monkeypatch.setattr(layers, "rule_for", lambda *_: recording)
    with torch.autocast("cpu", torch.bfloat16):
        slept = sleep(lm, weights, ids(n_tokens), 3)
    assert {w.dtype for w in slept} == {torch.float32}
    assert len(seen) == 3 * 2
    for inputs, given in seen:
        assert {x.dtype for x in inputs} == {torch.float32}
        assert all(torch.equal(a, b) for a, b in zip(given, plain(*inputs), strict=True))
    exact = sleep(lm, weights, ids(n_tokens), 3)
    assert not torch.equal(slept[0], exact[0])  # the rest did run in bfloat16


def test_token_of_several_parts_is_the_sum_of_their_embeddings(make_lm) -> None:
    lm = make_lm()
    first, second = ids(9, n_batch=2), ids(9, n_batch=2, seed=2)
    table = lm.model.embed_tokens.weight
    found = lm.embed(torch.stack([first, second], dim=-1))
    torch.testing.assert_close(found, table[first] + table[second])
    torch.testing.assert_close(lm.embed(first[..., None]), table[first])
    found.sum().backward()
    counts = torch.bincount(torch.cat([first, second]).flatten(), minlength=61)
    assert torch.equal(table.grad[:, 0], counts.float())
