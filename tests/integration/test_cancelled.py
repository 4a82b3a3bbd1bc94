"""Cancelled while SQLite and the disk are at work: done again, all is as if undisturbed.

The long form cancels at every await, not at every third:

    pytest -m slow tests/integration/test_cancelled.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from sleepmem import SleepMemory
from sleepmem.runtime.agent import Agent
from sleepmem.store import SnapshotFiles, open_log
from sleepmem.testing import FakeSleepLM


async def told_and_slept(ana: Agent) -> None:
    await ana.say("pet=rex and more", request_id="r")
    await ana.sleep()


async def cancelled_at(at: int, work: Coroutine[Any, Any, None]) -> bool:
    """Cancel a task when it waits for the `at`-th time; return whether it had not ended before."""
    n_waits = 0

    class Counted:
        def __await__(self) -> Any:
            nonlocal n_waits
            value, error = None, None
            while True:
                try:
                    waits_for = work.throw(error) if error else work.send(value)
                except StopIteration:
                    return
                n_waits += 1
                if n_waits == at:
                    task.cancel()
                value, error = None, None
                try:
                    value = yield waits_for
                except BaseException as thrown:
                    error = thrown

    async def run() -> None:
        await Counted()

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return task.cancelled()


@pytest.mark.parametrize(
    "stride",
    [
        pytest.param(3, id="every third"),
        pytest.param(1, id="every one", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
async def test_cancelled_and_done_again_ends_as_if_undisturbed(ram: Path, stride: int) -> None:
    log = await open_log(f"sqlite:///{ram / 'agents.db'}")
    snapshots = SnapshotFiles(ram / "data")
    async with SleepMemory.of(
        lm=FakeSleepLM(200), log=log, snapshots=snapshots, max_tokens=4, min_tokens=4, passes=1
    ) as memory:

        async def ended(name: str, at: int) -> tuple[bool, list[Any]]:
            ana = await memory.agent(name)
            was_cancelled = await cancelled_at(at, told_and_slept(ana))
            await told_and_slept(ana)
            [episode] = [replayed.episode async for replayed in memory.replay(name)]
            told = [(entry.content, entry.state) async for entry in memory.log(name)]
            return was_cancelled, [episode.snapshot, episode.stop, told]

        _, expected = await ended("undisturbed", 0)
        at = 1
        while True:
            was_cancelled, found = await ended(f"agent-{at}", at)
            assert found == expected, f"cancelled at {at}"
            assert await snapshots.leftovers(f"agent-{at}") == []
            if not was_cancelled:
                break
            at += stride
        assert at > 30
    await log.aclose()
