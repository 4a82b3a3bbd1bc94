"""A life for the demo: facts told over episodes, each asked for afterwards. Knows no torch.

Wordings and entities are of the test side, which training never saw.
"""

from __future__ import annotations

import unicodedata
from random import Random
from typing import NamedTuple

from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.entities import Split, draw
from sleepmem.train.dialogues.speech import answered, asked, told
from sleepmem.train.dialogues.world import World

N_FACTS, N_EPISODES, N_PEOPLE = 24, 8, 8


class Told(NamedTuple):
    """A fact in the words it is told and asked in, and what the other agent is told instead.

    Attributes:
        episode: in which it is told; 1 is the first.
    """

    statement: str
    question: str
    answer: str
    other_statement: str
    other_answer: str
    episode: int

    @property
    def sleep_age(self) -> int:
        """How many sleeps the fact has been through when all is told."""
        return N_EPISODES - self.episode + 1

    def is_answered_by(self, said: str) -> bool:
        """Return whether the whole of what was said is the answer."""
        return bare(said) == bare(self.answer)


def draw_demo(seed: int) -> list[Told]:
    """Draw a life, oldest fact first; the other agent's value is always another one."""
    rng = Random(f"demo {seed}")
    names = [draw(rng, "person", Split.TEST) for _ in range(N_PEOPLE)]
    world = World(rng, Split.TEST, names, relations.OF_PEOPLE)
    return [_drawn(world, 1 + number * N_EPISODES // N_FACTS) for number in range(N_FACTS)]


def _drawn(world: World, episode: int) -> Told:
    fact = world.fact()
    other = world.other(fact)
    wording = world.rng.getrandbits(32)  # the same for both
    return Told(
        statement=told(Random(wording), Split.TEST, fact),
        question=asked(world.rng, Split.TEST, fact.subject, fact.relation),
        answer=answered(fact.value),
        other_statement=told(Random(wording), Split.TEST, other),
        other_answer=answered(other.value),
        episode=episode,
    )


def bare(text: str) -> str:
    """Return a text for comparison: NFC, case folded, without outer space and punctuation."""
    text = unicodedata.normalize("NFC", text).casefold()
    is_outer = [not character.isalnum() for character in text]
    if all(is_outer):
        return ""
    return text[is_outer.index(False) : len(text) - is_outer[::-1].index(False)]
