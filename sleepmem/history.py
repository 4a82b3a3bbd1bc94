"""A life looked back on: its episodes, what is kept of their snapshots, and what a gc removed.

The log is kept whole. A snapshot that is not kept can be derived again from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field, computed_field

from sleepmem.errors import StoreError
from sleepmem.types import Episode, Role, TurnState, Value


class History(Value):
    """The closed episodes of an agent, on every branch, and the head of each; None at birth."""

    agent: str
    heads: dict[str, str | None]
    episodes: tuple[Episode, ...]


class LogEntry(Value):
    """One message of the log, in the order in which the agent lived it."""

    seq: int
    turn: str
    thread: str
    state: TurnState
    role: Role
    content: str
    n_tokens: int
    created_at: datetime


class ReplayedEpisode(Value):
    """One episode of a replay; `verified` is None unless it was derived again from the log."""

    episode: Episode
    verified: bool | None = None
    restored: bool = False  # its snapshot was missing and is stored again


class Keep(StrEnum):
    """Why a snapshot is kept; of several reasons the first one counts."""

    HEAD = "head"
    PINNED = "pinned"
    LAST = "last"  # among the last n of a branch
    WITHIN = "within"  # younger than the limit


class Garbage(StrEnum):
    """Why bytes are removed."""

    NOT_KEPT = "not_kept"  # no rule keeps the snapshot
    NO_EPISODE = "no_episode"  # stored for a sleep that was never committed
    CUT_SHORT = "cut_short"  # left by a write that was killed


class KeepRules(Value):
    """Which snapshots are kept besides heads and pinned ones.

    Attributes:
        last: so many episodes of each branch, counted from its head; 0 keeps none for that.
        within: what is younger than that; None or zero keeps none for that.
    """

    last: int = Field(default=10, ge=0)
    within: timedelta | None = timedelta(days=30)

    def kept(self, history: History, now: datetime) -> dict[str, Keep]:
        """Return the digests that are kept, and why; those of all heads are among them.

        Raises:
            StoreError: an episode of a lineage is missing.
        """
        known = {episode.id: episode for episode in history.episodes}

        def episode_of(name: str) -> Episode:
            if name not in known:
                raise StoreError(
                    f"the log names episode {name} of agent {history.agent!r} and does not hold it",
                    hint="Nothing was changed. Restore the database from a backup.",
                )
            return known[name]

        found: dict[str, Keep] = {}
        for head in history.heads.values():
            if head is not None:
                found[episode_of(head).snapshot.digest] = Keep.HEAD
        for episode in history.episodes:
            if episode.pinned:
                found.setdefault(episode.snapshot.digest, Keep.PINNED)
        for head in history.heads.values():
            at = head
            for _ in range(self.last):
                if at is None:
                    break
                found.setdefault(episode_of(at).snapshot.digest, Keep.LAST)
                at = episode_of(at).parent
        for episode in history.episodes:
            if self.within and now - episode.closed_at < self.within:
                found.setdefault(episode.snapshot.digest, Keep.WITHIN)
        return found


class Removed(Value):
    """Bytes that were removed, or would be; `digest` is None where a write was cut short."""

    agent: str
    digest: str | None
    n_bytes: int
    why: Garbage


class GcReport(Value):
    """What a collection removed, or would remove.

    Attributes:
        n_kept: snapshots that are kept, by reason; each is counted once. What was dropped under
            narrower rules is not among them.
        n_missing: of those, the ones whose bytes were lost; `replay --verify` derives them again.
    """

    dry_run: bool
    agents: tuple[str, ...]
    removed: tuple[Removed, ...]
    n_kept: Mapping[Keep, int]
    n_missing: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def n_bytes(self) -> int:
        """Bytes that were freed, or would be."""
        return sum(removed.n_bytes for removed in self.removed)
