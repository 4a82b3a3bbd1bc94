"""Commits whose answer was lost with the connection: whether they were made is looked up.

A write is asked for first: it waits for the transaction whose end nobody saw, and raises
`LeaseLost` if somebody else may have written since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sleepmem.errors import EpisodeNotFound, StoreUnavailable
from sleepmem.protocols import EpisodeLog
from sleepmem.types import Thread, Turn


async def is_closed(log: EpisodeLog, thread: Thread, epoch: int, episode: str) -> bool:
    """Return whether a sleep of the thread's branch has closed this episode.

    Raises:
        StoreUnavailable: it says that nobody knows.
    """
    with _or_unknown():
        await _settled(log, thread, epoch)
        try:
            await log.lineage(thread.agent, thread.branch, until=episode)
        except EpisodeNotFound:
            return False
        return True


async def last_done(log: EpisodeLog, thread: Thread, epoch: int) -> Turn | None:
    """Return the last done turn of the thread's open episode. Raises as `is_closed`."""
    with _or_unknown():
        await _settled(log, thread, epoch)
        turns = (await log.open_episode(thread)).turns
        return turns[-1] if turns else None


async def _settled(log: EpisodeLog, thread: Thread, epoch: int) -> None:
    await log.thread(thread.agent, epoch, branch=thread.branch, name=thread.name, system=None)


@contextmanager
def _or_unknown() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{error}; what was to be committed may be in the log or not",
            hint="Look there, or ask again with the same request id, once the database answers.",
        ) from error
