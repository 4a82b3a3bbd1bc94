"""Where an episode must end because the window is full: arithmetic on stream positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from sleepmem.types import OpenEpisode, Turn


def ends(turns: Sequence[Turn], after: int) -> Iterator[int]:
    """Yield the positions behind `after` at which the messages of `turns` end."""
    for turn in turns:
        end = turn.start
        for message in turn.messages:
            end += len(message.token_ids)
            if after < end <= turn.stop:
                yield end


def next_cut(
    start: int, message_ends: Sequence[int], *, fresh: int, room: int, reserve: int
) -> int | None:
    """Return where the next episode must end, or None if everything fits.

    What was there before the turn sleeps whole; then as many whole messages as fit; a message that
    does not fit by itself sleeps in pieces of about one size, and its last piece stays awake.

    Args:
        start: where the open episode begins.
        message_ends: where the messages from there on end, ascending.
        fresh: where the turn begins that came last.
        room: tokens of the window that an episode may take.
        reserve: tokens that must stay free behind the last message; less than `room`.
    """
    if not message_ends or message_ends[-1] - start + reserve <= room:
        return None
    if start < fresh <= start + room:
        return fresh
    end = message_ends[-1]
    whole = [stop for stop in message_ends if stop <= start + room and stop < end]
    if whole:
        return whole[-1]
    first = message_ends[0]
    return start + _piece(first - start, room, reserve if first == end else 0)


CutAt = Callable[[OpenEpisode, int], int | None]  # (open episode, room) -> position


def cut_behind(staged: Turn | None, reserve: int) -> CutAt:
    """Return where to cut so that the open episode, and the staged turn behind it, fit."""

    def cut_at(open_: OpenEpisode, room: int) -> int | None:
        turns = (*open_.turns, staged) if staged else open_.turns
        fresh = turns[-1].start if turns else open_.start
        message_ends = list(ends(turns, open_.start))
        return next_cut(open_.start, message_ends, fresh=fresh, room=room, reserve=reserve)

    return cut_at


def cut_before(n_coming: int, reserve: int) -> CutAt:
    """Return where to cut so that `n_coming` tokens fit, or at least find the window empty."""

    def cut_at(open_: OpenEpisode, room: int) -> int | None:
        n_open = len(open_.token_ids)
        if not n_open or n_open + n_coming + reserve <= room:
            return None
        return cut_behind(None, 0)(open_, room) or open_.start + n_open

    return cut_at


def _piece(n_tokens: int, room: int, reserve: int) -> int:
    """Return the length of the next piece of a message, the pieces being about equal."""
    too_many = n_tokens - (room - reserve)
    n_pieces = ceil(too_many / room)
    return max(ceil(n_tokens / (n_pieces + 1)), ceil(too_many / n_pieces))
