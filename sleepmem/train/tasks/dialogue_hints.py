"""Windows of dialogues as passes are to hand them on: who is explained stands for the name."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.train.dialogues.chains import PASSES
from sleepmem.train.dialogues.life import Life, Line
from sleepmem.train.tasks import Hint, Retold
from sleepmem.train.tasks.dialogue_rows import padded, spoken, text_ids

GONE = -1  # of a token: it is part of a name that is replaced


def hinted(lives: Sequence[Life], window: int) -> tuple[Hint | None, ...]:
    """Return for each window of lives that are cut at the same places what passes are to hand on.

    None for one in which nobody is explained, or that is longer than `window`.
    """
    episodes = zip(*(life.episodes for life in lives), strict=True)
    return tuple(_hint(episode, window) for episode in episodes)


def _hint(episode: Sequence[Sequence[Line]], window: int) -> Hint | None:
    if not any(line.mentions for lines in episode for line in lines):  # as in most episodes
        return None
    hint = tuple(_retold(episode, n) for n in range(PASSES))
    longest = max(max(each.ids.shape[1], each.token.shape[1]) for each in hint)
    return hint if longest <= window else None


def _retold(episode: Sequence[Sequence[Line]], n: int) -> Retold:
    ids: list[list[int]] = []
    token: list[list[int]] = []
    for lines in episode:
        ids.append([])
        token.append([])
        for line in lines:
            after, places = retold(line, n)
            token[-1] += [GONE if place == GONE else len(ids[-1]) + place for place in places]
            ids[-1] += after
    went_to, _ = padded(token, GONE)
    return Retold(*padded(ids), went_to)


def retold(line: Line, n: int) -> tuple[list[int], list[int]]:
    """Return the ids of a message as pass `n`, from 0, hands it on, and where its tokens went.

    A token of a name that is replaced went to `GONE`.
    """
    before, text, at = spoken([line]), "", 0
    kept: list[tuple[int, int, int]] = []  # characters from, to, and where they went
    for mention in line.mentions:
        kept.append((at, mention.start, len(text)))
        who = mention.readings[n]
        text += line.text[at : mention.start]
        text += who if text else who[0].upper() + who[1:]
        at = mention.stop
    kept.append((at, len(line.text), len(text)))
    text += line.text[at:]
    after = spoken([line._replace(text=text)])
    places = [GONE] * len(before)
    for start, stop, to in kept:
        first, end = 1 + _n_tokens(line.text[:start]), 1 + _n_tokens(line.text[:stop])
        went = 1 + _n_tokens(text[:to])
        places[first:end] = range(went, went + end - first)
    n_text = 1 + len(text_ids(line.text))
    places[0], places[n_text:] = 0, range(len(after) - len(before) + n_text, len(after))
    return after, [
        p if after[p] == token else GONE for p, token in zip(places, before, strict=True)
    ]


def _n_tokens(start: str) -> int:
    """Return how many tokens there are of a text that starts so, up to a word of its own."""
    start = start.rstrip()
    return len(text_ids(start)) if start else 0
