"""Where in the windows of dialogues somebody is named, and who a pass is to find that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from sleepmem.train.dialogues.chains import PASSES, Mention
from sleepmem.train.dialogues.life import Life, Line
from sleepmem.train.tasks import Hint, Places
from sleepmem.train.tasks.dialogue_rows import spoken, text_ids

Ids = list[int]


class _Place(NamedTuple):
    life: int
    token: int
    parts: Ids


def hinted(lives: Sequence[Life], window: int) -> tuple[Hint | None, ...]:
    """Return for each window of lives that are cut at the same places what passes are to leave."""
    episodes = zip(*(life.episodes for life in lives), strict=True)
    return tuple(_hint(episode, window) for episode in episodes)


def _hint(episode: Sequence[Sequence[Line]], window: int) -> Hint | None:
    passes: list[list[_Place]] = [[] for _ in range(PASSES)]
    for life, lines in enumerate(episode):
        for start, line, mention in _mentioned(lines):
            before = line.text[: mention.start].rstrip()
            first = len(text_ids(before)) if before else 0
            name = text_ids(line.text[mention.start : mention.stop])
            n = len(name)
            if text_ids(line.text)[first : first + n] != name or start + first + n > window:
                continue  # the name is in other pieces there, or cut off
            for places, read in zip(passes, mention.readings, strict=True):
                places += [_Place(life, start + first + i, p) for i, p in aligned(read, n)]
    return tuple(map(_places, passes)) if passes[0] else None


def _mentioned(lines: Sequence[Line]) -> Iterator[tuple[int, Line, Mention]]:
    """Yield where the text of a line starts, in tokens of the episode, for each of its mentions."""
    if not any(line.mentions for line in lines):  # as in most episodes
        return
    n_tokens = 0
    for line in lines:
        yield from ((n_tokens + 1, line, mention) for mention in line.mentions)
        n_tokens += len(spoken([line]))


def aligned(read: str, n: int) -> list[tuple[int, Ids]]:
    """Return which pieces of a name are to be at which of `n` places.

    The last ones are in place; those before them that have no room are in the first, together.
    """
    pieces = text_ids(read)
    n_early = max(1, len(pieces) - n + 1)
    groups = [pieces[:n_early], *([piece] for piece in pieces[n_early:])]
    return list(enumerate(groups, n - len(groups)))


def _places(places: Sequence[_Place]) -> Places:
    most = max((len(place.parts) for place in places), default=0)
    parts = [[*place.parts, *[-1] * (most - len(place.parts))] for place in places]
    return Places(
        torch.tensor([place.life for place in places]),
        torch.tensor([place.token for place in places]),
        torch.tensor(parts),
    )
