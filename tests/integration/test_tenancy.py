"""Agents of the shipped model side by side: no bit of one is in another's memory or answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sleepmem import SleepMemory
from sleepmem.errors import CheckpointNotFound
from sleepmem.protocols import SleepLM, WakeState
from sleepmem.store import MemoryEpisodeLog, MemorySnapshotStore
from sleepmem.types import Sampling

CANARIES = {"ana": "Rex", "bob": "Luna", "eve": "Milo", "joe": "Nala"}
ASKED = "What is my dog called?"


@pytest.fixture(scope="module")
def lm() -> SleepLM:
    from sleepmem.model.checkpoint import load_checkpoint

    try:
        return load_checkpoint("sleepmem/tiny-2")
    except CheckpointNotFound:
        pytest.skip("installed without its checkpoint")


class Watched:
    """The model, and how many were decoded together."""

    def __init__(self, lm: SleepLM) -> None:
        self._lm, self.most = lm, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lm, name)

    def next(self, states: Sequence[WakeState], sampling: Sequence[Sampling]) -> list[int]:
        self.most = max(self.most, len(states))
        return self._lm.next(states, sampling)


async def live(memory: SleepMemory, name: str) -> AsyncIterator[tuple[str, str | None]]:
    """Tell a canary, sleep and ask for it twice; yield each reply and each snapshot."""
    agent = await memory.agent(name)
    for text in (f"My dog is called {CANARIES[name]}.", ASKED):
        for _ in range(2):  # the second time it may be awake still
            yield (await agent.say(text)).text, None
        report = await agent.sleep(passes=2)
        assert report.snapshot
        yield "", report.snapshot.digest
    yield (await agent.say(ASKED)).text, None


async def lived(lm: Any, *names: str) -> dict[str, list[tuple[str, str | None]]]:
    """Let agents live at the same time, with room for fewer awake than there are."""
    async with SleepMemory.of(
        lm=lm,
        log=MemoryEpisodeLog(),
        snapshots=MemorySnapshotStore(),
        max_tokens=16,
        min_tokens=4,
        resident=3,
    ) as memory:

        async def one(name: str) -> list[tuple[str, str | None]]:
            return [step async for step in live(memory, name)]

        lives = dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
        for name in names:
            assert [r.verified async for r in memory.replay(name, verify=True)] == [True, True]
        return lives


async def test_neighbours_change_no_bit_and_hear_no_canary(lm: SleepLM) -> None:
    watched = Watched(lm)
    together = await lived(watched, *CANARIES)
    assert watched.most > 1, "they were never decoded together"
    n_recalled = 0
    for name, canary in CANARIES.items():
        assert (await lived(lm, name))[name] == together[name]
        said = " ".join(text for text, _ in together[name]).lower()
        n_recalled += canary.lower() in " ".join(t for t, _ in together[name][3:]).lower()
        for other, foreign in CANARIES.items():
            assert other == name or foreign.lower() not in said
    assert n_recalled > 1, "a model that recalls nothing would show no leak"
