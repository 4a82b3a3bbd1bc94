"""Facts put into words: told, changed, printed by a tool, asked for, and the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from sleepmem.train.dialogues.entities import NAMED, PEOPLE, VOWELS, Split
from sleepmem.train.dialogues.grammar import composed, surrounded
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.wordings import (
    ASK,
    ASK_NAME,
    ASK_WHAT,
    ASK_WHO,
    CHANGE,
    CHANGE_THING,
    EITHER,
    LOG,
    SLOT,
    TELL,
    TELL_NAME,
    TELL_THING,
    Sides,
)

UNKNOWN = "I don't know."
OWN_WORDING = 0.5  # share of a relation's own wordings where it has some
COMPOSED = 0.5  # share of the wordings in training that a grammar makes, where there is one
OBJECT = re.compile(r"\b(for|with|of|[Bb]ring) \{N\}")  # where oneself is "me", not "I"


class Subject(NamedTuple):
    """Who or what a fact is about.

    Attributes:
        name: as spoken of ("Maria", "project falcon", "my sister"); empty for who speaks.
        is_tool: whether tools, not people, tell of it.
    """

    name: str
    is_tool: bool = False

    @property
    def itself(self) -> str:
        return self.name or "I"

    @property
    def possessor(self) -> str:
        return f"{self.name}'s" if self.name else "my"

    def relative(self, relation: Relation) -> Subject:
        """Return who stands in a relation to it: "my sister"."""
        return Subject(f"{self.possessor} {relation.noun}")


SELF = Subject("")


class Fact(NamedTuple):
    """One value of one relation of one subject."""

    subject: Subject
    relation: Relation
    value: str


def told(rng: Random, split: Split, fact: Fact, *, is_change: bool = False) -> str:
    """Return a statement of a fact, or of what it is from now on."""
    kind = fact.relation.value
    if fact.subject.is_tool:
        tables = [LOG]
    elif is_change:
        tables = [CHANGE] if kind in PEOPLE else [CHANGE, CHANGE_THING]
    elif fact.relation.tell and rng.random() < OWN_WORDING:
        tables = [fact.relation.tell]
    else:
        tables = [TELL, TELL_NAME] if kind in NAMED else [TELL]
        tables += [] if kind in PEOPLE else [TELL_THING]
    return worded(_chosen(rng, split, tables), *fact)


def asked(rng: Random, split: Split, subject: Subject, relation: Relation) -> str:
    """Return a question for the value of a relation."""
    kind = relation.value
    if relation.ask and rng.random() < OWN_WORDING:
        tables = [relation.ask]
    elif kind in PEOPLE:
        tables = [ASK, ASK_WHO]
    elif kind in NAMED:
        tables = [ASK, ASK_NAME]
    else:
        tables = [ASK, ASK_WHAT]
    return worded(_chosen(rng, split, tables), subject, relation)


def _chosen(rng: Random, split: Split, tables: Sequence[Sides]) -> str:
    """Return a wording of one of the tables; in training half of them are composed anew."""
    wording = rng.choice([wording for table in tables for wording in table[split]])
    if split is not Split.TRAIN or LOG in tables:
        return wording
    if rng.random() < COMPOSED:
        wording = composed(rng, rng.choice(tables)) or wording
    return surrounded(rng, wording)


def applied(rng: Random, split: Split, subject: Subject, relation: Relation) -> str:
    """Return a question in the relation's own words; of a preference, a request that needs it."""
    assert relation.ask
    return worded(_chosen(rng, split, [relation.ask]), subject, relation)


def shorthand(fact: Fact) -> str:
    """Return "Maria dog Rex"."""
    return f"{asked_short(fact.subject, fact.relation)} {fact.value}"


def asked_short(subject: Subject, relation: Relation) -> str:
    """Return "Maria dog"."""
    return f"{subject.name or 'My'} {relation.noun}"


def joined(sentences: Sequence[str]) -> str:
    """Return one message of several sentences; one alone stays as it is."""
    *first, last = sentences
    return " ".join([*(s if s[-1] in ".!?" else f"{s}." for s in first), last])


def answered(value: str) -> str:
    return f"{value}."


def worded(wording: str, subject: Subject, relation: Relation, value: str = "") -> str:
    """Fill the slots of a wording; see `wordings`."""
    is_self = not subject.name
    text = EITHER.sub(r"\2" if is_self else r"\1", wording)
    text = OBJECT.sub(r"\1 me", text) if is_self else text
    filling = {
        "{P}": subject.possessor,
        "{N}": subject.itself,
        "{R}": relation.noun,
        "{D}": relation.past,
        "{A}": "an" if value.lower().startswith(tuple(VOWELS)) else "a",
        "{V}": value,
    }
    text = SLOT.sub(lambda slot: filling[slot[0]], text)
    return text if wording.startswith("{V}") else text[0].upper() + text[1:]
