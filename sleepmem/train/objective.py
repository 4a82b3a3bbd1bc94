"""What is minimised: the loss on answers after sleep, through all passes and windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM
from sleepmem.model.sleep import sleep
from sleepmem.train.tasks import IGNORED, Batch


@dataclass(frozen=True, slots=True)
class Score:
    """Mean loss in nats over the labelled positions, and the share of right answers."""

    loss: Tensor
    accuracy: Tensor


def score(lm: SleepForCausalLM, batch: Batch, passes: int, *, blank: bool = False) -> Score:
    """Sleep on the windows one after another, then ask each question with one wake pass.

    Between windows only the fast weights are kept; gradients flow through all of them.

    Args:
        blank: ask with a newborn's fast weights instead; the control of the memory.

    Source: Algorithm 1 of arXiv 2605.26099.
    """
    n_batch, n_questions, n_tokens = batch.question_ids.shape
    weights = lm.model.blank(n_batch)
    if not blank:
        for ids, mask in batch.windows:
            weights = sleep(lm, weights, ids, passes, mask)
    asked = tuple(w.repeat_interleave(n_questions, dim=0) for w in weights)
    h = lm.embed(batch.question_ids.view(-1, n_tokens))
    h, _ = lm.model(h, lm.model.window_start(asked))
    labels = batch.labels.view(-1, n_tokens)
    logits = lm.logits(h[labels != IGNORED])
    targets = labels[labels != IGNORED]
    answers = batch.answer_at.view(-1, n_tokens)[labels != IGNORED]
    right = (logits.argmax(-1) == targets)[answers]
    return Score(F.cross_entropy(logits, targets), right.float().mean())
