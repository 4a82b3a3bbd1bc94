"""Windows of dialogues as passes are to hand them on: who is explained stands for the name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch

from sleepmem.train.dialogues.chains import Mention, n_links
from sleepmem.train.dialogues.life import Life, Line
from sleepmem.train.dialogues.plots import N_CHAINS
from sleepmem.train.tasks import Hint, Retold
from sleepmem.train.tasks.dialogue_rows import padded, spoken, text_ids

SENTENCE_ENDS = ("", ".", "!", "?")
GONE = -1  # of a token: it is no token of what is handed on


Spoken = list[list[tuple[Line, list[int]]]]  # messages of each life, with their ids


def hint_of(lives: Sequence[Life], window: int, number: int) -> Hint | None:
    """Return what passes are to hand on of a window of lives that are cut at the same places.

    None for one in which nobody is explained, or that is longer than `window` then.
    """
    episode = [life.episodes[number] for life in lives]
    read = [mention.readings for lines in episode for line in lines for mention in line.mentions]
    if not read:  # as in most episodes
        return None
    n_passes = 1 + max(readings.index(readings[-1]) for readings in read)
    said = [[(line, spoken([line])) for line in lines] for lines in episode]
    retold, *confused = (
        tuple(_retold(said, n, shift) for n in range(n_passes)) for shift in range(N_CHAINS)
    )
    all_of = [each for told in (retold, *confused) for each in told]
    if max(max(each.ids.shape[1], each.token.shape[1]) for each in all_of) > window:
        return None
    named = torch.tensor([*_explained(said)], dtype=torch.int64).view(-1, 4)
    return Hint(retold, tuple(confused), *named.unbind(1))


def confused(mentions: Sequence[Mention], shift: int) -> tuple[Mention, ...]:
    """Return mentions in which each is taken for the one so many further of as many links.

    Where there are no others of as many, it stays who it is.
    """
    alike: dict[int, list[Mention]] = {}
    for mention in mentions:
        alike.setdefault(n_links(mention.readings[-1]), []).append(mention)
    for each in alike.values():
        turned = each[shift % len(each) :] + each[: shift % len(each)]
        each[:] = [m._replace(readings=o.readings) for m, o in zip(each, turned, strict=True)]
    return tuple(sorted(mention for each in alike.values() for mention in each))


def _retold(said: Spoken, n: int, shift: int) -> Retold:
    ids: list[list[int]] = []
    token: list[list[int]] = []
    for lines in said:
        ids.append([])
        token.append([])
        for line, before in lines:
            after, places = before, list(range(len(before)))
            if line.mentions:
                other = line._replace(mentions=confused(line.mentions, shift))
                after, places = retold_line(other, before, n)
            token[-1] += [GONE if place == GONE else len(ids[-1]) + place for place in places]
            ids[-1] += after
    went_to, _ = padded(token, GONE)
    return Retold(*padded(ids), went_to)


def _explained(said: Spoken) -> Iterator[tuple[int, int, int, int]]:
    """Yield a pass, a life, the last token of a name, and that of the one that it is found by."""
    for life, lines in enumerate(said):
        n_tokens = 0
        for line, ids in lines:
            for mention in line.mentions:
                named = n_tokens + _n_tokens(line.text[: mention.stop])
                for number, told in enumerate(mention.told):
                    if told:
                        yield number, life, named, n_tokens + _n_tokens(line.text[:told])
            n_tokens += len(ids)


class _Part(NamedTuple):
    """A part of a text, characters from and to, and where it went."""

    start: int
    stop: int
    went: int
    went_to: int
    is_name: bool


def retold_line(line: Line, before: Sequence[int], n: int) -> tuple[list[int], list[int]]:
    """Return the ids of a message as pass `n`, from 0, hands it on, and where its tokens went.

    The last tokens of a name that is replaced went to the last of who that is.

    Args:
        before: its ids.
    """
    text, parts = _replaced(line, n)
    after = spoken([line._replace(text=text)])
    places = [GONE] * len(before)
    for part in parts:
        first, end = 1 + _n_tokens(line.text[: part.start]), 1 + _n_tokens(line.text[: part.stop])
        went, went_to = 1 + _n_tokens(text[: part.went]), 1 + _n_tokens(text[: part.went_to])
        kept = min(end - first, went_to - went)
        if part.is_name or before[first:end] == after[went:went_to]:
            places[end - kept : end] = range(went_to - kept, went_to)
    n_text = 1 + _n_tokens(line.text)
    places[0], places[n_text:] = 0, range(len(after) - len(before) + n_text, len(after))
    return after, places


def _replaced(line: Line, n: int) -> tuple[str, list[_Part]]:
    text, at, parts = "", 0, list[_Part]()
    for mention in line.mentions:
        who = mention.readings[n]
        if line.text[: mention.start].rstrip()[-1:] in SENTENCE_ENDS:
            who = who[0].upper() + who[1:]
        begin = len(text) + mention.start - at
        parts.append(_Part(at, mention.start, len(text), begin, is_name=False))
        text += line.text[at : mention.start] + who
        parts.append(_Part(mention.start, mention.stop, begin, len(text), is_name=True))
        at = mention.stop
    end = len(text) + len(line.text) - at
    parts.append(_Part(at, len(line.text), len(text), end, is_name=False))
    return text + line.text[at:], parts


@lru_cache(maxsize=4096)
def _n_tokens(start: str) -> int:
    """Return how many tokens there are of a text that starts so, up to a word of its own."""
    start = start.rstrip()
    return len(text_ids(start)) if start else 0
