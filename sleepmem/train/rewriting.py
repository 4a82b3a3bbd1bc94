"""What the loop layers are taught: what a pass is to hand on to the next.

Nothing but the answers, many steps later, would tell them that "Pavel lives in Oslo" is to be
handed on as "Ana's boss lives in Oslo". So it is said in words (`Hint`), which the prelude reads:
what it makes of them is what the loop layers are to make of what it made of the window. A forced
sleep writes what was to be handed on, not what was; so the rest of the model learns to keep and
find it before the loop layers do their part well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.layers import WindowAttention
from sleepmem.model.network import Block, SleepForCausalLM
from sleepmem.train.tasks import Batch, Hint, Retold

CHANGE = 0.05  # share of the squares that about changes in a window with a hint
CONFUSION, SHARPNESS = 2.0, 0.5  # weight of `confusion_loss`; of its nearness
ROUNDING = 1e-6
POINTING = 0.3  # weight of `pointing_loss`

Weights = tuple[Tensor, ...]


class Wanted(NamedTuple):
    """What a pass is to hand on: `h` (batch, tokens, hidden), as far as `known` (batch, tokens).

    `unit` is what an error of the sum of squares is measured in.
    """

    h: Tensor
    known: Tensor
    unit: Tensor


def wanted(
    lm: SleepForCausalLM, first: Tensor, mask: Tensor | None, retold: Retold | None
) -> Wanted:
    """Return what a pass is to hand on; no gradient flows into it.

    Args:
        first: what the first pass writes.
        retold: None if just that is to be handed on, by all passes.
    """
    first = first.detach()
    known = torch.ones_like(first[..., 0], dtype=torch.bool) if mask is None else mask
    if retold is None:
        return Wanted(first, known, CHANGE * _squares(first, known))
    with torch.no_grad():
        told = lm.model.begin(lm.embed(retold.ids), retold.mask)
    known = known & (retold.token >= 0)
    places = retold.token.clamp(min=0)[..., None].expand_as(first)
    h = torch.where(known[..., None], told.gather(1, places), first)
    unit = _squares(h - first, known)
    least = CHANGE * _squares(first, known)  # where nothing changes
    return Wanted(h, known, torch.where(unit > 0, unit, least))


def rewriting_loss(found: Tensor, want: Wanted) -> Tensor:
    """Return the share of what was to change, in squares, that did not; 0 at best."""
    return _squares(found - want.h, want.known) / want.unit


def confusion_loss(found: Tensor, want: Wanted, others: Sequence[Wanted]) -> Tensor:
    """Return the cross-entropy of what was wanted among what would be if others were meant.

    Nats over the places where they differ; a place is as likely of one as it is near to it. Who is
    meant is an eighth of what changes: `rewriting_loss` alone is content with all the rest.
    """
    each = [want, *others]
    known = torch.stack([one.known for one in each]).all(0)
    of_each = torch.stack([one.h[known].float() for one in each], dim=1)
    apart = (of_each[:, 0] - of_each.mean(1)).square().sum(-1)
    differs = apart > apart.mean() / 2 + ROUNDING
    if not bool(differs.any()):
        return found.new_zeros(())
    away = (found[known].float()[differs, None] - of_each[differs]).square().sum(-1)
    same = (of_each[differs] - of_each[differs, :1]).square().sum(-1) <= ROUNDING
    same[:, 0] = False  # whoever nobody else stands for is not taken for himself
    scores = (-SHARPNESS * away / apart[differs].mean()).masked_fill(same, -math.inf)
    return -F.log_softmax(scores, dim=-1)[:, 0].mean()


def _squares(h: Tensor, known: Tensor) -> Tensor:
    return h[known].float().square().sum()


def pointing_loss(
    lm: SleepForCausalLM, h: Tensor, mask: Tensor | None, hint: Hint, n: int
) -> Tensor:
    """Return how little the first loop layer looks from a name to where it is explained.

    The mean cross-entropy of attention, nats over names and heads. Without it names were hardly
    matched after 1,000 steps, with it most were after 200.

    Args:
        h: what pass `n`, from 0, wrote.
    """
    block = lm.model.loop_layers[0]
    assert isinstance(block, Block)
    assert isinstance(block.mixer, WindowAttention)
    context, named, told = (t[hint.of_pass == n] for t in (hint.context, hint.named, hint.told))
    if not len(named):
        return h.new_zeros(())
    q, k, _, _ = block.mixer.inputs(block.mixer_norm(h), None, mask)
    scores = torch.einsum("nhd,nhtd->nht", q[context, :, named].float(), k[context].float())
    later = torch.arange(k.shape[2], device=k.device) > named[:, None, None]
    nats = -F.log_softmax((scores / k.shape[-1] ** 0.5).masked_fill(later, -math.inf), dim=-1)
    return nats.gather(2, told[:, None, None].expand(-1, nats.shape[1], 1)).mean()


def taught_sleep(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    ids: Tensor,
    passes: int,
    mask: Tensor | None,
    hint: Hint,
    *,
    is_forced: bool,
) -> tuple[Weights, Tensor | None]:
    """Write a window into fast weights, as `sleepmem.model.sleep.sleep` does but for the forcing.

    Args:
        lm: with loop layers.
        is_forced: whether the next pass writes what was to be handed on.

    Returns:
        The fast weights, and the mean of what `_handed_on` says; None of a single pass.
    """
    first = lm.model.begin(lm.embed(ids), mask)
    after, losses = lm.model.write(first, weights, mask), list[Tensor]()
    for h, loss in _handed_on(lm, first, passes, mask, hint, is_forced=is_forced):
        after = lm.model.write(h, after, mask)
        losses.append(loss)
    return after, torch.stack(losses).mean() if losses else None


def taught_alone(lm: SleepForCausalLM, batch: Batch, passes: int, *, is_forced: bool) -> Tensor:
    """Return the mean loss of what is handed on of a batch's windows; nothing is written or asked.

    A window without a hint is to be handed on as it is. Gradients reach the loop layers alone.

    Args:
        passes: at least 2.
    """
    losses = []
    for n, (ids, given) in enumerate(batch.windows):
        mask = None if bool(given.all()) else given
        hint = batch.hint(n)
        with torch.no_grad():
            first = lm.model.begin(lm.embed(ids), mask)
        handed_on = _handed_on(lm, first, passes, mask, hint, is_forced=is_forced)
        losses += [loss for _, loss in handed_on]
    return torch.stack(losses).mean()


def _handed_on(
    lm: SleepForCausalLM,
    first: Tensor,
    passes: int,
    mask: Tensor | None,
    hint: Hint | None,
    *,
    is_forced: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what each pass but the last hands on, and the loss of it.

    `rewriting_loss`, and with a hint `confusion_loss` and `pointing_loss`, weighted.
    """
    h = first
    for n in range(passes - 1):
        want, *others = (wanted(lm, first, mask, told) for told in _told(hint, n))
        found = lm.model.rewrite(h, mask)
        loss = rewriting_loss(found, want)
        if others:
            loss = loss + CONFUSION * confusion_loss(found, want, others)
        if hint:
            loss = loss + POINTING * pointing_loss(lm, h, mask, hint, n)
        h = want.h if is_forced else found
        yield h, loss


def _told(hint: Hint | None, n: int) -> Sequence[Retold | None]:
    return hint.after(n) if hint else [None]
