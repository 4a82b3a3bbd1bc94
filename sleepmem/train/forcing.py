"""Teacher forcing from pass to pass: how a sleep learns that its passes can build on each other.

What the first pass leaves is not what the second can use, and nothing pulls either towards the
other: a model trained without forcing follows chains no better with more passes. Here a pass is
taught what to leave where a chain goes on (`Hint`), and the next one reads just that, beside its
tokens, until it can use what is really left. What was left everywhere else comes in bit by bit:
among all of it from the start, what a pass should read is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import left_by
from sleepmem.train.tasks import Hint, Places

SCALE = 16.0  # nats of a cosine of one between what is left and an embedding


class Forcing(NamedTuple):
    """How much of a sleep is forced.

    Attributes:
        is_forced: whether the next pass reads what should have been left, not what was.
        withheld: share of what was left everywhere else that it then does not read.
    """

    is_forced: bool = False
    withheld: float = 0.0


def forced_sleep(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    ids: Tensor,
    passes: int,
    mask: Tensor | None,
    hint: Hint,
    forcing: Forcing,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Write a window into fast weights, as `sleepmem.model.sleep.sleep` does but for the forcing.

    Args:
        lm: with input injection.

    Returns:
        The fast weights, and the mean `hint_loss` of the passes. The last leaves nothing for
        another and is let off, unless it is the only one: that is the first of a longer sleep.
    """
    assert lm.config.input_injection
    h, after = lm.embed(ids), tuple(weights)
    embedded, losses = h, list[Tensor]()
    for n in range(passes):
        h, states = lm.model(h, lm.model.window_start(after), mask)
        after = fast_weights(states)
        if n < max(1, passes - 1):
            wanted = hint[min(n, len(hint) - 1)]
            losses.append(hint_loss(h, lm.model.embed_tokens.weight, wanted))
            left = left_by(h)
            if forcing.is_forced:
                left = _forced(lm, (1 - forcing.withheld) * left, wanted)
            h = embedded + left
    return after, torch.stack(losses).mean()


def hint_loss(h: Tensor, embeddings: Tensor, wanted: Places) -> Tensor:
    """Return the mean cross-entropy, nats over places and their parts, of what is wanted there.

    A place names every part that is summed there as likely as the others: log(parts) at best.
    """
    with torch.autocast(h.device.type, enabled=False):
        left = F.normalize(h[wanted.context, wanted.token].float(), dim=-1)
        cosine = left @ F.normalize(embeddings.float(), dim=-1).T
        nats = -F.log_softmax(SCALE * cosine, dim=-1)
        is_part = wanted.parts >= 0
        named = nats.gather(1, wanted.parts.clamp(min=0)) * is_part
        return (named.sum(1) / is_part.sum(1)).mean()


def _forced(lm: SleepForCausalLM, left: Tensor, wanted: Places) -> Tensor:
    parts = lm.model.embed_tokens(wanted.parts.clamp(min=0)) * (wanted.parts >= 0)[..., None]
    named = left_by(parts.sum(1)).to(left.dtype)
    return left.index_put((wanted.context, wanted.token), named)
