"""Sleep: the paper's algorithm on one screen.

    h = embed(ids)
    repeat `passes` times:  h, fast weights = blocks(h, fast weights)
    keep the fast weights, drop h and every key and value

Hidden states of a pass are the input of the next. With loop layers it is what was written that is
handed on, so that the next pass writes what follows from it:

    h = prelude(embed(ids))
    repeat `passes` times:  fast weights = core(h, fast weights);  h = loop layers(h)

"Ana's boss is Pavel. Pavel lives in Oslo." is written by the first pass, and by the second that
Ana's boss lives in Oslo. Prelude are the layers before the first recurrent one, core those from it
to the last.

The fast weights carry on, so the window is written `passes` times over. Attention is causal inside
the window and sees keys and values of its own pass alone; the short convolution starts from zero in
every pass. `passes=1` is the plain hybrid. Gradients flow through all of it, so training runs this
very code.

Sources: Algorithm 1 of Lee, McLeish, Goldstein, Fanti, arXiv 2605.26099; started from the fast
weights at the start of the window, so that a sleep does not depend on how the tokens arrived.
Prelude and core: Geiping et al., arXiv 2502.05171.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import repeat

import torch
from torch import Tensor, nn

from sleepmem.model.network import Block, LayerState, SleepForCausalLM, fast_weights


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
    size = block or token_ids.shape[1]
    steps = _steps(lm, tuple(weights), token_ids, passes, mask, size)
    next(steps)  # it yields before each step
    yield from steps


def n_layer_passes(lm: SleepForCausalLM, passes: int) -> int:
    """Return how many layers a window goes through in a sleep."""
    model = lm.model
    if not model.loop_layers:
        return passes * len(model.layers)
    return len(model.prelude) + passes * len(model.core) + (passes - 1) * len(model.loop_layers)


def _steps(
    lm: SleepForCausalLM,
    weights: tuple[Tensor, ...],
    token_ids: Tensor,
    passes: int,
    mask: Tensor | None,
    size: int,
) -> Iterator[tuple[Tensor, ...] | None]:
    model, h = lm.model, lm.embed(token_ids)
    if model.loop_layers:
        h, _ = yield from _through(model.prelude, h, [None] * len(model.prelude), mask, size)
    for n in range(passes):
        if not model.loop_layers:
            h, after = yield from _through(model.layers, h, model.window_start(weights), mask, size)
        else:
            if n:
                new = [None] * len(model.loop_layers)
                h, _ = yield from _through(model.loop_layers, h, new, mask, size)
            start = model.core_start(weights)
            _, after = yield from _through(model.core, h, start, mask, size, remembers=True)
        weights = fast_weights(after)
    yield weights


def _through(
    layers: nn.ModuleList,
    h: Tensor,
    states: Sequence[LayerState],
    mask: Tensor | None,
    size: int,
    *,
    remembers: bool = False,
) -> Generator[None, None, tuple[Tensor, list[LayerState]]]:
    """Run layers over h, `size` tokens at a step; return it and the states after it.

    Args:
        remembers: what comes out of the last layer, a recurrent one, is not asked for.
    """
    masks = mask.split(size, dim=1) if mask is not None else repeat(None)
    after: list[LayerState] = []
    for layer, state in zip(layers, states, strict=True):
        done: list[Tensor] = []
        for x, seen in zip(h.split(size, dim=1), masks, strict=False):
            yield None
            if remembers and len(after) == len(layers) - 1:
                assert isinstance(layer, Block)
                state = layer.remember(x, state, seen)
            else:
                x, state = layer(x, state, seen)
            done.append(x)
        h = torch.cat(done, dim=1)
        after.append(state)
    return h, after


def sleep(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    token_ids: Tensor,
    passes: int,
    mask: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run `sleep_steps` to the end and return the new fast weights.

    Cost: `n_layer_passes` layers over the window, without the output layer.
    """
    *_, new = sleep_steps(lm, weights, token_ids, passes, mask)
    assert new is not None
    return new
