"""What is open, from `SleepMemory.open` to `aclose`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from weakref import WeakValueDictionary

from sleepmem.history import GcReport, KeepRules
from sleepmem.protocols import Clock, EpisodeLog, SleepLM, SnapshotStore
from sleepmem.runtime.agent import Agent
from sleepmem.runtime.awake import Residents
from sleepmem.runtime.claims import Claims
from sleepmem.runtime.engine import Engine
from sleepmem.runtime.gc import OnRemoved, collect
from sleepmem.runtime.idle import IdleWatch, looks_at_clock
from sleepmem.runtime.parts import Defaults, Parts


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
        self.claims = Claims(log, clock, defaults.on_event)
        self.agents: WeakValueDictionary[tuple[str, str], Agent] = WeakValueDictionary()
        self._resumed: dict[tuple[str, str], int] = {}  # in which epoch, if time moves the policy
        self._clock, self._defaults, self._load = clock, defaults, load
        self._collecting = asyncio.Lock()
        self._lm: SleepLM | None = None
        self._parts: Parts | None = None

    def load(self) -> SleepLM:
        """Return the model, loaded once; called in the model's thread alone."""
        self._lm = self._lm or self._load()
        return self._lm

    async def agent(
        self, name: str, branch: str, *, create: bool, wait_s: float, take_over: bool
    ) -> Agent:
        """Return an agent, claimed if it is not held."""
        parts = await self.parts()
        lease = await self.claims.lease(
            name,
            fingerprint=parts.lm.fingerprint,
            create=create,
            wait_s=wait_s,
            take_over=take_over,
        )
        key = (name, branch)
        agent = self.agents.setdefault(key, Agent(parts, lease, branch))
        is_resumed = self._resumed.get(key) == lease.epoch
        if not is_resumed and looks_at_clock(parts.defaults.policy, parts.lm.window):
            self._resumed[key] = lease.epoch
            agent.resume()
        return agent

    def forget(self, name: str) -> None:
        """Let go of an agent that was deleted."""
        self.claims.forget(name)
        for known in (self.agents, self._resumed):
            for key in [key for key in known if key[0] == name]:
                known.pop(key, None)

    async def collect(
        self, rules: KeepRules, *, agent: str | None, dry_run: bool, on_removed: OnRemoved | None
    ) -> GcReport:
        """Collect the garbage of one agent, or of all."""
        async with self._collecting:
            return await collect(
                self.log,
                self.snapshots,
                rules,
                agent=agent,
                now=self._clock.now(),
                dry_run=dry_run,
                on_removed=on_removed,
            )

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
