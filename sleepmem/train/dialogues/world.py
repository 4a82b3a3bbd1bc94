"""What has been said so far in a life: keeps a plot from contradicting another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from sleepmem.train.dialogues.chains import Mention, mentions
from sleepmem.train.dialogues.entities import PEOPLE, Split, draw
from sleepmem.train.dialogues.relations import PEOPLE as RELATIVES
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.speech import (
    SELF,
    UNKNOWN,
    Fact,
    Subject,
    answered,
    asked,
    asked_short,
    joined,
    shorthand,
    told,
    worded,
)
from sleepmem.train.dialogues.wordings import Sides


class NothingLeft(ValueError):
    """All is said of somebody."""


class Statement(NamedTuple):
    """Something told.

    Attributes:
        plot: of which plot of the life; statements of one keep their order.
        by_tool: whether a tool says it.
        n_facts: that it tells.
        mentions: whom it calls by a name that it explains.
    """

    text: str
    plot: int
    by_tool: bool = False
    n_facts: int = 1
    mentions: tuple[Mention, ...] = ()


class Known(NamedTuple):
    """What there was in a world before a plot; see `World`."""

    n_statements: int
    n_probes: int
    said: set[tuple[str, str]]
    named: set[tuple[str, str]]
    unnamed: set[tuple[str, str]]


class Probe(NamedTuple):
    """A question with its only right answer.

    Attributes:
        plot: whose statements the answer rests on; None if it was never told.
    """

    kind: str
    question: str
    answer: str
    plot: int | None


@dataclass
class World:
    """What has been said so far in a life, and with which words.

    Plots draw their facts here and tell and ask them, all with one `rng`.

    Attributes:
        split: the side that wordings and entities are of.
        names: people that facts are about, beside who speaks.
        relations: that people have.
        sentences: share of whole sentences; the rest is shorthand.
        pieces: what names and values are drawn from for a start, each a single token.
        in_pieces: share of names and values that are.
        of_self: share of the facts that are about who speaks.
        of_relatives: share of those about a relative who has no name ("my sister").
        statements, probes: so far, plot by plot.
        said: (subject, noun) of which something is known.
        named, unnamed: (subject, noun) of which a name is told, or must not be.
        n_plots: that are told; the number of the one being told.
    """

    rng: Random
    split: Split
    names: list[str]
    relations: tuple[Relation, ...]
    sentences: float = 1.0
    pieces: Sequence[str] = ()
    in_pieces: float = 0.0
    of_self: float = 0.25
    of_relatives: float = 0.15
    statements: list[Statement] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    said: set[tuple[str, str]] = field(default_factory=set)
    named: set[tuple[str, str]] = field(default_factory=set)
    unnamed: set[tuple[str, str]] = field(default_factory=set)
    n_plots: int = 0

    @property
    def n_facts(self) -> int:
        """Facts that are told."""
        return sum(statement.n_facts for statement in self.statements)

    def known(self) -> Known:
        """Return what there is so far, to go back to."""
        said, named, unnamed = self.said.copy(), self.named.copy(), self.unnamed.copy()
        return Known(len(self.statements), len(self.probes), said, named, unnamed)

    def forget_since(self, before: Known) -> None:
        """Go back to what there was before a plot that could not be told to its end."""
        del self.statements[before.n_statements :], self.probes[before.n_probes :]
        self.said, self.named, self.unnamed = before.said, before.named, before.unnamed

    def subject(self) -> Subject:
        """Draw who a fact is about."""
        kind = self.rng.random()
        if kind < self.of_self:
            return SELF
        if kind < self.of_self + self.of_relatives and self.sentences:
            relation = self.rng.choice(RELATIVES)
            if (SELF.name, relation.noun) not in self.named:
                self.unnamed.add((SELF.name, relation.noun))  # who it is stays untold
                return SELF.relative(relation)
        return Subject(self.rng.choice(self.names))

    def entity(self, kind: str) -> str:
        """Draw an entity, or a piece of one for a start."""
        if self.pieces and self.rng.random() < self.in_pieces:
            return self.rng.choice(self.pieces)
        return draw(self.rng, kind, self.split)

    def fact(
        self, among: tuple[Relation, ...] | None = None, subject: Subject | None = None
    ) -> Fact:
        """Draw a fact of which nothing was said, and note that it is now.

        Args:
            among: relations to choose from; those of the world by default.
            subject: whom it is about; anybody by default.

        Raises:
            NothingLeft: all is said of the subject.
        """
        while True:
            who = self.subject() if subject is None else subject
            unsaid = [r for r in among or self.relations if self.is_unsaid(who, r)]
            if unsaid:
                relation = self.rng.choice(unsaid)
                self.say_of(who, relation)
                if relation.value in PEOPLE:
                    self.named.add((who.name, relation.noun))
                return self.other(Fact(who, relation, who.name))
            if subject is not None:
                raise NothingLeft(f"nothing is left to say of {who.itself}")
            self.names.append(self.entity("person"))

    def is_unsaid(self, subject: Subject, relation: Relation) -> bool:
        """Return whether a plot may still say it."""
        key = subject.name, relation.noun
        return key not in self.said and key not in self.unnamed

    def say_of(self, subject: Subject, relation: Relation) -> None:
        """Note that something is said, so that no other plot says it."""
        self.said.add((subject.name, relation.noun))

    def other(self, fact: Fact) -> Fact:
        """Return the fact with another value, and nobody as a relative of himself."""
        while True:
            value = self.entity(fact.relation.value)
            if value not in (fact.value, fact.subject.name):
                return fact._replace(value=value)

    def tell(self, *facts: Fact, is_change: bool = False) -> None:
        """Tell a fact, or several in one message, in whole sentences or in shorthand."""
        texts = []
        for fact in facts:
            text = told(self.rng, self.split, fact, is_change=is_change)
            texts.append(shorthand(fact) if self.rng.random() >= self.sentences else text)
        text = joined(texts)
        explained = mentions(facts, texts, text) if len(facts) > 1 else ()
        by_tool = facts[0].subject.is_tool
        statement = Statement(text, self.n_plots, by_tool, len(facts), explained)
        self.statements.append(statement)

    def tell_as(self, wordings: Sides, fact: Fact) -> None:
        """Tell a fact in a wording out of a table."""
        self.statements.append(Statement(self.worded(wordings, fact), self.n_plots))

    def worded(self, wordings: Sides, fact: Fact) -> str:
        """Return a fact, or a question for it, in a wording out of a table."""
        return worded(self.rng.choice(wordings[self.split]), *fact)

    def question(self, subject: Subject, relation: Relation) -> str:
        """Return a question for a value, in a whole sentence or in shorthand."""
        if self.rng.random() >= self.sentences:
            return asked_short(subject, relation)
        return asked(self.rng, self.split, subject, relation)

    def ask(self, kind: str, subject: Subject, relation: Relation, value: str) -> None:
        """Ask for a value that the plot being told has told."""
        self.probe(kind, self.question(subject, relation), answered(value))

    def ask_unknown(self, subject: Subject, relation: Relation) -> None:
        """Ask for what was never told."""
        self.probes.append(Probe("abstain", self.question(subject, relation), UNKNOWN, None))

    def probe(self, kind: str, question: str, answer: str) -> None:
        """Ask something of the plot being told."""
        self.probes.append(Probe(kind, question, answer, self.n_plots))
