"""People tell facts over many windows, the windows are slept on, then they ask.

What is held out from training is said in `facts_talk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.train.tasks import IGNORED, Batch
from sleepmem.train.tasks.facts_talk import (
    NOTED,
    Fact,
    all_texts,
    answer,
    draw_facts,
    question,
    short_question,
    short_statement,
    statement,
)
from sleepmem.train.tokenizer import build_tokenizer
from sleepmem.types import Message, Role


class Load(NamedTuple):
    """How much a context holds at most, and in which words.

    Shorthand comes first, and one thing said of many people: in a short text a name is a large part
    of what is read, and only names tell the facts apart. A model that starts with whole sentences
    learns keys without names in them, and does not find them again.

    Attributes:
        n_facts, n_windows: three quarters of the facts, half of the windows at least.
        n_attributes: different things that are said.
        sentences: share of statements and questions in whole sentences instead of shorthand.
    """

    n_facts: int
    n_windows: int
    n_attributes: int
    sentences: float


STAGES = (
    Load(4, 4, 1, 0.0),
    Load(4, 4, 3, 0.3),
    Load(6, 4, 5, 0.6),
    Load(8, 6, 10, 0.8),
    Load(12, 6, 10, 0.9),
    Load(20, 8, 10, 0.9),
    Load(32, 10, 10, 0.9),
)
HELD_OUT = Load(24, 8, 10, 1.0)


class FactsTask:
    """See the module."""

    name = "facts"
    window = 512
    n_stages = len(STAGES)

    def __init__(self, n_questions: int = 20) -> None:
        self.n_questions = n_questions
        self._tokenizer = build_tokenizer(all_texts())
        self._chat = ChatTokens(self._tokenizer)
        self._ids: dict[tuple[Role, str], list[int]] = {}

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        if stage and rng.random() < 0.2:  # what was learned earlier stays
            stage = rng.randrange(stage)
        load = STAGES[stage]
        n_facts = rng.randint(load.n_facts * 3 // 4, load.n_facts)
        size *= min(8, max(1, STAGES[-1].n_facts // (2 * load.n_facts)))  # of about equal work
        n_windows = rng.randint(load.n_windows // 2, min(load.n_windows, n_facts))
        load = load._replace(n_facts=n_facts, n_windows=n_windows)
        return self._batch(rng, size, load, held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._batch(rng, size, HELD_OUT, held_out=True)

    def _batch(self, rng: Random, size: int, load: Load, *, held_out: bool) -> Batch:
        n_facts, n_windows = load.n_facts, load.n_windows
        windows: list[list[list[int]]] = [[] for _ in range(n_windows)]
        questions: list[list[tuple[list[int], list[int], int]]] = []
        is_noted, n_before = rng.random() < 0.6, rng.choice((0, 0, 0, 0, 1, 2))
        cuts = sorted(rng.sample(range(1, n_facts), n_windows - 1))  # ragged windows
        for _ in range(size):
            n_attributes = load.n_attributes if held_out else rng.randint(1, load.n_attributes)
            facts = draw_facts(rng, n_facts, held_out=held_out, n_attributes=n_attributes)
            for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, n_facts], strict=True)):
                windows[i].append(self._told(rng, facts[a:b], load, is_noted=is_noted))
            questions.append(self._asked(rng, facts, load, 0 if held_out else n_before, held_out))
        ids, labels, answer_at = _pad_questions(questions)
        return Batch(tuple(_pad(rows) for rows in windows), ids, labels, answer_at)

    def _told(self, rng: Random, facts: Sequence[Fact], load: Load, *, is_noted: bool) -> list[int]:
        """Return the ids of one window: statements, mostly noted, and now and then a question."""
        ids: list[int] = []
        for i, fact in enumerate(facts):
            ids += self._message(Role.USER, _statement(rng, fact, load))
            if is_noted:
                ids += self._message(Role.ASSISTANT, NOTED)
            if rng.random() < 0.1:
                asked = facts[rng.randrange(i + 1)]
                ids += self._message(Role.USER, _question(rng, asked, load))
                ids += self._message(Role.ASSISTANT, answer(asked))
        return ids

    def _asked(
        self, rng: Random, facts: Sequence[Fact], load: Load, n_before: int, held_out: bool
    ) -> list[tuple[list[int], list[int], int]]:
        """Return rows of (ids, labels, position of the answer or -1)."""
        rows = []
        for fact in rng.sample(facts, min(self.n_questions, len(facts))):
            kind = 1.0 if held_out else rng.random()
            if kind < 0.1:  # something new is told: it is noted
                new = draw_facts(rng, 1, held_out=False)[0]
                rows.append(self._row([], _statement(rng, new, load), NOTED, scored=False))
            elif kind < 0.2:  # told again: predict every word
                ids = self._message(Role.USER, _statement(rng, fact, load))
                rows.append((ids, [*ids[1:], IGNORED], -1))
            else:
                before: list[int] = []
                for other in rng.sample(facts, min(n_before, len(facts))):
                    before += self._message(Role.USER, _statement(rng, other, load))
                    before += self._message(Role.ASSISTANT, NOTED)
                asked = _question(rng, fact, load)
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


def _statement(rng: Random, fact: Fact, load: Load) -> str:
    if rng.random() >= load.sentences:
        return short_statement(fact)
    return statement(fact, rng.randrange(4))


def _question(rng: Random, fact: Fact, load: Load) -> str:
    if rng.random() >= load.sentences:
        return short_question(fact)
    return question(fact, rng.randrange(3))


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
