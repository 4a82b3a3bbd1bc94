"""What an agent's memory tells those who watch it: ids and figures, never what was said.

    async with SleepMemory(on_event=print) as memory: ...

Events are told in the event loop right after what they tell of; an event of a write is told once
the write is durable. A call that is cancelled, or whose claim is lost, may leave its last events
untold, but for a head that it moved: what is true is in the log. A watcher is a plain function,
called where everything else waits; one that raises is logged and stops nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from sleepmem.types import SleepReason, SleepReport, Value

log = logging.getLogger(__name__)


class Event(Value):
    """Something that happened to an agent."""

    agent: str


class BranchEvent(Event):
    """Something that happened on a branch of its memory."""

    branch: str


class TurnDone(BranchEvent):
    """A turn is in the log for good.

    Attributes:
        node_id: where a caller says it continues.
        n_tokens: of the turn, its reply included.
    """

    thread: str
    node_id: str
    n_tokens: int


class Woken(BranchEvent):
    """A thread has a wake state on top of a head.

    Attributes:
        episode: the head; None is birth.
        n_tokens: read to stand there.
    """

    thread: str
    episode: str | None
    n_tokens: int


class Evicted(BranchEvent):
    """A thread's KV cache was dropped, between two turns; what it held is in the log.

    Attributes:
        reason: `slept` after a sleep was committed, `resident` when more threads are awake than
            are kept so.
    """

    thread: str
    reason: Literal["slept", "resident"]


class SleepStarted(BranchEvent):
    """A sleep has its ids and begins to compute.

    Attributes:
        n_tokens: that are slept on.
    """

    thread: str
    episode: str
    reason: SleepReason
    n_tokens: int
    passes: int


class SleepFinished(BranchEvent):
    """A sleep ended, in whichever way; also one that had nothing to do."""

    thread: str
    report: SleepReport


class HeadMoved(BranchEvent):
    """A branch has a new head, durable with its snapshot.

    Attributes:
        parent: the head before; None is birth.
        snapshot: digest of the new fast weights.
    """

    episode: str
    parent: str | None
    snapshot: str


class LeaseLost(Event):
    """Another process claimed the agent; this one no longer answers for it.

    Attributes:
        epoch: of the claim that was lost.
    """

    epoch: int


Watcher = Callable[[Event], object]


def tell(watcher: Watcher | None, event: Event) -> None:
    """Tell a watcher, if there is one."""
    if watcher is None:
        return
    try:
        watcher(event)
    except Exception:
        # a watcher is no part of the memory: what it tells of has happened
        log.exception("a watcher of events failed", extra={"agent": event.agent})
