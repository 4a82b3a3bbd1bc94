"""People tell facts over many windows, the windows are slept on, then they ask.

Held out are combinations: one in ten of the (who, what, value) triples never occurs in training,
neither told nor asked. Words are not held out; the lists are closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple
from zlib import crc32

import torch
from tokenizers import Tokenizer
from torch import Tensor

from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.train.tasks import IGNORED, Batch
from sleepmem.train.tasks.facts_words import ATTRIBUTES, NAMES, Attribute
from sleepmem.train.tokenizer import build_tokenizer
from sleepmem.types import Message, Role

SELF = ""  # the subject who speaks of himself
NOTED = "Noted."
HELD_OUT_SHARE = 10  # one in so many triples

_FIRST_PERSON = {"P": "my", "N": "I"}


class Fact(NamedTuple):
    """`subject` is a name or `SELF`, `attribute` an index, `value` a word."""

    subject: str
    attribute: int
    value: str

    @property
    def is_held_out(self) -> bool:
        key = f"{self.subject}|{ATTRIBUTES[self.attribute].name}|{self.value}"
        return crc32(key.encode()) % HELD_OUT_SHARE == 0


def statement(fact: Fact, wording: int) -> str:
    """Return the fact in one of its four wordings."""
    return _worded(ATTRIBUTES[fact.attribute].statements[wording], fact.subject, fact.value)


def question(fact: Fact, wording: int) -> str:
    """Return one of the three questions whose answer is the fact's value."""
    return _worded(ATTRIBUTES[fact.attribute].questions[wording], fact.subject, "")


def answer(fact: Fact) -> str:
    return f"{fact.value}."


def _worded(wording: str, subject: str, value: str) -> str:
    slots = _FIRST_PERSON if subject == SELF else {"P": f"{subject}'s", "N": subject}
    text = re.sub(r"\[(.*?)\|(.*?)\]", r"\2" if subject == SELF else r"\1", wording)
    text = text.format(V=value, A="an" if value[:1] in "aeiou" else "a", **slots)
    return text[0].upper() + text[1:]


def all_texts() -> Iterator[str]:
    """Yield texts that together hold every word of the task."""
    for attribute in ATTRIBUTES:
        for subject in (SELF, NAMES[0]):
            yield from (_worded(w, subject, v) for w in attribute.statements for v in ("x", "a"))
            yield from (_worded(w, subject, "") for w in attribute.questions)
        yield from (f"a {value}" for value in attribute.values)
    yield from (f"a {name}'s" for name in NAMES)
    yield NOTED


class Load(NamedTuple):
    """How much a context holds: facts in all, over at most so many windows."""

    n_facts: int
    n_windows: int


STAGES = (
    Load(1, 1),
    Load(2, 1),
    Load(4, 2),
    Load(8, 3),
    Load(12, 4),
    Load(20, 6),
    Load(32, 10),
)


