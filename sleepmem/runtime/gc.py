"""Collecting garbage: the bytes of snapshots that no rule keeps and that no episode names.

The log stays whole, and what is dropped can be derived again from it. Nobody is interrupted: an
agent that is awake in another process, or is asleep just now, goes on.

A sleep puts its bytes first and commits them later, so bytes without an episode may be about to
get one. That no head ever loses its bytes does not rest on clocks, ages or claims, but on turns:

* Bytes are deleted inside a transaction of the log (`EpisodeLog.sweep`) that holds the agent and
  has seen in it that no snapshot of that digest is kept. If the agent was deleted, it holds the
  note of that, and nobody of that name is born meanwhile.
* A commit holds the agent too, and inside it sees to it that the bytes are there: what a deletion
  took after they were put is put again (`ensure_stored`).

So each deletion comes wholly before a commit, which then finds the bytes missing, or wholly after
it, and then finds a head and deletes nothing; that holds whoever wrote the same digest, and when.

A process that is killed in between leaves an order that can be gone on with: snapshots are marked
as dropped before their bytes go, so bytes without a mark are missing only if they were lost, and
marked bytes that are still there are deleted by the next collection. So are those that the
deletion of an agent has left behind. The log notes each until the first collection of all after a
day; what a sleep that it came in the way of stores still later stays.

The database's lock must last until the bytes are gone. SQLite's does, and rows go with their own
transaction. With files beside Postgres the server could give up the connection of a collector that
was stopped between its look and the deletion of one file; if the same bytes were committed
meanwhile, `replay --verify` has to derive them again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sleepmem.errors import AgentNotFound, ConfigError, SnapshotNotFound
from sleepmem.history import Garbage, GcReport, Heads, Keep, Keeping, KeepRules, Removed
from sleepmem.protocols import EpisodeLog, SnapshotStore
from sleepmem.types import Episode

log = logging.getLogger(__name__)

OnRemoved = Callable[[Removed], None]
# of deletions; a sleep that one came in the way of should have stored its bytes by then
_NOTED = timedelta(days=1)


def rules_of(keep_last: int, keep_within: timedelta | None) -> KeepRules:
    """Return the rules. Raises ConfigError if a number is negative or none."""
    if isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 0:
        raise ConfigError(f"keep_last must be a whole number from 0 on, not {keep_last!r}")
    if keep_within is not None and not isinstance(keep_within, timedelta):
        raise ConfigError(f"keep_within must be a timedelta or None, not {keep_within!r}")
    if keep_within is not None and keep_within < timedelta(0):
        raise ConfigError(f"keep_within must not be negative, it is {keep_within}")
    return KeepRules(last=keep_last, within=keep_within)


async def collect(
    episodes: EpisodeLog,
    snapshots: SnapshotStore,
    rules: KeepRules,
    *,
    agent: str | None,
    now: datetime,
    dry_run: bool,
    on_removed: OnRemoved | None = None,
) -> GcReport:
    """Collect the garbage of one agent, or of all, and report it.

    Raises:
        AgentNotFound: the one that was named.
    """
    names = [agent] if agent is not None else [found.agent for found in await episodes.agents()]
    report = _Report(on_removed)
    seen = []
    for name in names:
        try:
            await _Collector(episodes, snapshots, name, report, dry_run).run(rules, now)
        except AgentNotFound:
            if agent is not None:
                raise
            continue  # deleted meanwhile
        seen.append(name)
    if agent is None:
        living = set(seen)
        await _end_deletions(episodes, snapshots, report, living=living, now=now, dry_run=dry_run)
    return GcReport(
        dry_run=dry_run,
        agents=tuple(seen),
        removed=tuple(report.removed),
        n_kept=dict(report.n_kept),
        n_missing=report.n_missing,
    )


async def sweep_deleted(episodes: EpisodeLog, snapshots: SnapshotStore, agent: str) -> None:
    """Remove the bytes of an agent that was deleted, but for what a living namesake has."""
    await _Collector(episodes, snapshots, agent, _Report(None), dry_run=False).sweep_all()


async def _end_deletions(
    episodes: EpisodeLog,
    snapshots: SnapshotStore,
    report: _Report,
    *,
    living: Set[str],
    now: datetime,
    dry_run: bool,
) -> None:
    """Remove what deletions have left behind; of living namesakes all has been looked at."""
    for name in await episodes.deleted():
        if name not in living:
            await _Collector(episodes, snapshots, name, report, dry_run).sweep_all()
    if not dry_run:
        await episodes.forget_deletions(now - _NOTED)


@dataclass
class _Report:
    on_removed: OnRemoved | None
    removed: list[Removed] = field(default_factory=list)
    n_kept: Counter[Keep] = field(default_factory=Counter)
    n_missing: int = 0

    def add(self, removed: Removed) -> None:
        self.removed.append(removed)
        if self.on_removed:
            self.on_removed(removed)


@dataclass
class _Life:
    """The snapshots of a life, as far as they matter: not those that were dropped and are gone.

    Args:
        stored: sizes by digest.

    Attributes:
        marked, unmarked: digests that are marked as dropped, and are still stored; that are not.
    """

    stored: Mapping[str, int]
    marked: set[str] = field(default_factory=set)
    unmarked: set[str] = field(default_factory=set)
    keeping: Keeping = field(init=False)

    def look(self, episode: Episode) -> None:
        self.keeping.look(episode)
        snapshot = episode.snapshot
        if snapshot.dropped_at is None:
            self.unmarked.add(snapshot.digest)
        elif snapshot.digest in self.stored:
            self.marked.add(snapshot.digest)


@dataclass
class _Collector:
    """The collection of one agent."""

    log: EpisodeLog
    snapshots: SnapshotStore
    agent: str
    report: _Report
    dry_run: bool

    async def run(self, rules: KeepRules, now: datetime) -> None:
        # bytes first: what is committed between the two looks is then known as kept
        stored = await self.snapshots.sizes(self.agent)
        life = _Life(stored)

        def look(heads: Heads) -> Callable[[Episode], None]:
            life.keeping = Keeping(rules, self.agent, heads, now)
            return life.look

        await self.log.history(self.agent, look)
        life.keeping.end()
        kept = life.keeping.kept
        # what wider rules would keep and narrower ones have dropped is not there to be kept
        self.report.n_kept.update(
            why for digest, why in kept.items() if digest in stored or digest in life.unmarked
        )
        await self._look_for_missing(kept.keys() & life.unmarked - stored.keys())
        if not self.dry_run:
            await self._take_marks_away(kept.keys() & life.marked & stored.keys())
            await self.log.drop(self.agent, sorted(life.unmarked - kept.keys()), now)
        for digest in sorted(stored.keys() - kept.keys()):
            is_named = digest in life.unmarked or digest in life.marked
            why = Garbage.NOT_KEPT if is_named else Garbage.NO_EPISODE
            await self._remove(digest, stored[digest], why)
        for n_bytes in await self.snapshots.leftovers(self.agent, remove=not self.dry_run):
            self._tell(None, n_bytes, Garbage.CUT_SHORT)

    async def sweep_all(self) -> None:
        """Remove the bytes of an agent that was deleted."""
        # first what a write may still give its name meanwhile
        for n_bytes in await self.snapshots.leftovers(self.agent, remove=not self.dry_run):
            self._tell(None, n_bytes, Garbage.DELETED)
        with suppress(AgentNotFound):  # another collection has looked, and forgot the note
            for digest, n_bytes in sorted((await self.snapshots.sizes(self.agent)).items()):
                await self._remove(digest, n_bytes, Garbage.DELETED)

    async def _remove(self, digest: str, n_bytes: int, why: Garbage) -> None:
        """Delete bytes, unless they turned out to be kept."""
        if self.dry_run or await self.log.sweep(self.agent, digest, self.snapshots.delete):
            self._tell(digest, n_bytes, why)

    def _tell(self, digest: str | None, n_bytes: int, why: Garbage) -> None:
        self.report.add(Removed(agent=self.agent, digest=digest, n_bytes=n_bytes, why=why))
        if not self.dry_run:
            log.info(
                "snapshot bytes removed: %s",
                why.value,
                extra={"agent": self.agent, "digest": digest, "n_bytes": n_bytes},
            )

    async def _look_for_missing(self, digests: Set[str]) -> None:
        for digest in digests:
            if not await self.snapshots.has(self.agent, digest):
                self.report.n_missing += 1
                extra = {"agent": self.agent, "digest": digest}
                log.warning("kept snapshot is missing", extra=extra)

    async def _take_marks_away(self, digests: Set[str]) -> None:
        """Keep what an interrupted collection under other rules has marked but not deleted."""
        for digest in digests:

            async def check(digest: str = digest) -> None:
                if not await self.snapshots.has(self.agent, digest):
                    raise SnapshotNotFound(self.agent, digest)

            with suppress(SnapshotNotFound):
                await self.log.restore(self.agent, digest, check)
