"""Who answers an exam, and how: which fast weights, which passes, which history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sleepmem.bench.memory.exam import Exam, as_histories
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


Way = Callable[[Batch], list[Score]]  # of all questions, in order


def answer(exam: Exam, way: Way) -> Answers:
    """Answer all questions of an exam in one way."""
    with torch.no_grad():
        scores = [found for batch in exam.batches for found in way(batch)]
    return Answers(
        torch.cat([found.right for found in scores]), torch.cat([found.first for found in scores])
    )


def slept(lm: SleepForCausalLM, passes: int) -> Way:
    """Sleep on every episode, then answer from the fast weights."""
    return lambda batch: [score(lm, batch, passes)]


def blank(lm: SleepForCausalLM) -> Way:
    """Answer from a newborn's fast weights."""
    return lambda batch: [score(lm, batch, 1, blank=True)]


def others(lm: SleepForCausalLM, passes: int) -> Way:
    """Answer from the fast weights of the life beside, in the same batch.

    Raises:
        ValueError: there is none.
    """

    def way(batch: Batch) -> list[Score]:
        if len(batch.labels) < 2:
            raise ValueError("a life that is alone has none beside it")
        windows = tuple((ids.roll(1, 0), mask.roll(1, 0)) for ids, mask in batch.windows)
        return [score(lm, replace(batch, windows=windows), passes)]

    return way


def in_context(
    lm: SleepForCausalLM, *, n_sleeps: int | None = None, n_tokens: int | None = None
) -> Way:
    """Answer with the history before its eyes, its last sleeps or tokens if given; no sleep.

    One life at a time: the KV cache is repeated for each question.
    """

    def way(batch: Batch) -> list[Score]:
        histories = as_histories(batch, n_sleeps=n_sleeps, n_tokens=n_tokens)
        return [score(lm, history, 1, loop=FULL) for history in histories]

    return way
