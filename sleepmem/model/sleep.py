"""Sleep: the paper's algorithm on one screen.

    h = embed(ids)
    repeat `passes` times:  h, fast weights = blocks(h, fast weights)
    keep the fast weights, drop h and every key and value

Hidden states of a pass are the input of the next, as they are, or with `input_injection`
normalised and beside the tokens, as in looped transformers. The fast weights carry on, so the
window is written `passes` times over. Attention is causal inside the window and sees keys and
values of its own pass alone; the short convolution starts from zero in every pass. `passes=1` is
the plain hybrid. Gradients flow through all of it, so training runs this very code.

Source: Algorithm 1 of Lee, McLeish, Goldstein, Fanti, arXiv 2605.26099; started from the fast
weights at the start of the window, so that a sleep does not depend on how the tokens arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import LayerState, SleepForCausalLM, fast_weights


def sleep_steps(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    token_ids: Tensor,
    passes: int,
    mask: Tensor | None = None,
    block: int | None = None,
) -> Iterator[tuple[Tensor, ...] | None]:
    """Write a window into fast weights, one block of tokens in one layer of one pass at a step.

    Args:
        weights: at the start of the window, (batch, heads, d_k, d_v) each; unchanged.
        token_ids: (batch, tokens) or (batch, tokens, parts), at most a window of tokens.
        passes: >= 1, the paper's N; counts the total.
        mask: (batch, tokens), false at padding, which leaves the fast weights as they are.
        block: tokens of a step at most; None is all. Results differ by rounding.

    Yields:
        None, and at the last step the new fast weights.
    """
    h = embedded = lm.embed(token_ids)
    size = block or h.shape[1]
    masks = mask.split(size, dim=1) if mask is not None else repeat(None)
    for n in range(passes):
        if n and lm.config.input_injection:
            h = embedded + left_by(h)
        after: list[LayerState] = []
        for layer, state in zip(lm.model.layers, lm.model.window_start(weights), strict=True):
            done: list[Tensor] = []
            for x, seen in zip(h.split(size, dim=1), masks, strict=False):
                if n or after or done:
                    yield None
                y, state = layer(x, state, seen)
                done.append(y)
            h = torch.cat(done, dim=1)
            after.append(state)
        weights = fast_weights(after)
    yield tuple(weights)


def left_by(h: Tensor) -> Tensor:
    """Return what of the hidden states of a pass is injected into the next, beside the tokens."""
    return F.rms_norm(h, h.shape[-1:])


def sleep(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    token_ids: Tensor,
    passes: int,
    mask: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run `sleep_steps` to the end and return the new fast weights.

    Cost: `passes` forwards over the window, without the output layer.
    """
    *_, new = sleep_steps(lm, weights, token_ids, passes, mask)
    assert new is not None
    return new
