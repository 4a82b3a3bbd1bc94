"""Wake states: where a thread stands, and what is kept of it between two turns.

A state is a function of (head, system prompt, open episode). A state that was kept is used only
if it was built from these very values; all else is built again from the log.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sleepmem.protocols import WakeState
from sleepmem.types import Head, LoggedMessage, OpenEpisode, Thread


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a thread stands, as the log has it.

    Attributes:
        system_ids: the system prompt's.
        call: a message that was slept on while its tool calls waited for an answer; it is read
            again before the open episode.
        pending: ids of those calls.
    """

    open: OpenEpisode
    system_ids: tuple[int, ...]
    call: LoggedMessage | None = None
    pending: frozenset[str] = frozenset()

    @property
    def head(self) -> Head:
        return self.open.head

    @property
    def before(self) -> tuple[int, ...]:
        """Return what is read before the open episode and is never slept on again."""
        return self.system_ids + (self.call.token_ids if self.call else ())

    @property
    def stop(self) -> int:
        return self.open.start + len(self.open.token_ids)


@dataclass(frozen=True, slots=True)
class Awake:
    """A wake state and all that it was built from."""

    head: Head
    before: tuple[int, ...]
    start: int
    token_ids: tuple[int, ...]
    state: WakeState

    def unread(self, standing: Standing, token_ids: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return what it has still to read to stand there, or None if it cannot."""
        n_read = len(self.token_ids)
        fits = (
            self.head == standing.head
            and self.before == standing.before
            and self.start == standing.open.start
            and self.token_ids == token_ids[:n_read]
        )
        return token_ids[n_read:] if fits else None


class Residents:
    """The wake states that are kept, the least recently used one given up first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[int, tuple[Thread, Awake]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, thread: Thread) -> Awake | None:
        """Return the thread's state and keep it no longer: who advances it may fail."""
        _, awake = self._kept.pop(thread.id, (thread, None))
        return awake

    def keep(self, thread: Thread, awake: Awake) -> list[Thread]:
        """Keep a state, and return the threads whose states were given up for it."""
        self._kept[thread.id] = thread, awake
        self._kept.move_to_end(thread.id)
        n_over = max(0, len(self._kept) - self._limit)
        return [self._kept.popitem(last=False)[1][0] for _ in range(n_over)]
