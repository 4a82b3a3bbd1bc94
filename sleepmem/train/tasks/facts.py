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
    statement,
)
from sleepmem.train.tokenizer import build_tokenizer
from sleepmem.types import Message, Role


class Load(NamedTuple):
    """How much a context holds at most: facts, windows, and different things that are said.

    With one thing said of all, only names tell the facts apart; that comes first, for a model that
    may tell them apart by what is said never learns the names.
    """

    n_facts: int
    n_windows: int
    n_attributes: int


STAGES = (
    Load(1, 1, 10),
    Load(2, 2, 1),
    Load(4, 4, 2),
    Load(8, 6, 4),
    Load(12, 6, 10),
    Load(20, 8, 10),
    Load(32, 10, 10),
)


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

    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        if stage and rng.random() < 0.2:  # what was learned earlier stays
            stage = rng.randrange(stage)
        load = STAGES[stage]
        n_facts = rng.randint(-(-load.n_facts // 2), load.n_facts)
        size *= min(8, max(1, STAGES[-1].n_facts // (2 * load.n_facts)))  # of about equal work
        n_windows = rng.randint(1, min(load.n_windows, n_facts))
        return self._batch(rng, size, Load(n_facts, n_windows, load.n_attributes), held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._batch(rng, size, Load(24, 8, 10), held_out=True)

    def _batch(self, rng: Random, size: int, load: Load, *, held_out: bool) -> Batch:
        n_facts, n_windows, _ = load
        windows: list[list[list[int]]] = [[] for _ in range(n_windows)]
        questions: list[list[tuple[list[int], list[int], int]]] = []
        is_noted, n_before = rng.random() < 0.6, rng.choice((0, 0, 0, 0, 1, 2))
        cuts = sorted(rng.sample(range(1, n_facts), n_windows - 1))  # ragged windows
        for _ in range(size):
            n_attributes = load.n_attributes if held_out else rng.randint(1, load.n_attributes)
            facts = draw_facts(rng, n_facts, held_out=held_out, n_attributes=n_attributes)
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
