"""What is open, from `SleepMemory.open` to `aclose`."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from weakref import WeakValueDictionary

from sleepmem.protocols import Clock, EpisodeLog, SleepLM, SnapshotStore
from sleepmem.runtime.agent import Agent
from sleepmem.runtime.awake import Residents
from sleepmem.runtime.engine import Engine
from sleepmem.runtime.idle import IdleWatch
from sleepmem.runtime.parts import Defaults, Lease, Parts


class House:
    """The open parts, the model once it is needed, and the agents that are held.

    Args:
        load: gives the model; called once.
    """

    def __init__(
        self,
        clock: Clock,
        defaults: Defaults,
        load: Callable[[], SleepLM],
        log: EpisodeLog,
        snapshots: SnapshotStore,
    ) -> None:
        self.log, self.snapshots = log, snapshots
        self.engine, self.idle = Engine(), IdleWatch(clock)
        self.closing = AsyncExitStack()
        self.loop = asyncio.get_running_loop()
        self.claiming = asyncio.Lock()
        self.leases: dict[str, Lease] = {}
        self.agents: WeakValueDictionary[tuple[str, str], Agent] = WeakValueDictionary()
        self.holder = f"{platform.node() or 'unknown'}:{os.getpid()}:{secrets.token_hex(4)}"
        self._clock, self._defaults, self._load = clock, defaults, load
        self._lm: SleepLM | None = None
        self._parts: Parts | None = None

    def load(self) -> SleepLM:
        """Return the model, loaded once; called in the model's thread alone."""
        self._lm = self._lm or self._load()
        return self._lm

    async def lease(self, agent: str, fingerprint: str, create: bool) -> Lease:
        """Return the claim on an agent, claimed again if it was lost; `claiming` is held."""
        lease = self.leases.get(agent)
        if lease is None or lease.is_lost:
            epoch = await self.log.claim(
                agent,
                fingerprint=fingerprint,
                holder=self.holder,
                create=create,
                now=self._clock.now(),
            )
            if lease is None:
                lease = self.leases[agent] = Lease(agent, epoch, self._defaults.on_event)
            lease.epoch, lease.is_lost = epoch, False
        return lease

    async def parts(self) -> Parts:
        """Return what agents need, the model among it."""
        if self._parts is None:
            lm = await self.engine.run(self.load)
            # whoever waited for the same load may have been first
            defaults = self._defaults
            if defaults.retention_floor is None:
                defaults = replace(defaults, retention_floor=lm.retention_floor)
            self._parts = self._parts or Parts(
                lm=lm,
                engine=self.engine,
                log=self.log,
                snapshots=self.snapshots,
                clock=self._clock,
                defaults=defaults,
                residents=Residents(self._defaults.resident),
                idle=self.idle,
            )
        return self._parts
