"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

_BIRTH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Time as a number; nothing waits for the real one.

    Attributes:
        jump_s: added to `now` alone, as when somebody sets the wall clock.
    """

    def __init__(self) -> None:
        self._s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._n = 0
        self.jump_s = 0.0

    def now(self) -> datetime:
        return _BIRTH + timedelta(seconds=self._s + self.jump_s)

    def monotonic_s(self) -> float:
        return self._s

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._n += 1
        sleeper = (self._s + max(seconds, 0.0), self._n, wake)
        heapq.heappush(self._sleepers, sleeper)
        try:
            await wake
        finally:
            if sleeper in self._sleepers:  # cancelled
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass and wake those whose time has come; they run at the next await."""
        self._s += seconds
        while self._sleepers and self._sleepers[0][0] <= self._s:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)

    @property
    def n_sleepers(self) -> int:
        """How many wait, those cancelled not counted."""
        return sum(not wake.done() for _, _, wake in self._sleepers)
