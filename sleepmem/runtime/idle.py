"""Waking up when nothing was said for a while, so that a policy can be asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sleepmem.errors import SleepmemError
from sleepmem.protocols import Clock, SleepPolicy
from sleepmem.types import EpisodeStats

log = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[float | None]]


def looks_at_clock(policy: SleepPolicy, window: int) -> bool:
    """Return whether time alone may make a policy wish for a sleep."""
    full = EpisodeStats(n_tokens=window, n_turns=1, window=window)
    return policy.wait_s(full) is not None


class IdleWatch:
    """One waiting task for each thread whose policy looks at the clock; the memory owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def arm(self, thread_id: int, wait_s: float | None, ask: Ask) -> None:
        """Call `ask` after `wait_s`, and again for as long as it returns a time to wait.

        Whatever was waiting for that thread is forgotten, but a call under way comes to its end:
        it may be asleep. None waits for nothing.
        """
        if (waiting := self._tasks.pop(thread_id, None)) and waiting not in self._asking:
            waiting.cancel()
        if wait_s is None:
            return
        task = asyncio.create_task(self._watch(thread_id, wait_s, ask))
        self._tasks[thread_id] = task
        task.add_done_callback(lambda done: self._forget(thread_id, done))

    def search(self, arm_what_waits: Callable[[], Awaitable[None]]) -> None:
        """Run what finds threads to arm that have waited for longer than this memory is open."""

        async def run() -> None:
            try:
                await arm_what_waits()
            except SleepmemError:
                log.warning("idle threads could not be found", exc_info=True)

        task = asyncio.create_task(run())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _watch(self, thread_id: int, wait_s: float, ask: Ask) -> None:
        task = asyncio.current_task()
        assert task
        left_s: float | None = wait_s
        try:
            while left_s is not None:
                if left_s > 0:
                    await self._clock.sleep(left_s)
                self._asking.add(task)
                left_s = await ask()
                if self._tasks.get(thread_id) is not task:
                    return
                self._asking.discard(task)
        except SleepmemError:
            # nobody waits for this task; the next call on the thread meets the same trouble
            log.warning(
                "idle thread could not sleep", extra={"thread_id": thread_id}, exc_info=True
            )

    def _forget(self, thread_id: int, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        if self._tasks.get(thread_id) is task:
            del self._tasks[thread_id]

    async def aclose(self) -> None:
        """Cancel what waits and see it end."""
        tasks = {*self._tasks.values(), *self._asking}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
