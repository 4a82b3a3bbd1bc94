"""The one thread in which the model runs; nothing else of a memory crosses threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from sleepmem.errors import NotOpen
from sleepmem.runtime.decoder import Decoder

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """Runs calls of the model one after the other, first come, first served.

    Sleeps submit their steps one by one, and one of all their steps at a time: wake work takes its
    turn behind no more than that, however many are asleep.

    Args:
        depth: calls that may wait for the thread; more wait for a place.

    Attributes:
        decoder: decodes all who speak together.
    """

    def __init__(self, *, depth: int = 64) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sleepmem-model")
        self._places, self._asleep = asyncio.Semaphore(depth), asyncio.Lock()
        self._is_closed = False
        self.decoder = Decoder(self.run)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(...)`, called in the model's thread.

        A cancelled caller does not wait; a call that had begun runs to its end unseen, so what
        it was advancing must be thrown away.

        Raises:
            NotOpen: the engine is closed.
        """
        async with self._places:
            if self._is_closed:
                raise NotOpen()
            return await asyncio.wrap_future(self._worker.submit(function, *args, **kwargs))

    async def step(self, steps: Iterator[T]) -> T | None:
        """Return the next step of a sleep or of its measuring, None after the last.

        Raises:
            NotOpen: the engine is closed.
        """
        async with self._asleep:  # fair: sleeps take turns
            return await self.run(next, steps, None)

    def run_blocking(self, function: Callable[[], T]) -> T:
        """Return `function()`, called in the model's thread while the event loop stands still."""
        if self._is_closed:
            raise NotOpen()
        return self._worker.submit(function).result()

    async def aclose(self) -> None:
        """Refuse new calls, let the running one end, and end the thread."""
        if self._is_closed:
            return
        self._is_closed = True
        is_free = False
        try:
            # the last call of the queue: when it is done, joining the thread does not wait
            await asyncio.wrap_future(self._worker.submit(bool))
            is_free = True
        finally:
            self._worker.shutdown(wait=is_free, cancel_futures=True)