class FactsTask:
    """See the module."""

    name = "facts"
    window = 512
    n_stages = len(STAGES)

    def __init__(self, n_questions: int = 8) -> None:
        self.n_questions = n_questions
        self._tokenizer = build_tokenizer(all_texts())
        self._chat = ChatTokens(self._tokenizer)
        self._ids: dict[tuple[Role, str], list[int]] = {}

    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        if stage and rng.random() < 0.2:  # what was learned earlier stays
            stage = rng.randrange(stage)
        load = STAGES[stage]
        n_facts = rng.randint(-(-load.n_facts // 2), load.n_facts)
        size *= min(
            4, max(1, STAGES[-1].n_facts // (2 * load.n_facts))
        )  # steps of about equal work
        n_windows = rng.randint(1, min(load.n_windows, n_facts))
        return self._batch(rng, size, n_facts, n_windows, held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._batch(rng, size, 24, 8, held_out=True)

    def _batch(
        self, rng: Random, size: int, n_facts: int, n_windows: int, *, held_out: bool
    ) -> Batch:
        windows: list[list[list[int]]] = [[] for _ in range(n_windows)]
        questions: list[list[tuple[list[int], list[int], int]]] = []
        is_noted, n_before = rng.random() < 0.6, rng.choice((0, 0, 0, 0, 1, 2))
        cuts = sorted(rng.sample(range(1, n_facts), n_windows - 1))  # ragged windows
        for _ in range(size):
            facts = draw_facts(rng, n_facts, held_out=held_out)
            for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, n_facts], strict=True)):
                windows[i].append(self._told(rng, facts[a:b], is_noted=is_noted))
            questions.append(self._asked(rng, facts, 0 if held_out else n_before, held_out))
        ids, labels, answer_at = _pad_questions(questions)
        return Batch(tuple(_pad(rows) for rows in windows), ids, labels, answer_at)

    def _told(self, rng: Random, facts: Sequence[Fact], *, is_noted: bool) -> list[int]:
        """Return the ids of one window: statements, mostly noted, and now and then a question."""
        ids: list[int] = []
        for i, fact in enumerate(facts):
            ids += self._message(Role.USER, statement(fact, rng.randrange(4)))
            if is_noted:
                ids += self._message(Role.ASSISTANT, NOTED)
            if rng.random() < 0.1:
                asked = facts[rng.randrange(i + 1)]
                ids += self._message(Role.USER, question(asked, rng.randrange(3)))
                ids += self._message(Role.ASSISTANT, answer(asked))
        return ids

    def _asked(
        self, rng: Random, facts: Sequence[Fact], n_before: int, held_out: bool
    ) -> list[tuple[list[int], list[int], int]]:
        """Return rows of (ids, labels, position of the answer or -1)."""
        rows = []
        for fact in rng.sample(facts, min(self.n_questions, len(facts))):
            kind = 1.0 if held_out else rng.random()
            if kind < 0.1:  # something new is told: it is noted
                new = draw_facts(rng, 1, held_out=False)[0]
                rows.append(self._row([], statement(new, rng.randrange(4)), NOTED, scored=False))
            elif kind < 0.2:  # told again: predict every word
                ids = self._message(Role.USER, statement(fact, rng.randrange(4)))
                rows.append((ids, [*ids[1:], IGNORED], -1))
            else:
                before: list[int] = []
                for other in rng.sample(facts, min(n_before, len(facts))):
                    before += self._message(Role.USER, statement(other, rng.randrange(4)))
                    before += self._message(Role.ASSISTANT, NOTED)
                asked = question(fact, rng.randrange(3))
                rows.append(self._row(before, asked, answer(fact), scored=True))
        return rows

    def _row(
        self, before: list[int], asked: str, replied: str, *, scored: bool
    ) -> tuple[list[int], list[int], int]:
        start = [*before, *self._message(Role.USER, asked), *self._chat.reply_prefix()]
        reply = self._message(Role.ASSISTANT, replied)[1:]
        ids = [*start, *reply[:-1]]
        labels = [IGNORED] * (len(start) - 1) + reply
        return ids, labels, len(start) - 1 if scored else -1

    def _message(self, role: Role, text: str) -> list[int]:
        key = role, text
        if key not in self._ids:
            if len(self._ids) > 200_000:
                self._ids.clear()
            self._ids[key] = self._chat.encode(Message(role=role, content=text))
        return self._ids[key]


def draw_facts(rng: Random, n_facts: int, *, held_out: bool) -> list[Fact]:
    """Draw facts about few or many people, no two on the same (who, what)."""
    n_subjects = rng.randint(max(1, n_facts // len(ATTRIBUTES) + 1), n_facts + 1)
    subjects = [*rng.sample(NAMES, n_subjects)]
    if rng.random() < 0.3:
        subjects[0] = SELF
    pairs = [(subject, a) for subject in subjects for a in range(len(ATTRIBUTES))]
    return [draw_fact(rng, s, a, held_out=held_out) for s, a in rng.sample(pairs, n_facts)]


def draw_fact(rng: Random, subject: str, attribute: int, *, held_out: bool) -> Fact:
    """Draw a value such that the fact is, or is not, among the held-out ones."""
    values = ATTRIBUTES[attribute].values
    while True:
        fact = Fact(subject, attribute, rng.choice(values))
        if fact.is_held_out == held_out:
            return fact


def candidates(fact: Fact) -> Attribute:
    """Return the attribute whose values could all answer the question about the fact."""
    return ATTRIBUTES[fact.attribute]


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    n_tokens = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < n_tokens[:, None]


def _pad_questions(
    contexts: Sequence[Sequence[tuple[list[int], list[int], int]]],
) -> tuple[Tensor, Tensor, Tensor]:
    rows = [row for context in contexts for row in context]
    shape = len(contexts), len(contexts[0]), -1
    ids, _ = _pad([row[0] for row in rows])
    labels, has_label = _pad([row[1] for row in rows])
    labels = labels.masked_fill(~has_label, IGNORED)
    answer_at = torch.arange(ids.shape[1]) == torch.tensor([row[2] for row in rows])[:, None]
    return ids.view(shape), labels.view(shape), answer_at.view(shape)
