"""Transactions of one database: where they begin and end, and where drivers' errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import NotOpen
from sleepmem.store import appends
from sleepmem.store.commits import GroupCommit, ended
from sleepmem.store.engine import (
    READERS,
    append_engine,
    async_engine,
    database_name,
    read_engine,
    sqlite_file,
)
from sleepmem.store.translate import translated
from sleepmem.types import Turn

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Write:
    """A write under way.

    Attributes:
        place: the database.
        connection: that its statements run on; None once they have run, since a task that was
            made inside may outlive it.
    """

    place: object
    connection: AsyncConnection | None


_write: ContextVar[_Write | None] = ContextVar("write", default=None)


@contextmanager
def _joinable(place: object, connection: AsyncConnection) -> Iterator[None]:
    """Let calls of this task, and of those that it makes meanwhile, be a part of a write."""
    write = _Write(place, connection)
    _write.set(write)
    try:
        yield
    finally:
        write.connection = None


class Transactions:
    """Run statements in the database at `url`, each call in one transaction.

    Appends that come at once are one transaction, see `GroupCommit`. Reads run in threads.
    A call from inside the statements of a write to the same database, as when a log awaits what a
    snapshot store does, is part of that write.

    Args:
        durable: false lets a commit return before it is flushed, to measure what it costs beside.
    """

    def __init__(self, url: URL, *, durable: bool = True) -> None:
        self._engine = async_engine(url, durable=durable)
        # a statement takes a driver for event loops four hops between threads, and a read several
        # statements; in a thread of its own a read is one, and keeps who speaks waiting for less
        self._reader = read_engine(url)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sleepmem-read")
        self._name = database_name(url)
        self._is_open = True
        self._running: set[asyncio.Future[Any]] = set()
        # SQLite has one writer at a time: waiting here is fair, waiting in SQLite is polling
        file = sqlite_file(url)
        self._writer = asyncio.Lock() if file is not None else nullcontext()
        self._place = file.resolve() if file is not None else url
        self._appends: GroupCommit[appends.Append, Turn] = GroupCommit(
            append_engine(url, durable=durable), appends.write, self._writer
        )

    async def aclose(self) -> None:
        """Let what runs come to its end, then close every connection."""
        self._is_open = False
        if self._running:
            await asyncio.wait(self._running)
        with translated(self._name):
            async with AsyncExitStack() as closing:  # each is closed even if another cannot be
                closing.push_async_callback(self._engine.dispose)
                # the last connection to close writes what SQLite has left to write
                closing.push_async_callback(asyncio.to_thread, self._reader.dispose)
                closing.push_async_callback(asyncio.to_thread, self._readers.shutdown)
                await self._appends.aclose()

    async def append(self, append: appends.Append) -> Turn:
        """Return the turn that was appended, or finished, once it is durable."""
        if self._joined() is None:
            if not self._is_open:
                raise NotOpen("this database")
            turn = await self._appends.commit(append)
            if turn is not None:
                return turn
        return await self.write(_alone, append)

    async def write(
        self,
        statements: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `statements` in a transaction of its own and commit it."""
        if (connection := self._joined()) is not None:
            return await statements(connection, *args, **kwargs)
        async with self._writer:
            self._check_open()
            return await self._ended(asyncio.create_task(self._whole(statements, *args, **kwargs)))

    async def read(
        self,
        statements: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `statements` on one state of the database, in a thread."""
        if (connection := self._joined()) is not None:
            return await connection.run_sync(statements, *args, **kwargs)

        def whole() -> T:
            with translated(self._name), self._reader.begin() as connection:
                return statements(connection, *args, **kwargs)

        self._check_open()
        return await self._ended(asyncio.get_running_loop().run_in_executor(self._readers, whole))

    def _joined(self) -> AsyncConnection | None:
        """Return the connection of the write that this call is a part of."""
        write = _write.get()
        return write.connection if write and write.place == self._place else None

    async def _whole(
        self,
        statements: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a transaction and commit it."""
        with translated(self._name):
            async with self._engine.begin() as connection:
                with _joinable(self._place, connection):
                    found = await statements(connection, *args, **kwargs)
                with translated(self._name, commits=True):
                    try:
                        await connection.commit()
                    except BaseException:
                        # it may still be in that transaction, locks and all
                        await connection.invalidate()
                        raise
                return found

    def _check_open(self) -> None:
        if not self._is_open:
            raise NotOpen("this database")

    async def _ended(self, transaction: asyncio.Future[T]) -> T:
        """Await a transaction, to its end also for a caller that is cancelled meanwhile.

        Its driver works in a thread and cannot be stopped: left behind in a BEGIN, it would hold
        the database's lock with nobody there to give it back.
        """
        self._running.add(transaction)
        transaction.add_done_callback(self._running.discard)
        return await ended(transaction)


async def _alone(connection: AsyncConnection, append: appends.Append) -> Turn:
    """Append in a transaction of its own, waiting for whoever has locked the agent."""
    [found] = await connection.run_sync(appends.write, [append], waits=True)
    if isinstance(found, Turn):
        return found
    assert found is not None, "who waits is answered"
    raise found
