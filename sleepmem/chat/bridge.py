"""The one crossing between callers and the event loop that a memory lives on.

Callers may have no event loop, the memory's, or one of their own. A memory that nobody opened
lives on a private loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

from sleepmem.errors import MisuseError

T = TypeVar("T")
_END = object()


class Bridge:
    """Runs coroutines and streams on `loop`, for callers from anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result; blocks the calling thread, which must not be the loop's.

        Raises:
            MisuseError: called on the loop itself, which would wait for itself.
        """
        if self._is_here():
            coroutine.close()
            raise _would_wait_for_itself()
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result; cancelling the caller cancels it."""
        if self._is_here():
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    def iterate(self, source: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yield what the stream yields; closing the iterator closes the stream.

        Raises:
            MisuseError: called on the loop itself, which would wait for itself.
        """
        if self._is_here():
            raise _would_wait_for_itself()
        items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(_pump(source, items.put), self.loop)
        future.add_done_callback(lambda _: items.put(_END))
        try:
            while (item := items.get()) is not _END:
                yield item
            future.result()
        finally:
            future.cancel()

    def aiterate(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yield what the stream yields; closing the generator closes the stream.

        On the loop itself that is the stream as it is: a loop that ends closes all its generators
        at once, and one that waits for another to close would be in its way.
        """
        return source if self._is_here() else self._across(source)

    async def _across(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        here = asyncio.get_running_loop()
        items: asyncio.Queue[Any] = asyncio.Queue()

        def put(item: object) -> None:
            # a caller whose loop has closed no longer listens
            if not here.is_closed():
                here.call_soon_threadsafe(items.put_nowait, item)

        future = asyncio.run_coroutine_threadsafe(_pump(source, put), self.loop)
        future.add_done_callback(lambda _: put(_END))
        try:
            while (item := await items.get()) is not _END:
                yield item
            future.result()
        finally:
            future.cancel()

    def _is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False


async def _pump(source: AsyncGenerator[T, None], put: Callable[[T], None]) -> None:
    """Drive a stream from one task, so that it sees one context from start to end."""
    async with aclosing(source):
        async for item in source:
            put(item)


def _would_wait_for_itself() -> MisuseError:
    return MisuseError(
        "a synchronous call on the event loop that the memory lives on would wait for itself",
        hint="Use ainvoke or astream there, or give no memory and let the model open its own.",
    )


_starting = threading.Lock()
_private: list[asyncio.AbstractEventLoop] = []


def private_loop() -> asyncio.AbstractEventLoop:
    """Return the process's private loop, started on first use in a daemon thread."""
    with _starting:
        if not _private:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="sleepmem", daemon=True).start()
            _private.append(loop)
        return _private[0]
