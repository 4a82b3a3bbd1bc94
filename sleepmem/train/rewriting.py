"""What the loop layers are taught: what a pass is to hand on to the next.

Nothing but the answers, many steps later, would tell them that "Pavel lives in Oslo" is to be
handed on as "Ana's boss lives in Oslo". So it is said in words (`Hint`), which the prelude reads:
what it makes of them is what the loop layers are to make of what it made of the window. A forced
sleep writes what was to be handed on, not what was; so the rest of the model learns to keep and
find it before the loop layers do their part well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.tasks import Batch, Hint, Retold

Weights = tuple[Tensor, ...]


def wanted(lm: SleepForCausalLM, first: Tensor, retold: Retold | None) -> Tensor:
    """Return what a pass is to hand on, (batch, tokens, hidden); no gradient flows into it.

    Args:
        first: what the first pass writes.
        retold: None if just that is to be handed on, by all passes.
    """
    first = first.detach()
    if retold is None:
        return first
    with torch.no_grad():
        told = lm.model.begin(lm.embed(retold.ids), retold.mask)
    places = retold.token.clamp(min=0)[..., None].expand_as(first)
    return torch.where((retold.token >= 0)[..., None], told.gather(1, places), first)


def rewriting_loss(found: Tensor, want: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean square of what was handed on less what was to be, in units of the latter."""
    kept = slice(None) if mask is None else mask
    found, want = found[kept].float(), want[kept].float()
    return (found - want).square().sum() / want.square().sum()


def taught_sleep(
    lm: SleepForCausalLM,
    weights: Sequence[Tensor],
    ids: Tensor,
    passes: int,
    mask: Tensor | None,
    hint: Hint | None,
    *,
    is_forced: bool,
) -> tuple[Weights, Tensor | None]:
    """Write a window into fast weights, as `sleepmem.model.sleep.sleep` does but for the forcing.

    Args:
        lm: with loop layers.
        hint: None if all passes are to hand on the window as it is.
        is_forced: whether the next pass writes what was to be handed on.

    Returns:
        The fast weights, and the mean `rewriting_loss`; None of a single pass, which hands on none.
    """
    first = lm.model.begin(lm.embed(ids), mask)
    after, losses = lm.model.write(first, weights, mask), list[Tensor]()
    for h, loss in _handed_on(lm, first, passes, mask, hint, is_forced=is_forced):
        after = lm.model.write(h, after, mask)
        losses.append(loss)
    return after, torch.stack(losses).mean() if losses else None


def taught_alone(lm: SleepForCausalLM, batch: Batch, passes: int, *, is_forced: bool) -> Tensor:
    """Return the mean `rewriting_loss` of the windows of a batch; nothing is written or asked.

    Gradients reach the loop layers alone.

    Args:
        passes: at least 2.
    """
    losses = []
    for n, (ids, given) in enumerate(batch.windows):
        mask = None if bool(given.all()) else given
        hint = batch.hints[n] if batch.hints else None
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
    """Yield what each pass but the last hands on, and the loss of it."""
    h = first
    for n in range(passes - 1):
        want = wanted(lm, first, hint[min(n, len(hint) - 1)] if hint else None)
        found = lm.model.rewrite(h, mask)
        h = want if is_forced else found
        yield h, rewriting_loss(found, want, mask)
