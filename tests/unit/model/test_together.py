"""States decoded as one batch stay what they are alone."""

from __future__ import annotations

import pytest
import torch

from sleepmem.model.together import step_together

TOLERANCE = 2e-5  # of a logit; the stated difference between together and alone


def lived(lm, n_tokens: int, seed: int):
    """Return layer states after some tokens, from fast weights that are not blank."""
    gen = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 61, (1, max(1, n_tokens)), generator=gen)
    weights = [torch.randn(w.shape, generator=gen) for w in lm.model.blank(1)]
    states = lm.model.window_start(weights)
    return lm.model(lm.embed(ids), states)[1] if n_tokens else states


@torch.no_grad()
@pytest.mark.parametrize("n_tokens", [(1, 1), (0, 7, 3), (19, 2, 31, 8, 1)])
def test_together_equals_alone(make_lm, n_tokens: tuple[int, ...]) -> None:
    lm = make_lm()
    states = [lived(lm, n, seed) for seed, n in enumerate(n_tokens)]
    ids = [5 + n for n in range(len(states))]
    logits, after = step_together(lm, states, ids)
    for n, state in enumerate(states):
        h, alone = lm.model(lm.embed(torch.tensor([[ids[n]]])), state)
        torch.testing.assert_close(logits[n], lm.logits(h)[0, 0], rtol=0, atol=TOLERANCE)
        for one, other in zip(alone, after[n], strict=True):
            for a, b in zip(one, other, strict=True):
                if a is not None:
                    torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_a_state_does_not_keep_its_neighbours_alive(make_lm) -> None:
    lm = make_lm()
    _, after = step_together(lm, [lived(lm, n, n) for n in (3, 4, 5, 0)], [1, 2, 3, 4])
    for state in after:
        for layer in state:
            for part in layer:
                if part is not None:
                    assert part.untyped_storage().nbytes() == part.numel() * part.element_size()


@torch.no_grad()
def test_the_states_given_are_left_as_they_were(make_lm) -> None:
    lm = make_lm()
    states = [lived(lm, n, n) for n in (3, 4)]
    before = [[[p.clone() for p in layer if p is not None] for layer in state] for state in states]
    step_together(lm, states, [1, 2])
    for kept, state in zip(before, states, strict=True):
        for parts, layer in zip(kept, state, strict=True):
            for a, b in zip(parts, [p for p in layer if p is not None], strict=True):
                assert torch.equal(a, b)
