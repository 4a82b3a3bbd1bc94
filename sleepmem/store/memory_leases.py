"""Who may write for an agent, in plain Python; a base of the log in memory."""

from __future__ import annotations

import secrets
from datetime import datetime

from sleepmem.errors import AgentHeld, FingerprintMismatch, LeaseLost
from sleepmem.leases import LEASE
from sleepmem.store.memory_history import AgentRow, MemoryHistory
from sleepmem.types import checked_name


class MemoryLeases(MemoryHistory):
    """The leases of the agents."""

    async def claim(
        self,
        agent: str,
        *,
        fingerprint: str,
        holder: str,
        create: bool,
        now: datetime,
        over: int | None = None,
    ) -> int:
        checked_name("agent name", agent)
        checked_name("holder", holder)
        if agent not in self._agents and create:
            async with self._sweeping:
                newborn = AgentRow(agent, fingerprint, epoch=secrets.randbits(32))
                self._agents.setdefault(agent, newborn)
        found = self._agent(agent)
        if found.fingerprint != fingerprint:
            raise FingerprintMismatch(f"agent {agent!r}", found.fingerprint, fingerprint)
        other = None if found.holder == holder else found.holder
        if other and found.expires_at and now < found.expires_at and found.epoch != over:
            raise AgentHeld(agent, other, found.epoch, found.expires_at)
        found.epoch, found.holder, found.expires_at = found.epoch + 1, holder, now + LEASE
        return found.epoch

    async def renew(self, holder: str, *, now: datetime) -> int:
        for agent in self._held(holder):
            agent.expires_at = now + LEASE
        return sum(agent.epoch for agent in self._held(holder))

    async def held(self, holder: str) -> frozenset[str]:
        return frozenset(agent.name for agent in self._held(holder))

    async def release(self, holder: str) -> None:
        for agent in self._held(holder):
            agent.holder, agent.expires_at = None, None

    def _held(self, holder: str) -> list[AgentRow]:
        return [agent for agent in self._agents.values() if agent.holder == holder]

    def _owned(self, agent: str, epoch: int) -> AgentRow:
        found = self._agent(agent)
        if found.epoch != epoch:
            raise LeaseLost(agent, epoch)
        return found
