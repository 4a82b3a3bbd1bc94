"""A life looked back on: its episodes, what is kept of their snapshots, and what a gc removed.

The log is kept whole. A snapshot that is not kept can be derived again from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pydantic import Field, computed_field

from sleepmem.errors import StoreError
from sleepmem.types import Episode, Role, TurnState, Value

Heads = Mapping[str, str | None]  # by branch; None at birth
Look = Callable[[Heads], Callable[[Episode], None]]  # at the heads of a life, then at each episode


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
    DELETED = "deleted"  # left by the deletion of an agent


class KeepRules(Value):
    """Which snapshots are kept besides heads and pinned ones.

    Attributes:
        last: so many episodes of each branch, counted from its head; 0 keeps none for that.
        within: what is younger than that; None or zero keeps none for that.
    """

    last: int = Field(default=10, ge=0)
    within: timedelta | None = timedelta(days=30)


class Keeping:
    """What rules keep of a life of which they are shown one episode after the other.

    Args:
        heads: of the agent's branches.

    Attributes:
        kept: the digests that are kept, and why; those of all heads are among them in the end.
    """

    def __init__(self, rules: KeepRules, agent: str, heads: Heads, now: datetime) -> None:
        self.kept: dict[str, Keep] = {}
        self._rules, self._agent, self._now = rules, agent, now
        self._heads = {head for head in heads.values() if head is not None}
        self._due = dict.fromkeys(self._heads, rules.last)  # how many count as last from there on

    def look(self, episode: Episode) -> bool:
        """Return whether it keeps the snapshot of an episode; all are shown before their parent."""
        n_last = self._due.pop(episode.id, 0)
        if n_last > 1 and episode.parent is not None:
            self._due[episode.parent] = max(n_last - 1, self._due.get(episode.parent, 0))
        within = self._rules.within
        reasons = {
            Keep.HEAD: episode.id in self._heads,
            Keep.PINNED: episode.pinned,
            Keep.LAST: n_last > 0,
            Keep.WITHIN: within is not None and self._now - episode.closed_at < within,
        }
        digest = episode.snapshot.digest
        for why in Keep:  # another episode may have kept it for less
            if reasons[why] or self.kept.get(digest) is why:
                self.kept[digest] = why
                return True
        return False

    def end(self) -> None:
        """Raise StoreError if an episode of a lineage was not shown."""
        for name in self._due:
            raise StoreError(
                f"the log names episode {name} of agent {self._agent!r} and does not hold it",
                hint="Nothing was changed. Restore the database from a backup.",
            )


class Removed(Value):
    """Bytes that were removed, or would be; `digest` is None if they were not written whole."""

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


class Histories(Protocol):
    """What is kept of the snapshots: a part of `EpisodeLog`, which see.

    These need no epoch: whoever lives with the agent goes on.
    """

    async def history(self, agent: str, look: Look) -> None:
        """Show all closed episodes of one moment, each before its parent. Raises AgentNotFound."""
        ...

    async def pin(self, agent: str, episode: str, pinned: bool) -> None:
        """Say whether the snapshot of an episode is never dropped.

        Raises:
            AgentNotFound, EpisodeNotFound
        """
        ...

    async def drop(self, agent: str, digests: Sequence[str], now: datetime) -> None:
        """Mark snapshots as dropped, but for those of heads and of pinned episodes."""
        ...

    async def sweep(
        self, agent: str, digest: str, delete: Callable[[str, str], Awaitable[None]]
    ) -> bool:
        """Await `delete(agent, digest)` unless a snapshot is called so that was not dropped.

        Until it is done, nothing else of the agent can be committed; if it was deleted, none of
        that name can be born. Return whether it was called.

        Raises:
            AgentNotFound: and no deletion is noted of an agent of that name.
        """
        ...

    async def deleted(self) -> list[str]:
        """Return the agents whose deletion is noted, each once; some may have a namesake."""
        ...

    async def forget_deletions(self, before: datetime) -> None:
        """Take away the notes of deletions before a time."""
        ...

    async def restore(
        self, agent: str, digest: str, ensure_stored: Callable[[], Awaitable[None]]
    ) -> None:
        """Await `ensure_stored` as `commit_sleep` does, and take the mark of `drop` away."""
        ...
