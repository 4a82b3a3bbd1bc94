"""Who answers an exam, and how: which fast weights, which passes, which history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepmem.bench.memory.exam import Exam, as_history
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.objective import Score, score
from sleepmem.train.settings import Loop
from sleepmem.train.tasks import Batch

FULL = Loop(evict=False)


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered, in the order of the exam.

    Attributes:
        right: (questions,) whether the whole answer is right, token for token.
        first: (questions,) the id that each answer begins with.
    """

    right: Tensor
    first: Tensor


Way = Callable[[Batch], Score]


def answer(exam: Exam, way: Way) -> Answers:
    """Answer all questions of an exam in one way."""
    with torch.no_grad():
        scores = [way(batch) for batch in exam.batches]
    return Answers(
        torch.cat([found.right for found in scores]), torch.cat([found.first for found in scores])
    )


def slept(lm: SleepForCausalLM, passes: int) -> Way:
    """Sleep on every episode, then answer from the fast weights."""
    return lambda batch: score(lm, batch, passes)


def blank(lm: SleepForCausalLM) -> Way:
    """Answer from a newborn's fast weights."""
    return lambda batch: score(lm, batch, 1, blank=True)


def others(lm: SleepForCausalLM, passes: int) -> Way:
    """Answer from the fast weights of the life beside, in the same batch."""

    def way(batch: Batch) -> Score:
        windows = tuple((ids.roll(1, 0), mask.roll(1, 0)) for ids, mask in batch.windows)
        moved = Batch(windows, batch.question_ids, batch.labels, batch.answer_at, batch.depth)
        return score(lm, moved, passes)

    return way


def in_context(lm: SleepForCausalLM, limit: int | None = None) -> Way:
    """Answer with the history before its eyes, or its last `limit` tokens; no sleep."""
    return lambda batch: score(lm, as_history(batch, limit), 1, loop=FULL)
