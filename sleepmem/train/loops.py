"""The loop over passes with one part of it changed: the ablations.

`loop_sleep` with the loop that a model lives with does what `sleepmem.model.sleep` does, bit for
bit, and a test holds it to that; what agents live with is there, and only what they do not is here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import sleep
from sleepmem.train.settings import Loop

Weights = tuple[Tensor, ...]


def own_loop(lm: SleepForCausalLM) -> Loop:
    """Return the loop that a model lives with."""
    return Loop(loop_input="rewrite" if lm.config.num_loop_layers else "carry")


def loop_sleep(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    token_ids: Tensor,
    passes: int,
    mask: Tensor | None,
    loop: Loop,
) -> Weights:
    """Write a window into fast weights; arguments as those of `sleepmem.model.sleep.sleep`."""
    if loop.loop_input == "rewrite":  # nothing of it is ever changed
        return sleep(lm, weights, token_ids, passes, mask)
    start = tuple(weights)
    _, after = _repeat(lm, start, lm.embed(token_ids), passes, mask, loop)
    return after


def loop_wake(
    lm: SleepForCausalLM, weights: Sequence[Tensor], token_ids: Tensor, loop: Loop
) -> Tensor:
    """Return the hidden states (batch, tokens, hidden) of questions after `wake_passes` passes."""
    h, _ = _repeat(lm, tuple(weights), lm.embed(token_ids), loop.wake_passes, None, loop)
    return h


def _repeat(
    lm: SleepForCausalLM,
    start: Weights,
    embedded: Tensor,
    passes: int,
    mask: Tensor | None,
    loop: Loop,
) -> tuple[Tensor, Weights]:
    h, weights = embedded, start
    for n in range(passes):
        if n and loop.loop_input == "embed":
            h = embedded
        if n and loop.loop_input == "inject":
            h = embedded + F.rms_norm(h, h.shape[-1:])
        if n and loop.loop_state == "reset":
            weights = start
        h, states = lm.model(h, lm.model.window_start(weights), mask)
        weights = fast_weights(states)
    return h, weights
