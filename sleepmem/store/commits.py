"""Group commit: appends that came while the last commit ran share the next one and its flush.

An append by itself is committed at once: nothing waits for company. All run in one thread with a
driver that needs no event loop, so a commit costs one hop between threads, whatever it holds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine

from sleepmem.errors import SleepmemError, StoreUnavailable
from sleepmem.store.engine import database_name
from sleepmem.store.translate import translated

A = TypeVar("A")
R = TypeVar("R")

MOST = 256  # appends of one commit, so that none waits for more than that


async def settled(future: asyncio.Future[Any]) -> None:
    """Wait until it is done, however often the caller is cancelled meanwhile."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # nobody may be left to be told


async def ended(future: asyncio.Future[R]) -> R:
    """Await what cannot be stopped, to its end also for a caller that is cancelled meanwhile."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await settled(future)
        raise


@dataclass(slots=True, eq=False)
class _Waiting(Generic[A, R]):
    append: A
    result: asyncio.Future[R | None]
    commit: asyncio.Future[Any] | None = None  # that it is a part of


class GroupCommit(Generic[A, R]):
    """Run appends together and commit them once; nothing is returned before its flush.

    Args:
        engine: has one connection; closed by `aclose`.
        run: appends all that it is given and returns for each its result, an error if it was
            refused, or None if it has to be run alone. What it refuses, it leaves no trace of.
        writing: held while a commit runs.
    """

    def __init__(
        self,
        engine: Engine,
        run: Callable[[Connection, Sequence[A]], Sequence[R | Exception | None]],
        writing: AbstractAsyncContextManager[None],
    ) -> None:
        self._engine, self._run, self._writing = engine, run, writing
        self._name = database_name(engine.url)
        self._queue: deque[_Waiting[A, R]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sleepmem-log")

    async def commit(self, append: A) -> R | None:
        """Return the result of an append once it is durable; None if it must be run alone.

        Who is cancelled while the commit runs gets that after its end, and the append may be in
        it; who is cancelled before, appends nothing.

        Raises:
            StoreUnavailable: the commit failed, for all that shared it.
        """
        result: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        waiting: _Waiting[A, R] = _Waiting(append, result)
        self._queue.append(waiting)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        try:
            return await result
        except asyncio.CancelledError:
            if waiting.commit is not None:
                await settled(waiting.commit)
            elif waiting in self._queue:
                self._queue.remove(waiting)
            raise

    async def aclose(self) -> None:
        """Let what waits be committed, then close the connection. Closing twice is harmless."""
        if self._writer is not None:
            await asyncio.wait([self._writer])
        with translated(self._name):
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._thread.shutdown()
        self._engine.dispose()

    async def _write(self) -> None:
        """Commit until nothing waits any more."""
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                async with self._writing:
                    some = [self._queue.popleft() for _ in range(min(MOST, len(self._queue)))]
                    appends = [waiting.append for waiting in some]
                    commit = loop.run_in_executor(self._thread, self._commit, appends)
                    for waiting in some:
                        waiting.commit = commit
                    await settled(commit)
                _answer(some, commit)
                # who was just answered may append again at once: let that into the next commit
                await asyncio.sleep(0)
        finally:
            self._writer = None
            while self._queue:  # the loop is being closed
                self._queue.popleft().result.cancel()

    def _commit(self, appends: Sequence[A]) -> Sequence[R | Exception | None]:
        """Run appends in one transaction; in the thread alone."""
        with (
            translated(self._name),
            self._engine.connect() as connection,
            connection.begin() as whole,
        ):
            try:
                with translated(self._name):
                    found = self._run(connection, appends)
            except StoreUnavailable:
                raise
            except Exception as problem:
                # one of them cannot be written: run alone, it does not take the others with it
                whole.rollback()
                return [problem] if len(appends) == 1 else [None] * len(appends)
            with translated(self._name, commits=True):
                try:
                    whole.commit()
                except BaseException:
                    connection.invalidate()  # it may still be in that transaction, locks and all
                    raise
        return found


def _answer(
    some: Sequence[_Waiting[A, R]], commit: asyncio.Future[Sequence[R | Exception | None]]
) -> None:
    problem = commit.exception()
    results = [_own(problem) for _ in some] if problem else commit.result()
    for waiting, result in zip(some, results, strict=True):
        if waiting.result.done():
            continue
        if isinstance(result, BaseException):
            waiting.result.set_exception(result)
        else:
            waiting.result.set_result(result)


def _own(problem: BaseException) -> BaseException:
    """Return the error for one of those who share it: whoever raises it writes to it."""
    if not isinstance(problem, SleepmemError):
        return problem
    own = copy(problem)
    own.__cause__ = problem.__cause__
    return own
