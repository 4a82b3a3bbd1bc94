"""Lives to be judged by: drawn of the test side, told, slept on, and every question asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Load, draw_cuts, draw_life
from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.dialogue_rows import examined

AGES = (1, 2, 4, 8, 16, 32, 64)  # sleeps since a fact was told
AT_ONCE = 25  # lives read together
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
    """Draw lives of all kinds, each cut into episodes in its own places within a batch's."""
    rng = Random(f"memory {seed} {load.n_statements} {load.n_episodes}")
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
    batches, asked = [], []
    for start in range(0, n_lives, AT_ONCE):
        shared = cuts()
        n = min(AT_ONCE, n_lives - start)
        lives = [draw_life(rng, Split.TEST, load, shared) for _ in range(n)]
        batches.append(examined(lives, WINDOW))
        asked += [question for i, life in enumerate(lives) for question in _asked(start + i, life)]
    return Exam(batches, asked)


def _asked(number: int, life: Life) -> list[Asked]:
    n_episodes = len(life.episodes)
    return [
        Asked(number, asked.probe.kind, 0 if asked.episode < 0 else n_episodes - asked.episode)
        for asked in life.asked
    ]


def as_history(batch: Batch, limit: int | None) -> Batch:
    """Return the batch with all windows of a life in one, its last `limit` tokens if given."""
    rows = [
        torch.cat([ids[life][mask[life]] for ids, mask in batch.windows])[-(limit or 0) :]
        for life in range(len(batch.labels))
    ]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    n_tokens = torch.tensor([len(row) for row in rows])
    window = ids, torch.arange(ids.shape[1]) < n_tokens[:, None]
    return Batch((window,), batch.question_ids, batch.labels, batch.answer_at, batch.depth)
