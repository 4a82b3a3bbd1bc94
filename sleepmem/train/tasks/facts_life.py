"""A life to be remembered: facts told over episodes, each asked for afterwards. Knows no torch.

The demo lives one, the benchmark lives many. All facts are of the side that training never saw.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from sleepmem.train.dialogues.demo import bare
from sleepmem.train.tasks.facts_talk import (
    Fact,
    answer,
    draw_facts,
    question,
    side_of_split,
    statement,
)

N_FACTS, N_EPISODES = 24, 8
N_CANDIDATES = 40  # values that could answer each question; guessing is one in so many


class Told(NamedTuple):
    """A fact, what the other agent is told instead, the wordings, and the episode (1 is first)."""

    fact: Fact
    other: Fact
    statement_wording: int
    question_wording: int
    episode: int

    @property
    def statement(self) -> str:
        return statement(self.fact, self.statement_wording)

    @property
    def other_statement(self) -> str:
        return statement(self.other, self.statement_wording)

    @property
    def question(self) -> str:
        return question(self.fact, self.question_wording)

    @property
    def answer(self) -> str:
        return answer(self.fact)

    @property
    def sleep_age(self) -> int:
        """How many sleeps the fact has been through when all is told."""
        return N_EPISODES - self.episode + 1

    def is_answered_by(self, said: str) -> bool:
        """Return whether the whole of what was said is the answer."""
        return bare(said) == bare(self.answer)


def draw_life(seed: int) -> list[Told]:
    """Draw a life, oldest fact first; the other agent's value is always another one."""
    rng = Random(f"demo {seed}")
    life = []
    for number, fact in enumerate(draw_facts(rng, N_FACTS, held_out=True)):
        others = side_of_split(fact.subject, fact.attribute, held_out=True)
        other = rng.choice([other for other in others if other != fact])
        episode = 1 + number * N_EPISODES // N_FACTS
        life.append(Told(fact, other, rng.randrange(4), rng.randrange(3), episode))
    return life
