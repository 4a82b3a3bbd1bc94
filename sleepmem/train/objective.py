"""What is minimised: the loss on answers after sleep, through all passes and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import LayerState, SleepForCausalLM
from sleepmem.train.loops import loop_sleep, loop_wake, own_loop
from sleepmem.train.rewriting import taught_sleep
from sleepmem.train.settings import Loop
from sleepmem.train.tasks import IGNORED, Batch

LENGTHS = 4  # groups that questions of uneven length are read in


@dataclass(frozen=True, slots=True)
class Score:
    """What a batch gave.

    Attributes:
        loss: mean over the labelled positions, nats.
        right: (questions that count,), true where the whole answer is right.
        depth: the same shape; zeros if the task knows no depth.
        first: the same shape; the id that is said first.
        speech: loss of the window that was read awake, nats; None if none was.
        rewriting: loss of what passes handed on; None if nothing said what to hand on.
    """

    loss: Tensor
    right: Tensor
    depth: Tensor
    first: Tensor
    speech: Tensor | None = None
    rewriting: Tensor | None = None

    @property
    def accuracy(self) -> float:
        return float(self.right.float().mean())


When = Literal["first", "again", "cached"]


class Reading(NamedTuple):
    """One window that is read awake with loss on every token, so that the model also speaks.

    Attributes:
        window: which of the batch.
        when: `first`, from the fast weights before its sleep. `again`, from those after it, with
            an empty KV cache. `cached`, a second time before its sleep, after a first reading.
            The three are what the retention of a sleep is measured by.
    """

    window: int
    when: When


def score(
    lm: SleepForCausalLM,
    batch: Batch,
    passes: int,
    *,
    loop: Loop | None = None,
    blank: bool = False,
    reading: Reading | None = None,
    backward: int | None = None,
    is_forced: bool | None = None,
) -> Score:
    """Sleep on the windows one after another, then ask each question.

    Between windows only the fast weights are kept.

    Args:
        loop: for an ablation or a control; by default that which the model lives with.
        blank: ask with a newborn's fast weights instead; the control of the memory.
        reading: adds its loss, as `Score.speech`; where nothing is evicted, that of all windows.
        backward: windows at the end that gradients flow through; None is all of them.
        is_forced: whether what is to be handed on is, in windows that have hints and gradients;
            None leaves the hints alone.

    Source: Algorithm 1 of arXiv 2605.26099.
    """
    loop = loop or own_loop(lm)
    if not loop.evict:
        h, speech = _ask_with_context(lm, batch, blank, is_read=reading is not None)
        return _marked(lm, h, batch, speech)
    weights = lm.model.blank(len(batch.labels))
    speech = None
    rewritings: list[Tensor] = []
    if not blank and weights:
        last = len(batch.windows) - (backward or len(batch.windows))
        for n, (ids, mask) in enumerate(batch.windows):
            seen = None if bool(mask.all()) else mask
            with torch.set_grad_enabled(torch.is_grad_enabled() and n >= last):
                hint = batch.hint(n) if is_forced is not None and n >= last else None
                if hint:
                    after, missed = taught_sleep(
                        lm, weights, ids, passes, seen, hint, is_forced=bool(is_forced)
                    )
                    rewritings += [] if missed is None else [missed]
                else:
                    after = loop_sleep(lm, weights, ids, passes, seen, loop)
            if reading and reading.window == n:
                start = after if reading.when == "again" else weights
                speech = _read(lm, start, ids, mask, is_second=reading.when == "cached")
            weights = after
    found = _marked(lm, _ask(lm, weights, batch, loop), batch, speech)
    return replace(found, rewriting=torch.stack(rewritings).mean()) if rewritings else found


def _read(
    lm: SleepForCausalLM, weights: Sequence[Tensor], ids: Tensor, mask: Tensor, *, is_second: bool
) -> Tensor:
    """Return the mean loss, nats per token, of reading a window awake, once or a second time."""
    states = lm.model.window_start(weights)
    seen = None if bool(mask.all()) else mask
    if is_second:
        _, states = lm.model(lm.embed(ids), states, seen)
    h, _ = lm.model(lm.embed(ids), states, seen)
    return _loss_of_reading(lm, h, ids, mask)


def _loss_of_reading(lm: SleepForCausalLM, h: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    logits = lm.logits(h[:, :-1][mask[:, 1:]]).float()
    return F.cross_entropy(logits, ids[:, 1:][mask[:, 1:]])


def _ask(lm: SleepForCausalLM, weights: Sequence[Tensor], batch: Batch, loop: Loop) -> Tensor:
    """Return hidden states (batch x questions, tokens, hidden), zeros behind a question's end.

    Questions of about equal length go together: half of their tokens would be padding.
    """
    ids, labels = batch.question_ids.flatten(0, 1), batch.labels.flatten(0, 1)
    asked = tuple(w.repeat_interleave(batch.labels.shape[1], dim=0) for w in weights)
    longest = labels.shape[1]
    n_tokens = longest - (labels != IGNORED).flip(-1).int().argmax(-1)
    if int(n_tokens.min()) > longest // 2:
        return loop_wake(lm, asked, ids, loop)
    order = n_tokens.argsort(stable=True)
    parts = []
    for rows in order.chunk(LENGTHS):
        n = int(n_tokens[rows].max())
        h = loop_wake(lm, [w[rows] for w in asked], ids[rows, :n], loop)
        parts.append(F.pad(h, (0, 0, 0, longest - n)))
    return torch.cat(parts)[order.argsort()]


def _ask_with_context(
    lm: SleepForCausalLM, batch: Batch, blank: bool, *, is_read: bool
) -> tuple[Tensor, Tensor | None]:
    """Read all windows in one pass and ask with the whole KV cache before its eyes."""
    states = lm.model.window_start(lm.model.blank(len(batch.labels)))
    speech = None
    if not blank:
        ids = torch.cat([ids for ids, _ in batch.windows], dim=1)
        mask = torch.cat([mask for _, mask in batch.windows], dim=1)
        read, states = lm.model(lm.embed(ids), states, None if bool(mask.all()) else mask)
        speech = _loss_of_reading(lm, read, ids, mask) if is_read else None
    asked = [_repeated(state, batch.labels.shape[1]) for state in states]
    h, _ = lm.model(lm.embed(batch.question_ids.flatten(0, 1)), asked)
    return h, speech


def _repeated(state: LayerState, times: int) -> LayerState:
    if state is None:
        return None
    kept = [None if part is None else part.repeat_interleave(times, dim=0) for part in state]
    return type(state)(*kept)  # type: ignore[arg-type]


def _marked(lm: SleepForCausalLM, h: Tensor, batch: Batch, speech: Tensor | None = None) -> Score:
    labels, counts = batch.labels.flatten(0, 1), batch.answer_at.flatten(0, 1)
    logits = lm.logits(h[labels != IGNORED]).float()
    said = torch.full_like(labels, IGNORED)
    said[labels != IGNORED] = logits.argmax(-1)
    asked = counts.any(-1)
    right = ~((said != labels) & counts).any(-1)
    first = said.gather(1, counts.int().argmax(-1, keepdim=True))[:, 0]
    depth = torch.zeros_like(asked, dtype=torch.int64)
    if batch.depth is not None:
        depth = batch.depth.flatten()
    loss = F.cross_entropy(logits, labels[labels != IGNORED])
    return Score(loss, right[asked], depth[asked], first[asked], speech)
