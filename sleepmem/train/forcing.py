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
from sleepmem.train.tasks import Hint, Places

SCALE = 16.0  # of the cosine between what is left and an embedding, in nats


class Forcing(NamedTuple):
    """How much of a sleep is forced.

    Attributes:
        is_forced: whether the next pass reads what should have been left, not what was.
        plain: share of what was left elsewhere that it then does not read.
    """

    is_forced: bool = False
    plain: float = 0.0


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

    Returns:
        The fast weights, and how far the passes are from what they are to leave, mean nats over
        the places. The last leaves nothing for another and is let off, unless it is the only one:
        that is the first of a longer sleep as well.
    """
    h, after = lm.embed(ids), tuple(weights)
    embedded, off = h, list[Tensor]()
    for n in range(passes):
        h, states = lm.model(h, lm.model.window_start(after), mask)
        after = fast_weights(states)
        if n < max(1, passes - 1):
            wanted = hint[min(n, len(hint) - 1)]
            off.append(distance(h, lm.model.embed_tokens.weight, wanted))
            left = F.rms_norm(h, h.shape[-1:])
            h = embedded + (_forced(lm, left, wanted, forcing.plain) if forcing.is_forced else left)
    return after, torch.stack(off).mean()


def distance(h: Tensor, embeddings: Tensor, wanted: Places) -> Tensor:
    """Return the mean nats, over places and their parts, by which h misses what is wanted there.

    A place names every part that is summed there as likely as the others: log(parts) at best.
    """
    left = F.normalize(h[wanted.context, wanted.token].float(), dim=-1)
    nats = -F.log_softmax(SCALE * left @ F.normalize(embeddings, dim=-1).T, dim=-1)
    is_part = wanted.parts >= 0
    named = nats.gather(1, wanted.parts.clamp(min=0)) * is_part
    return (named.sum(1) / is_part.sum(1)).mean()


def _forced(lm: SleepForCausalLM, left: Tensor, wanted: Places, plain: float) -> Tensor:
    parts = lm.model.embed_tokens(wanted.parts.clamp(min=0)) * (wanted.parts >= 0)[..., None]
    named = F.rms_norm(parts.sum(1), left.shape[-1:]).to(left.dtype)
    return ((1 - plain) * left).index_put((wanted.context, wanted.token), named)
