"""The episode log in SQL: one method, one transaction, one commit.

Here transactions begin and end and drivers' errors become ours; the statements are in `agents`,
`turns` and `episodes`. A writer locks its agent first, so that what it reads cannot change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sleepmem.errors import NotOpen
from sleepmem.store import agents, episodes, migrate, turns
from sleepmem.store.engine import async_engine, database_name, normalised, reading
from sleepmem.store.translate import translated
from sleepmem.types import (
    AgentSummary,
    Episode,
    FinishReason,
    Head,
    LogEntry,
    LoggedMessage,
    OpenEpisode,
    SleepReport,
    Thread,
    Turn,
)

P = ParamSpec("P")
T = TypeVar("T")

_PAGE = 500  # messages; each page of a life is a short transaction of its own


async def open_log(url: str | URL) -> SqlEpisodeLog:
    """Return the log in the database at `url`; a new database gets its tables first.

    Raises:
        ConfigError: the URL names no database that can be used.
        MissingExtra: Postgres without its driver.
        SchemaMismatch: made by an older or a newer sleepmem.
        StoreUnavailable: locked or unreachable.
    """
    url = normalised(url)
    await migrate.make_ready(url)
    return SqlEpisodeLog(async_engine(url))


class SqlEpisodeLog:
    """`EpisodeLog` on SQLite or Postgres. Owns the engine; made by `open_log`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = reading(engine)
        self._name = database_name(engine.url)
        self._is_open = True
        self._running: set[asyncio.Task[Any]] = set()
        # SQLite has one writer at a time: waiting here is fair, waiting in SQLite is polling
        is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock() if is_sqlite else nullcontext()

    async def claim(
        self, agent: str, *, fingerprint: str, holder: str, create: bool, now: datetime
    ) -> int:
        return await self._write(
            agents.claim, agent, fingerprint=fingerprint, holder=holder, create=create, now=now
        )

    async def agents(self) -> list[AgentSummary]:
        return await self._read(agents.agents)

    async def delete_agent(self, agent: str) -> None:
        await self._write(agents.delete_agent, agent)

    async def summary(self, agent: str) -> AgentSummary:
        return await self._read(agents.summary, agent)

    async def thread(
        self, agent: str, epoch: int, *, branch: str, name: str, system: str | None
    ) -> Thread:
        return await self._write(
            agents.thread, agent, epoch, branch=branch, name=name, system=system
        )

    async def threads(self, agent: str) -> list[Thread]:
        return await self._read(agents.threads, agent)

    async def head(self, agent: str, branch: str) -> Head:
        return await self._read(agents.head, agent, branch)

    async def open_episode(self, thread: Thread) -> OpenEpisode:
        return await self._read(episodes.open_episode, thread)

    async def turn_of_request(self, agent: str, request_id: str) -> Turn | None:
        return await self._read(turns.turn_of_request, agent, request_id)

    async def stage(
        self,
        thread: Thread,
        epoch: int,
        messages: Sequence[LoggedMessage],
        *,
        request_id: str | None,
        done: bool,
        now: datetime,
    ) -> Turn:
        return await self._write(
            turns.stage, thread, epoch, messages, request_id=request_id, done=done, now=now
        )

    async def finish(
        self, turn: Turn, epoch: int, reply: LoggedMessage, finish_reason: FinishReason
    ) -> Turn:
        return await self._write(turns.finish, turn, epoch, reply, finish_reason)

    async def commit_sleep(
        self,
        thread: Thread,
        epoch: int,
        report: SleepReport,
        *,
        start: int,
        stop: int,
        expected: Head,
        woke_from: str | None,
        now: datetime,
    ) -> None:
        await self._write(
            episodes.commit_sleep,
            thread,
            epoch,
            report,
            start=start,
            stop=stop,
            expected=expected,
            woke_from=woke_from,
            now=now,
        )

    async def record_attempt(
        self,
        thread: Thread,
        epoch: int,
        report: SleepReport,
        *,
        start: int,
        stop: int,
        now: datetime,
    ) -> None:
        await self._write(
            episodes.record_attempt, thread, epoch, report, start=start, stop=stop, now=now
        )

    async def lineage(
        self, agent: str, branch: str, *, until: str | None = None, at_most: int | None = None
    ) -> list[Episode]:
        return await self._read(episodes.lineage, agent, branch, until=until, at_most=at_most)

    async def tokens(self, thread_id: int, start: int, stop: int) -> list[int]:
        return await self._read(turns.tokens, thread_id, start, stop)

    async def messages_between(self, thread_id: int, start: int, stop: int) -> list[LoggedMessage]:
        return await self._read(turns.messages_between, thread_id, start, stop)

    async def entries(self, agent: str, *, search: str | None = None) -> AsyncIterator[LogEntry]:
        place: tuple[int, int] | None = (0, 0)
        while place is not None:
            page, place = await self._read(
                turns.entries_after, agent, place, search=search, limit=_PAGE
            )
            for entry in page:
                yield entry

    async def aclose(self) -> None:
        self._is_open = False
        if self._running:
            await asyncio.wait(self._running)
        with translated(self._name):
            await self._engine.dispose()

    async def _write(
        self,
        statements: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `statements` in a transaction of its own and commit it."""
        async with self._writer:
            return await self._whole(self._engine, statements, *args, **kwargs)

    async def _read(
        self,
        statements: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `statements` on one state of the database."""
        return await self._whole(self._reader, statements, *args, **kwargs)

    async def _whole(
        self,
        engine: AsyncEngine,
        statements: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a transaction to its end, also for a caller that is cancelled meanwhile.

        The driver works in a thread and cannot be stopped: left behind in a BEGIN, it would hold
        the database's lock with nobody there to give it back.
        """

        async def transaction() -> T:
            with translated(self._name):
                async with engine.begin() as connection:
                    return await statements(connection, *args, **kwargs)

        if not self._is_open:
            raise NotOpen("this episode log")
        task = asyncio.create_task(transaction())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody is left to be told
            raise
