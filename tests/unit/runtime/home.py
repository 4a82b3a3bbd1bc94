"""A home for agents of the fake model: one log and one snapshot store, many openings."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sleepmem.memory import SleepMemory
from sleepmem.protocols import FastWeights
from sleepmem.store import MemoryEpisodeLog, MemorySnapshotStore
from sleepmem.testing import FakeClock, FakeSleepLM
from sleepmem.types import Message, Role, Sampling

HEARTBEAT = 1  # sleeper of the clock for each memory that has claimed an agent

Hook = Callable[[str, str], Awaitable[None]]  # (method, "before" or "after")


class Hooked:
    """A store that awaits a hook before and after each call; the default hook only yields."""

    def __init__(self, inner: Any, hook: Hook | None = None) -> None:
        self._inner, self.hook = inner, hook

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._pause(name, "before")
            value = await found(*args, **kwargs)
            await self._pause(name, "after")
            return value

        return call

    async def _pause(self, name: str, when: str) -> None:
        await asyncio.sleep(0)
        if self.hook:
            await self.hook(name, when)


class Gate:
    """Holds each call of one method of a store until it is opened."""

    def __init__(self, method: str = "put") -> None:
        self.method, self.n_reached, self._opened = method, 0, asyncio.Event()

    async def __call__(self, method: str, when: str) -> None:
        if (method, when) == (self.method, "before"):
            self.n_reached += 1
            await self._opened.wait()

    def open(self) -> None:
        self._opened.set()


@dataclass
class Home:
    """Everything that outlives a process."""

    lm: FakeSleepLM = field(default_factory=lambda: FakeSleepLM(window=200))
    log: Any = field(default_factory=MemoryEpisodeLog)
    snapshots: Any = field(default_factory=MemorySnapshotStore)
    clock: FakeClock = field(default_factory=FakeClock)
    options: dict[str, Any] = field(default_factory=lambda: {"max_tokens": 10, "min_tokens": 4})

    def memory(self, **options: Any) -> SleepMemory:
        return SleepMemory.of(
            lm=self.lm,
            log=self.log,
            snapshots=self.snapshots,
            clock=self.clock,
            **{**self.options, **options},
        )

    async def derived(self, agent: str, branch: str = "main") -> FastWeights:
        """Return the head's weights, derived from the log and nothing else."""
        weights = self.lm.blank()
        for episode in await self.log.lineage(agent, branch):
            ids = await self.log.tokens(episode.thread_id, episode.start, episode.stop)
            weights = list(self.lm.sleep(weights, ids, episode.passes))[-1].weights
        return weights

    async def reply_to(self, agent: str, text: str, thread: str = "main") -> str:
        """Return what the agent must answer, by straight derivation, if no sleep comes between."""
        state = self.lm.wake(await self.derived(agent))
        rows = {row.name: row for row in await self.log.threads(agent)} if agent else {}
        if row := rows.get(thread):
            if row.system:
                self.lm.read(state, self.lm.encode(Message(role=Role.SYSTEM, content=row.system)))
            self.lm.read(state, (await self.log.open_episode(row)).token_ids)
        self.lm.read(state, self.lm.encode(Message(role=Role.USER, content=text)))
        self.lm.read(state, self.lm.reply_prefix())
        detokenizer, said = self.lm.detokenizer(), ""
        for _ in range(self.options["max_tokens"]):
            [token_id] = self.lm.next([state], [Sampling()])
            if token_id in self.lm.stop_ids:
                break
            said += detokenizer.push(token_id)
        return said

    async def contents(self, agent: str, state: str = "done") -> list[str]:
        return [e.content async for e in self.log.entries(agent) if e.state == state]

    async def check(self, agent: str) -> None:
        """Assert what must hold of a log whatever happened to its writers."""
        turns = [t for t in self.log._agents[agent].turns if t.state != "abandoned"]
        for row in await self.log.threads(agent):
            open_ = await self.log.open_episode(row)
            episodes = [e for e in await self.log.lineage(agent, "main") if e.thread_id == row.id]
            edges = [0, *(e.stop for e in episodes)]
            assert [e.start for e in episodes] == edges[:-1]
            assert open_.start == edges[-1]
            assert all(0 < e.n_tokens <= self.lm.window for e in episodes)
            lived = [t for t in turns if t.thread_id == row.id and t.state == "done"]
            for before, after in pairwise(lived):
                assert before.stop <= after.start
        head = await self.log.head(agent, "main")
        if head.snapshot:
            stored = await self.snapshots.get(agent, head.snapshot)
            assert stored == self.lm.dump(await self.derived(agent))


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds; the test's timeout is the limit."""
    while not condition():  # noqa: ASYNC110, a test has no event to wait for
        await asyncio.sleep(0)


async def passed(clock: FakeClock, seconds: float) -> None:
    """Let time pass in small steps, with everybody at work in between."""
    for _ in range(round(seconds / 0.5)):
        clock.advance(0.5)
        for _ in range(20):
            await asyncio.sleep(0)


class Interrupted:
    """Awaits a coroutine and throws `CancelledError` into its n-th suspension.

    Attributes:
        n_suspensions: how often it was suspended.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int | None = None) -> None:
        self._coroutine, self._at, self.n_suspensions = coroutine, at, 0

    def __await__(self) -> Any:
        step: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            self.n_suspensions += 1
            step = lambda: self._coroutine.send(None)  # noqa: E731
            if self.n_suspensions == self._at:
                step = lambda: self._coroutine.throw(asyncio.CancelledError())  # noqa: E731
                continue
            try:
                yield waits_for
            except BaseException as error:
                step = lambda error=error: self._coroutine.throw(error)  # type: ignore[misc] # noqa: E731


class Never:
    """A policy that never wishes to sleep."""

    def decide(self, stats: object) -> None:
        return None

    def wait_s(self, stats: object) -> None:
        return None
