"""What is minimised: the loss on answers after sleep, through all passes and windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import LayerState, SleepForCausalLM
from sleepmem.train.loops import loop_sleep, loop_wake
from sleepmem.train.settings import Loop
from sleepmem.train.tasks import IGNORED, Batch

PAPER = Loop()


@dataclass(frozen=True, slots=True)
class Score:
    """What a batch gave.

    Attributes:
        loss: mean over the labelled positions, nats.
        right: (questions that count,), true where the whole answer is right.
        depth: the same shape; zeros if the task knows no depth.
    """

    loss: Tensor
    right: Tensor
    depth: Tensor

    @property
    def accuracy(self) -> float:
        return float(self.right.float().mean())


def score(
    lm: SleepForCausalLM, batch: Batch, passes: int, *, loop: Loop = PAPER, blank: bool = False
) -> Score:
    """Sleep on the windows one after another, then ask each question.

    Between windows only the fast weights are kept; gradients flow through all of them.

    Args:
        loop: other than the paper's for an ablation or a control.
        blank: ask with a newborn's fast weights instead; the control of the memory.

    Source: Algorithm 1 of arXiv 2605.26099.
    """
    if not loop.evict:
        return _marked(lm, _ask_with_context(lm, batch, blank), batch)
    n_questions = batch.labels.shape[1]
    weights = lm.model.blank(len(batch.labels))
    if not blank and weights:
        for ids, mask in batch.windows:
            seen = None if bool(mask.all()) else mask
            weights = loop_sleep(lm, weights, ids, passes, seen, loop)
    asked = tuple(w.repeat_interleave(n_questions, dim=0) for w in weights)
    return _marked(lm, loop_wake(lm, asked, batch.question_ids.flatten(0, 1), loop), batch)


def _ask_with_context(lm: SleepForCausalLM, batch: Batch, blank: bool) -> Tensor:
    """Read all windows in one pass and ask with the whole KV cache before its eyes."""
    states = lm.model.window_start(lm.model.blank(len(batch.labels)))
    if not blank:
        ids = torch.cat([ids for ids, _ in batch.windows], dim=1)
        mask = torch.cat([mask for _, mask in batch.windows], dim=1)
        _, states = lm.model(lm.embed(ids), states, None if bool(mask.all()) else mask)
    asked = [_repeated(state, batch.labels.shape[1]) for state in states]
    h, _ = lm.model(lm.embed(batch.question_ids.flatten(0, 1)), asked)
    return h


def _repeated(state: LayerState, times: int) -> LayerState:
    if state is None:
        return None
    kept = [None if part is None else part.repeat_interleave(times, dim=0) for part in state]
    return type(state)(*kept)  # type: ignore[arg-type]


def _marked(lm: SleepForCausalLM, h: Tensor, batch: Batch) -> Score:
    labels, counts = batch.labels.flatten(0, 1), batch.answer_at.flatten(0, 1)
    logits = lm.logits(h[labels != IGNORED]).float()
    wrong = torch.zeros_like(counts)
    wrong[labels != IGNORED] = logits.argmax(-1) != labels[labels != IGNORED]
    asked = counts.any(-1)
    right = ~(wrong & counts).any(-1)
    depth = torch.zeros_like(asked, dtype=torch.int64)
    if batch.depth is not None:
        depth = batch.depth.flatten()
    loss = F.cross_entropy(logits, labels[labels != IGNORED])
    return Score(loss, right[asked], depth[asked])
