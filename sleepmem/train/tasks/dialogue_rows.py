"""Dialogues as ids and labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.train.dialogues.entities import Split, side
from sleepmem.train.dialogues.life import Life, Line
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.tasks import IGNORED, Batch
from sleepmem.types import Message, Role

Windows = tuple[tuple[Tensor, Tensor], ...]


class Row(NamedTuple):
    """A question as ids with labels.

    Attributes:
        labels: the id to be predicted at each position, or `IGNORED`.
        kind: index in `KINDS`, or -1 if it does not count.
    """

    ids: list[int]
    labels: list[int]
    kind: int


@cache
def _chat() -> ChatTokens:
    return ChatTokens(tokenizer())


@cache
def single_pieces() -> tuple[str, ...]:
    """Return the capitalised pieces of names that are a word by themselves, one token each.

    Those that are a held-out name are not among them.
    """
    vocabulary = tokenizer().get_vocab(with_added_tokens=False)
    starts = sorted(piece[1:] for piece in vocabulary if piece[0] == "Ġ" and piece[1:].isalpha())
    plain = (p for p in starts if p.isascii() and p[0].isupper() and len(p) > 1)
    return tuple(piece for piece in plain if side(piece) is Split.TRAIN)


def _message(role: Role, text: str) -> list[int]:
    return _chat().encode(Message(role=role, content=text))


def text_ids(text: str) -> list[int]:
    """Return the ids of a text as it stands inside a message."""
    return _chat().text_ids(text)


def spoken(lines: Sequence[Line]) -> list[int]:
    """Return the ids of messages."""
    return [token_id for line in lines for token_id in _message(line.role, line.text)]


def labelled(before: Sequence[Line], replied: str, kind: int) -> Row:
    """Return messages with the reply that is to follow them."""
    start = [*spoken(before), *_chat().reply_prefix()]
    answer = _message(Role.ASSISTANT, replied)[1:]
    labels = [IGNORED] * (len(start) - 1) + answer
    return Row([*start, *answer[:-1]], labels, kind)


def padded(rows: Sequence[Sequence[int]], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows of ids as one, (rows, longest), and a mask of it that is false at filler."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
    n_tokens = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < n_tokens[:, None]


def told(lives: Sequence[Life], window: int) -> Windows:
    """Return the episodes of lives that are cut at the same places, at most a window each."""
    episodes = zip(*(life.episodes for life in lives), strict=True)
    return tuple(padded([spoken(lines)[:window] for lines in episode]) for episode in episodes)


def examined(lives: Sequence[Life], window: int) -> Batch:
    """Return a batch in which every question of every life is asked, in order.

    Lives with fewer questions are filled up with some that do not count.
    """
    rows = [
        [
            labelled([Line(Role.USER, probe.question)], probe.answer, KINDS.index(probe.kind))
            for probe, _ in life.asked
        ]
        for life in lives
    ]
    most = max(map(len, rows))
    filled = [[*row, *[row[0]._replace(kind=-1)] * (most - len(row))] for row in rows]
    return with_questions(told(lives, window), filled)


def with_questions(windows: Windows, asked: Sequence[Sequence[Row]]) -> Batch:
    """Return the batch of windows and of as many questions for each life."""
    rows = [row for life in asked for row in life]
    shape = len(asked), len(asked[0])
    ids, _ = padded([row.ids for row in rows])
    labels, _ = padded([row.labels for row in rows], IGNORED)
    kinds = torch.tensor([row.kind for row in rows])
    answer_at = (labels != IGNORED) & (kinds >= 0)[:, None]
    return Batch(
        windows,
        ids.view(*shape, -1),
        labels.view(*shape, -1),
        answer_at.view(*shape, -1),
        kinds.view(shape),
    )
