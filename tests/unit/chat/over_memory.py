"""Memories without torch, on the loop that synchronous callers share."""

from __future__ import annotations

from sleepmem import SleepMemory
from sleepmem.chat.bridge import Bridge, private_loop
from sleepmem.history import LogEntry
from sleepmem.store.memory_log import MemoryEpisodeLog
from sleepmem.store.memory_snapshots import MemorySnapshotStore
from sleepmem.testing.fake_model import FakeSleepLM

run = Bridge(private_loop()).run


def memory_over(lm: FakeSleepLM) -> SleepMemory:
    return SleepMemory.of(lm=lm, log=MemoryEpisodeLog(), snapshots=MemorySnapshotStore())


def agents(memory: SleepMemory) -> list[str]:
    return [summary.agent for summary in run(memory.agents())]


def lived(memory: SleepMemory, agent: str) -> list[LogEntry]:
    async def entries() -> list[LogEntry]:
        return [entry async for entry in memory.log(agent)]

    return run(entries())
