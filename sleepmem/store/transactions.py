"""Transactions of one database: where they begin and end, and where drivers' errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sleepmem.errors import NotOpen
from sleepmem.store.engine import database_name, reading
from sleepmem.store.translate import translated

P = ParamSpec("P")
T = TypeVar("T")

_write: ContextVar[tuple[Transactions, AsyncConnection] | None] = ContextVar("write", default=None)


class Transactions:
    """Run statements on an engine, which it owns, each call in one transaction.

    A call from inside the statements of a write, as when a log awaits what a snapshot store does,
    is part of that write.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = reading(engine)
        self._name = database_name(engine.url)
        self._is_open = True
        self._running: set[asyncio.Task[Any]] = set()
        # SQLite has one writer at a time: waiting here is fair, waiting in SQLite is polling
        is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock() if is_sqlite else nullcontext()

    async def aclose(self) -> None:
        """Let what runs come to its end, then close every connection."""
        self._is_open = False
        if self._running:
            await asyncio.wait(self._running)
        with translated(self._name):
            await self._engine.dispose()

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
            return await self._whole(self._engine, statements, *args, **kwargs)

    async def read(
        self,
        statements: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `statements` on one state of the database."""
        if (connection := self._joined()) is not None:
            return await statements(connection, *args, **kwargs)
        return await self._whole(self._reader, statements, *args, **kwargs)

    def _joined(self) -> AsyncConnection | None:
        """Return the connection of the write that this call is a part of."""
        write = _write.get()
        return write[1] if write and write[0] is self else None

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
                    if engine is self._engine:
                        _write.set((self, connection))  # for this task, which ends with it
                    return await statements(connection, *args, **kwargs)

        if not self._is_open:
            raise NotOpen("this database")
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
