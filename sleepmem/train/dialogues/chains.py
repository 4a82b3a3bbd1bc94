"""What each pass of a sleep is to make of a chain of facts: who a person is. Knows no torch.

"Ana's boss is Pavel. Pavel lives in Oslo." The first pass over it is to hand on that Ana's boss
lives in Oslo, so that the next one writes that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

from sleepmem.train.dialogues.entities import PEOPLE
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.speech import Fact, Subject

PASSES = 4  # that are told what to make of it; those after them make of it what the last one does


class Mention(NamedTuple):
    """Somebody in a message of whom the same message tells who that is.

    Attributes:
        start, stop: characters of the name.
        readings: who that is, after each of `PASSES` passes.
        told: for each of them, characters up to the end of the name of whom its reading changes,
            where the message says earlier who that is; 0 if it does not, or later.
    """

    start: int
    stop: int
    readings: tuple[str, ...]
    told: tuple[int, ...] = ()


class _Who(NamedTuple):
    """Somebody, by relations from somebody else: "Ana's sister's boss"."""

    root: Subject
    path: tuple[Relation, ...] = ()

    @property
    def name(self) -> str:
        return reduce(Subject.relative, self.path, self.root).name


def mentions(facts: Sequence[Fact], sentences: Sequence[str], text: str) -> tuple[Mention, ...]:
    """Return those whom a message calls by a name that it explains, in order.

    Args:
        sentences: one for each fact.
        text: all of them in one message.
    """
    found, begin, told = [], 0, dict[str, int]()
    for fact, sentence, read in zip(facts, sentences, _readings(facts, PASSES), strict=True):
        begin = text.index(sentence, begin)
        end = begin + len(sentence)
        name = _named(fact.subject.name, text, begin, end)
        if name and read[-1].path:
            before = (_Who(fact.subject), *read[:-1])
            told_at = tuple(told.get(who.root.name, 0) for who in before)
            found.append(Mention(*name.span(), tuple(who.name for who in read), told_at))
        if fact.relation.value in PEOPLE and (value := _named(fact.value, text, begin, end)):
            told[fact.value] = value.end()
        begin = end
    return tuple(found)


def n_links(reading: str) -> int:
    """Return how many relations a reading names somebody by."""
    return reading.count("'s ") + reading.startswith("my ")


def _named(name: str, text: str, begin: int, end: int) -> re.Match[str] | None:
    return re.compile(rf"\b{re.escape(name)}\b").search(text, begin, end)


def readings(facts: Sequence[Fact], passes: int) -> list[tuple[str, ...]]:
    """Return who the subject of each fact is found to be by each pass over facts in this order."""
    return [tuple(who.name for who in read) for read in _readings(facts, passes)]


def _readings(facts: Sequence[Fact], passes: int) -> list[tuple[_Who, ...]]:
    """Return what `readings` does.

    A pass reads what the one before it left, finds who that is from what it and those before it
    have read so far, and then learns what the fact says of whom it read.
    """
    read = [_Who(fact.subject) for fact in facts]
    known: dict[str, _Who] = {}
    found: list[list[_Who]] = [[] for _ in facts]
    for _ in range(passes):
        for n, fact in enumerate(facts):
            root, path = read[n]
            if root.name in known:
                nearer = known[root.name]
                read[n] = _Who(nearer.root, (*nearer.path, *path))
            if fact.relation.value in PEOPLE:
                known[fact.value] = _Who(root, (*path, fact.relation))
            found[n].append(read[n])
    return [tuple(each) for each in found]
