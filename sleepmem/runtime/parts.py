"""What the agents of one memory share: the open parts, and how they behave by default."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, TypedDict
from weakref import WeakValueDictionary

from sleepmem.errors import ConfigError, LeaseLost, NotOpen, ThreadBusy
from sleepmem.events import Event, Watcher, tell
from sleepmem.protocols import Clock, EpisodeLog, FastWeights, SleepLM, SleepPolicy, SnapshotStore
from sleepmem.runtime.awake import Residents
from sleepmem.runtime.engine import Engine
from sleepmem.runtime.idle import IdleWatch
from sleepmem.types import Head, Sampling

if TYPE_CHECKING:
    from sleepmem.runtime.thread import LiveThread


class Behaviour(TypedDict, total=False):
    """What a memory may be told of how its agents behave; see `Defaults`."""

    policy: SleepPolicy | None
    passes: int
    max_tokens: int
    sampling: Sampling | None
    retention_floor: float | None
    min_tokens: int
    resident: int
    on_event: Watcher | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """How agents behave unless a call says otherwise.

    Attributes:
        retention_floor: a sleep that retains less is rejected; None takes the model's own floor,
            minus infinity accepts any.
        min_tokens: shorter episodes are not slept on, unless the window forces it.
        resident: wake states that are kept between turns.
        wait_s: seconds that a call waits for an earlier one on its thread.
        on_event: is told what happens.
    """

    policy: SleepPolicy
    passes: int = 4
    max_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    retention_floor: float | None = None
    min_tokens: int = 16
    resident: int = 32
    wait_s: float = 600.0
    on_event: Watcher | None = None

    def __post_init__(self) -> None:
        for name in ("passes", "max_tokens", "min_tokens", "resident"):
            at_least_one(name, getattr(self, name))
        floor = self.retention_floor
        is_number = isinstance(floor, int | float) and not isinstance(floor, bool)
        if floor is not None and not (is_number and not isnan(floor)):
            raise ConfigError(f"retention_floor must be a number or None, not {floor!r}")


def at_least_one(name: str, value: int) -> int:
    """Return `value` if it is a whole number from 1 on. Raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1 on, not {value!r}")
    return value


class InUse:
    """What somebody holds of agents, by name. Who rests costs nothing: the log has it all.

    Attributes:
        threads: of (agent, branch, thread).
        sleeps: the locks of (agent, branch); its threads hold them.
        prompted: threads whose system prompt is not in the log yet.
    """

    def __init__(self) -> None:
        self.threads: WeakValueDictionary[tuple[str, str, str], LiveThread] = WeakValueDictionary()
        self.sleeps: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self.prompted: set[LiveThread] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The open parts of a memory, its model loaded."""

    lm: SleepLM
    engine: Engine
    log: EpisodeLog
    snapshots: SnapshotStore
    clock: Clock
    defaults: Defaults
    residents: Residents
    idle: IdleWatch
    in_use: InUse = field(default_factory=InUse)

    def tell(self, event: Event) -> None:
        """Tell the watcher, if there is one; see `sleepmem.events`."""
        tell(self.defaults.on_event, event)

    def check_open(self) -> None:
        """Raise NotOpen if the memory was closed."""
        if self.engine.is_closed:
            raise NotOpen()

    async def weights_at(self, agent: str, head: Head) -> FastWeights:
        """Return the fast weights of a head, read from the snapshot store and checked.

        Raises:
            SnapshotNotFound, SnapshotCorrupt, FingerprintMismatch
        """
        if head.snapshot is None:
            return await self.engine.run(self.lm.blank)
        return await self.snapshots.restore(agent, head.snapshot, self.lm.load)

    async def ensure_stored(self, agent: str, digest: str, data: bytes) -> None:
        """Put a snapshot unless it is stored; a gc may have taken it since it was put."""
        if not await self.snapshots.has(agent, digest):
            await self.snapshots.put(agent, data)

    @asynccontextmanager
    async def queued(self, lock: asyncio.Lock, what: str) -> AsyncIterator[None]:
        """Hold `lock`, having waited for it in turn. Raises ThreadBusy if that takes too long."""
        try:
            async with asyncio.timeout(self.defaults.wait_s):
                await lock.acquire()
        except TimeoutError as late:
            raise ThreadBusy(what, self.defaults.wait_s) from late
        try:
            yield
        finally:
            lock.release()


@dataclass(slots=True, weakref_slot=True, eq=False)
class Lease:
    """The claim of this memory on an agent that is in use; writes are conditional on its epoch.

    Args:
        on_lost: is called with agent and epoch once the claim is known to be lost.
    """

    agent: str
    epoch: int
    on_lost: Callable[[str, int], None] | None = None
    is_lost: bool = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Refuse at once if the claim is known to be lost; note when a write says so."""
        epoch = self.epoch
        if self.is_lost:
            raise LeaseLost(self.agent, epoch)
        try:
            yield
        except LeaseLost:
            # of a claim that was made again meanwhile it says nothing
            if self.epoch == epoch:
                self.lose()
            raise

    def lose(self) -> None:
        """Note that another process claimed the agent, and tell it once."""
        if self.is_lost:
            return
        self.is_lost = True
        if self.on_lost is not None:
            self.on_lost(self.agent, self.epoch)
