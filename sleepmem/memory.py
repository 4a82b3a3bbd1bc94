"""SleepMemory: opens the parts and joins them; the only file that names concrete classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Unpack

from sleepmem.errors import ConfigError, NotOpen
from sleepmem.events import Watcher
from sleepmem.history import GcReport, LogEntry, Removed, ReplayedEpisode
from sleepmem.leases import WAIT_S
from sleepmem.policy import TaskBoundary, TokenBudget
from sleepmem.protocols import Clock, EpisodeLog, SleepLM, SleepPolicy, SnapshotStore
from sleepmem.runtime.agent import Agent
from sleepmem.runtime.awake import Residents
from sleepmem.runtime.clock import SystemClock
from sleepmem.runtime.gc import rules_of, sweep_deleted
from sleepmem.runtime.house import House
from sleepmem.runtime.idle import IdleWatch
from sleepmem.runtime.parts import Behaviour, Defaults, InUse, Lease
from sleepmem.runtime.plan import planned
from sleepmem.runtime.replay import episodes_between, verified_episodes
from sleepmem.store import (
    MemoryEpisodeLog,
    MemorySnapshotStore,
    SnapshotFiles,
    SnapshotRows,
    open_log,
)
from sleepmem.types import (
    MAIN,
    AgentSummary,
    Episode,
    Message,
    Role,
    Sampling,
    SleepPlan,
    SleepReport,
    checked_name,
)

DEFAULT_MODEL = "sleepmem/tiny"
BUDGET = 0.75  # share of the window at which an agent sleeps by itself


class SleepMemory:
    """The agents of one database, awake and asleep.

        async with SleepMemory("sqlite:///agents.db") as memory:
            ana = await memory.agent("ana")
            reply = await ana.say("My dog is called Rex.")

    The model is loaded when it is first needed: listing agents and reading the log need none.

    Args:
        db: database URL, or the path of a SQLite file; None takes it from the settings.
        model: name of a shipped checkpoint, path of a checkpoint folder, or a model.
        policy: when agents sleep by themselves; None is three quarters of the window, or the end
            of a task.
        passes: the paper's N.
        max_tokens: tokens of a reply at most.
        sampling: how tokens are chosen; None is greedy.
        retention_floor: sleeps that retain less are rejected; None takes the floor that the model
            comes with, minus infinity accepts any.
        min_tokens: shorter episodes are not slept on, unless the window forces it.
        resident: wake states that are kept between turns.
        on_event: is told what happens; see `sleepmem.events`.
        data: folder of snapshot files; None is beside a SQLite file, else the platform's data
            folder. With Postgres snapshots are rows, unless the settings say `files`.
        clock: time; None is the machine's.
    """

    def __init__(
        self,
        db: str | None = None,
        *,
        model: str | SleepLM = DEFAULT_MODEL,
        policy: SleepPolicy | None = None,
        passes: int = 4,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
        retention_floor: float | None = None,
        min_tokens: int = 16,
        resident: int = 32,
        on_event: Watcher | None = None,
        data: str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._db, self._model = db, model
        self._data = Path(data) if data is not None else None
        self._clock: Clock = clock or SystemClock()
        self._defaults = Defaults(
            policy=policy or TokenBudget(BUDGET) | TaskBoundary(),
            passes=passes,
            max_tokens=max_tokens,
            sampling=sampling or Sampling(),
            retention_floor=retention_floor,
            min_tokens=min_tokens,
            resident=resident,
            on_event=on_event,
        )
        self._given: tuple[EpisodeLog, SnapshotStore] | None = None
        self._house: House | None = None

    @classmethod
    def of(
        cls,
        *,
        lm: SleepLM,
        log: EpisodeLog,
        snapshots: SnapshotStore,
        clock: Clock | None = None,
        **behaviour: Unpack[Behaviour],
    ) -> SleepMemory:
        """Return a memory over parts that are ready; who made them closes them."""
        memory = cls(model=lm, clock=clock, **behaviour)
        memory._given = (log, snapshots)
        return memory

    async def open(self) -> SleepMemory:
        """Open the database; the model is not loaded yet. Opening twice is harmless.

        Raises:
            ConfigError, SchemaMismatch, StoreUnavailable
        """
        if self._house is None:
            async with AsyncExitStack() as closing:
                if self._given is not None:
                    log, snapshots = self._given
                else:
                    log, snapshots = await self._open_store(closing)
                load = partial(_load, self._model)
                house = House(self._clock, self._defaults, load, log, snapshots)
                closing.push_async_callback(house.claims.aclose)
                closing.push_async_callback(house.engine.aclose)
                closing.push_async_callback(house.idle.aclose)
                house.closing = closing.pop_all()
            self._house = house
        return self

    async def aclose(self) -> None:
        """End what runs and close what was opened. Closing twice is harmless."""
        house, self._house = self._house, None
        if house is not None:
            await house.closing.aclose()

    async def __aenter__(self) -> SleepMemory:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def lm(self) -> SleepLM:
        """The model. If it is not loaded yet, it is, and the event loop waits meanwhile."""
        house = self._open_house()
        return house.engine.run_blocking(house.load)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it was opened on; calls from any other must be sent there."""
        return self._open_house().loop

    async def agent(
        self,
        name: str,
        *,
        branch: str = MAIN,
        create: bool = True,
        wait_s: float = WAIT_S,
        take_over: bool = False,
    ) -> Agent:
        """Claim an agent, held until the memory closes, and return it; an unknown one is born.

        Args:
            branch: the line of its memory to continue.
            create: false makes an unknown agent an error.
            wait_s: how long another process that holds it is waited for.
            take_over: do not wait; that process can then no longer write for it.

        Raises:
            AgentNotFound, BranchNotFound
            AgentHeld: another process held it all the while.
            FingerprintMismatch: it lives with another model.
        """
        _check_address(name)
        house = self._open_house()
        if not create or branch != MAIN:
            await house.log.head(name, branch)
        return await house.agent(name, branch, create=create, wait_s=wait_s, take_over=take_over)

    @asynccontextmanager
    async def ephemeral(self) -> AsyncIterator[Agent]:
        """Give an agent with blank fast weights, of which nothing is kept or written anywhere."""
        house = self._open_house()
        kept = await house.parts()
        parts = replace(
            kept,
            log=MemoryEpisodeLog(),
            snapshots=MemorySnapshotStore(),
            residents=Residents(1),
            idle=IdleWatch(self._clock),
            in_use=InUse(),
        )
        name, fingerprint = "ephemeral", parts.lm.fingerprint
        epoch = await parts.log.claim(
            name,
            fingerprint=fingerprint,
            holder=house.claims.holder,
            create=True,
            now=self._clock.now(),
        )
        try:
            yield Agent(parts, Lease(name, epoch), MAIN)
        finally:
            await parts.idle.aclose()

    async def token_ids(self, text: Message | str) -> list[int]:
        """Return what the model reads for a message, or for a text as it stands inside one."""
        parts = await self._open_house().parts()
        run, lm = parts.engine.run, parts.lm
        if isinstance(text, Message):
            return await run(lm.encode, text)
        ids = await run(lm.encode, Message(role=Role.ASSISTANT, content=text))
        return ids[len(await run(lm.reply_prefix)) : -1]

    async def agents(self) -> list[AgentSummary]:
        """Return the agents of this database; needs no model."""
        return await self._open_house().log.agents()

    async def plan(
        self, name: str, *, branch: str = MAIN, thread: str = MAIN, passes: int | None = None
    ) -> SleepPlan:
        """Return what a sleep of a thread would do now; claims nobody and changes nothing.

        Raises:
            AgentNotFound, BranchNotFound, ThreadNotFound
        """
        return await planned(await self._open_house().parts(), name, branch, thread, passes)

    async def delete_agent(self, name: str) -> None:
        """Delete an agent for good: its log, its branches and its snapshots; needs no model.

        The log goes first, in one transaction; whoever held the agent can no longer write. `gc` of
        all agents removes what a crash, or a sleep that goes on meanwhile, leaves of its snapshots.

        Raises:
            AgentNotFound
        """
        house = self._open_house()
        await house.log.delete_agent(name, now=self._clock.now())
        house.forget(name)
        await sweep_deleted(house.log, house.snapshots, name)

    async def log(self, agent: str, *, search: str | None = None) -> AsyncIterator[LogEntry]:
        """Yield an agent's messages, oldest first; needs no model.

        Args:
            search: yield only those that contain this text, in any case.

        Raises:
            AgentNotFound
        """
        log = self._open_house().log
        await log.summary(agent)
        async for entry in log.entries(agent, search=search):
            yield entry

    async def sleeps(self, agent: str, *, branch: str = MAIN) -> list[SleepReport]:
        """Return the recorded sleeps, whatever their outcome, oldest first; needs no model."""
        return await self._open_house().log.sleeps(agent, branch)

    async def replay(
        self,
        agent: str,
        *,
        branch: str = MAIN,
        since: str | int | None = None,
        until: str | int | None = None,
        verify: bool = False,
    ) -> AsyncIterator[ReplayedEpisode]:
        """Yield an agent's life episode by episode.

        Args:
            since: id or index of the episode after which to begin; None means birth. To verify
                goes on from its stored snapshot, as it stands: so one that was cut short resumes.
            until: id or index of the last episode; None means the head.
            verify: derive every snapshot again from the log and compare bytes; missing ones are
                stored again. Needs the model.

        Raises:
            AgentNotFound, BranchNotFound, EpisodeNotFound
            ReplayDiverged: the first snapshot that the log gives other bytes for.
            CannotVerify: the model that the agent lived with is not at hand.
            SnapshotCorrupt: there is nothing to compare with.
        """
        house = self._open_house()
        before, episodes = await episodes_between(house.log, agent, branch, since, until)
        if not verify:
            for episode in episodes:
                yield ReplayedEpisode(episode=episode)
            return
        async for replayed in verified_episodes(house.parts, agent, before, episodes):
            yield replayed

    async def gc(
        self,
        agent: str | None = None,
        *,
        keep_last: int = 10,
        keep_within: timedelta | None = timedelta(days=30),
        dry_run: bool = False,
        on_removed: Callable[[Removed], None] | None = None,
    ) -> GcReport:
        """Remove the bytes of old snapshots, and what interrupted sleeps left; needs no model.

        Kept are those of all heads, of pinned episodes, and what a rule keeps. The log is kept
        whole: `replay` with `verify` derives removed ones again. Agents live on meanwhile, here
        and in other processes. Of all agents, what deletions have left behind goes too.
        Collections of one memory take turns.

        Args:
            agent: whose; None means all of the database.
            keep_last: so many episodes of each branch, its head among them.
            keep_within: what is younger; None keeps nothing for its age.
            dry_run: change nothing, only tell what would be removed.
            on_removed: called for each thing that is, as soon as it is.

        Raises:
            AgentNotFound, ConfigError
            StoreUnavailable, StoreError: some is removed and some is not; collect again.
        """
        return await self._open_house().collect(
            rules_of(keep_last, keep_within), agent=agent, dry_run=dry_run, on_removed=on_removed
        )

    async def pin(
        self, agent: str, episode: str | int, *, branch: str = MAIN, pinned: bool = True
    ) -> Episode:
        """Let `gc` keep the snapshot of an episode, named by id or index, or no longer.

        Raises:
            AgentNotFound, BranchNotFound, EpisodeNotFound
        """
        log = self._open_house().log
        _, until = await episodes_between(log, agent, branch, None, episode)
        await log.pin(agent, until[-1].id, pinned)
        return (await log.lineage(agent, branch, until=until[-1].id))[-1]

    def _open_house(self) -> House:
        if self._house is None:
            raise NotOpen()
        return self._house

    async def _open_store(self, closing: AsyncExitStack) -> tuple[EpisodeLog, SnapshotStore]:
        from sleepmem.settings import Settings, database_url, snapshot_folder

        settings = Settings()
        db = settings.database() if self._db is None else database_url(self._db)
        data = self._data or (settings.data if self._db is None else None)
        log = await open_log(db)
        closing.push_async_callback(log.aclose)
        if settings.keeps_rows(db):
            return log, SnapshotRows(log)
        return log, SnapshotFiles(data or snapshot_folder(db))


def _load(model: str | SleepLM) -> SleepLM:
    if not isinstance(model, str):
        return model
    from sleepmem.model.checkpoint import load_checkpoint

    return load_checkpoint(model)


def _check_address(name: str) -> None:
    checked_name("agent name", name)
    if "/" in name or "@" in name:
        raise ConfigError(
            f"the agent name {name!r} has a '/' or '@', which set off branch and episode",
            hint="Choose a name without them.",
        )
