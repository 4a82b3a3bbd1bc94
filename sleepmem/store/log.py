"""The episode log in SQL: one method, one transaction, one commit.

Here transactions begin and end and drivers' errors become ours; the statements are in `agents`,
`turns` and `episodes`. A writer locks its agent first, so that what it reads cannot change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime

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
        # SQLite has one writer at a time: waiting here is fair, waiting in SQLite is polling
        is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock() if is_sqlite else nullcontext()

    async def claim(
        self, agent: str, *, fingerprint: str, holder: str, create: bool, now: datetime
    ) -> int:
        async with self._writing() as connection:
            return await agents.claim(
                connection, agent, fingerprint=fingerprint, holder=holder, create=create, now=now
            )

    async def agents(self) -> list[AgentSummary]:
        async with self._reading() as connection:
            return await agents.agents(connection)

    async def delete_agent(self, agent: str) -> None:
        async with self._writing() as connection:
            await agents.delete_agent(connection, agent)

    async def summary(self, agent: str) -> AgentSummary:
        async with self._reading() as connection:
            return await agents.summary(connection, agent)

    async def thread(
        self, agent: str, epoch: int, *, branch: str, name: str, system: str | None
    ) -> Thread:
        async with self._writing() as connection:
            return await agents.thread(
                connection, agent, epoch, branch=branch, name=name, system=system
            )

    async def threads(self, agent: str) -> list[Thread]:
        async with self._reading() as connection:
            return await agents.threads(connection, agent)

    async def head(self, agent: str, branch: str) -> Head:
        async with self._reading() as connection:
            return await agents.head(connection, agent, branch)

    async def open_episode(self, thread: Thread) -> OpenEpisode:
        async with self._reading() as connection:
            return await episodes.open_episode(connection, thread)

    async def turn_of_request(self, agent: str, request_id: str) -> Turn | None:
        async with self._reading() as connection:
            return await turns.turn_of_request(connection, agent, request_id)

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
        async with self._writing() as connection:
            return await turns.stage(
                connection, thread, epoch, messages, request_id=request_id, done=done, now=now
            )

    async def finish(
        self, turn: Turn, epoch: int, reply: LoggedMessage, finish_reason: FinishReason
    ) -> Turn:
        async with self._writing() as connection:
            return await turns.finish(connection, turn, epoch, reply, finish_reason)

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
        async with self._writing() as connection:
            await episodes.commit_sleep(
                connection,
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
        async with self._writing() as connection:
            await episodes.record_attempt(
                connection, thread, epoch, report, start=start, stop=stop, now=now
            )

    async def lineage(self, agent: str, branch: str, *, until: str | None = None) -> list[Episode]:
        async with self._reading() as connection:
            return await episodes.lineage(connection, agent, branch, until=until)

    async def tokens(self, thread_id: int, start: int, stop: int) -> list[int]:
        async with self._reading() as connection:
            return await turns.tokens(connection, thread_id, start, stop)

    async def messages_between(self, thread_id: int, start: int, stop: int) -> list[LoggedMessage]:
        async with self._reading() as connection:
            return await turns.messages_between(connection, thread_id, start, stop)

    async def entries(self, agent: str, *, search: str | None = None) -> AsyncIterator[LogEntry]:
        place: tuple[int, int] | None = (0, 0)
        while place is not None:
            async with self._reading() as connection:
                page, place = await turns.entries_after(
                    connection, agent, place, search=search, limit=_PAGE
                )
            for entry in page:
                yield entry

    async def aclose(self) -> None:
        self._is_open = False
        with translated(self._name):
            await self._engine.dispose()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        if not self._is_open:
            raise NotOpen("this episode log")
        with translated(self._name):
            async with self._writer, self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        if not self._is_open:
            raise NotOpen("this episode log")
        with translated(self._name):
            async with self._reader.begin() as connection:
                yield connection
