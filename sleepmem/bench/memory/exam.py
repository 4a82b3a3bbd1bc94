"""Lives to be judged by: drawn of the test side, told, slept on, and every question asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Load, draw_cuts, draw_life
from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.dialogue_rows import examined

AGES = (1, 2, 4, 8, 16, 32, 64)  # sleeps since a fact was told
AT_ONCE = 25  # lives read together, at most; at least two of them if there are two
WINDOW = 512  # tokens of an episode at most


class Asked(NamedTuple):
    """A question of an exam.

    Attributes:
        life: number of the life that it is asked of.
        age: sleeps since the last statement that it rests on; 0 if it was never told.
    """

    life: int
    kind: str
    age: int


class Exam(NamedTuple):
    """Batches of lives, and what is asked in them, in the order of the scores."""

    batches: Sequence[Batch]
    asked: Sequence[Asked]

    @property
    def life(self) -> Tensor:
        """(questions,) which life each is asked of."""
        return torch.tensor([question.life for question in self.asked])


def mixed(seed: int, load: Load, n_lives: int) -> Exam:
    """Draw lives; those of a batch are cut into episodes at the same places."""
    rng = Random(f"memory {seed} {load.n_facts} {load.n_episodes}")
    return _examined(rng, load, n_lives, lambda: draw_cuts(rng, load))


def aged(seed: int, n_facts: int, n_lives: int) -> Exam:
    """Draw lives of 64 episodes with a fact at each of `AGES`; small talk fills the others."""
    rng = Random(f"memory {seed} by age")
    load = Load(n_facts, AGES[-1], ("single",), abstain=0)

    def cuts() -> list[int]:
        others = [age for age in range(1, AGES[-1] + 1) if age not in AGES]
        ages = {*AGES, *rng.sample(others, n_facts - len(AGES))}
        told = [age in ages for age in range(AGES[-1], 0, -1)]
        return [sum(told[: n + 1]) for n in range(len(told) - 1)]

    return _examined(rng, load, n_lives, cuts)


def _examined(rng: Random, load: Load, n_lives: int, cuts: Callable[[], list[int]]) -> Exam:
    batches: list[Batch] = []
    asked: list[Asked] = []
    n_batches = -(-n_lives // AT_ONCE)
    for start, stop in pairwise(n * n_lives // n_batches for n in range(n_batches + 1)):
        shared = cuts()
        lives = {n: draw_life(rng, Split.TEST, load, shared) for n in range(start, stop)}
        batches.append(examined(list(lives.values()), WINDOW))
        asked += [question for n, life in lives.items() for question in _asked(n, life)]
    return Exam(batches, asked)


def _asked(number: int, life: Life) -> list[Asked]:
    n_episodes = len(life.episodes)
    return [
        Asked(number, asked.probe.kind, 0 if asked.episode < 0 else n_episodes - asked.episode)
        for asked in life.asked
    ]


def as_histories(
    batch: Batch, *, n_sleeps: int | None = None, n_tokens: int | None = None
) -> Iterator[Batch]:
    """Yield a batch for each life, with all of its windows in one.

    Args:
        n_sleeps: only the last so many windows.
        n_tokens: only the last so many tokens of those.
    """
    for life in range(len(batch.labels)):
        kept = batch.windows[-(n_sleeps or 0) :]
        ids = torch.cat([ids[life][mask[life]] for ids, mask in kept])[-(n_tokens or 0) :][None]
        this = slice(life, life + 1)
        yield Batch(
            ((ids, torch.ones_like(ids, dtype=torch.bool)),),
            batch.question_ids[this],
            batch.labels[this],
            batch.answer_at[this],
        )
