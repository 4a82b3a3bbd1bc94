"""The runtime over the real stores and a native model with random weights, read from a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sleepmem import SleepMemory
from sleepmem.errors import CannotVerify, FingerprintMismatch
from sleepmem.types import Message, Outcome, Role

WINDOW = 160


def memory_at(folder: Path, model: str) -> SleepMemory:
    return SleepMemory(
        f"sqlite:///{folder / 'agents.db'}", model=model, max_tokens=8, min_tokens=4, passes=2
    )


async def live(memory: SleepMemory, name: str) -> None:
    agent = await memory.agent(name)
    side = agent.thread("side", system="Be brief.")
    await agent.say("My dog is called Rex.")
    await side.say("And the cat?")
    await agent.observe([Message(role=Role.USER, content="What is the dog called? " * 40)])
    await side.sleep()
    await agent.end_task()
    await agent.say("Well?", request_id="r1")


async def test_life_is_verified_bit_for_bit(tmp_path: Path, native_checkpoints: list[str]) -> None:
    async with memory_at(tmp_path, native_checkpoints[0]) as memory:
        await asyncio.gather(live(memory, "ana"), live(memory, "bob"))
    async with memory_at(tmp_path, native_checkpoints[0]) as memory:
        lives = {
            name: [replayed async for replayed in memory.replay(name, verify=True)]
            for name in ("ana", "bob")
        }
        ana = await memory.agent("ana")
        report = await ana.sleep(force=True)
        assert report.outcome is Outcome.SLEPT
        assert report.numerics["torch"]
    assert all(replayed.verified for life in lives.values() for replayed in life)
    assert len(lives["ana"]) >= 3
    assert all(replayed.episode.n_tokens <= WINDOW for replayed in lives["ana"])
    ours, theirs = (
        [replayed.episode.snapshot for replayed in lives[name]] for name in ("ana", "bob")
    )
    assert ours == theirs, "the same life beside a neighbour gives the same bytes"


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_life_of_thousands_is_verified_in_two_goes(
    tmp_path: Path, native_checkpoints: list[str]
) -> None:
    """Run it with: pytest -n0 -m slow tests/integration/test_memory_native.py"""
    n_episodes, text = 2000, Message(role=Role.USER, content="What is the dog called? " * 1000)
    async with memory_at(tmp_path, native_checkpoints[0]) as memory:
        ana = await memory.agent("ana")
        n_slept = 0
        while n_slept < n_episodes:
            n_slept += len(await ana.observe([text]))
    async with memory_at(tmp_path, native_checkpoints[0]) as memory:
        verified = [one async for one in memory.replay("ana", until=n_slept // 2, verify=True)]
    async with memory_at(tmp_path, native_checkpoints[0]) as memory:
        since = verified[-1].episode.id
        verified += [one async for one in memory.replay("ana", since=since, verify=True)]
    assert [one.episode.index for one in verified] == list(range(1, n_slept + 1))
    assert all(one.verified for one in verified)


async def test_restart_gives_the_same_answer(tmp_path: Path, native_checkpoints: list[str]) -> None:
    texts = ("My dog is called Rex.", "What is the dog called?", "Well?")
    (tmp_path / "smooth").mkdir()
    async with memory_at(tmp_path / "smooth", native_checkpoints[0]) as memory:
        ana = await memory.agent("ana")
        expected = [(await ana.say(text)).text for text in texts]
    replies = []
    for text in texts:
        async with memory_at(tmp_path, native_checkpoints[0]) as memory:
            replies.append((await (await memory.agent("ana")).say(text)).text)
    assert replies == expected


async def test_another_checkpoint_is_refused(tmp_path: Path, native_checkpoints: list[str]) -> None:
    async with memory_at(tmp_path, native_checkpoints[0]) as memory:
        ana = await memory.agent("ana")
        await ana.say("My dog is called Rex.")
        await ana.sleep()
    async with memory_at(tmp_path, native_checkpoints[1]) as memory:
        with pytest.raises(FingerprintMismatch):
            await memory.agent("ana")
        with pytest.raises(CannotVerify):
            [replayed async for replayed in memory.replay("ana", verify=True)]
        assert len([replayed async for replayed in memory.replay("ana")]) == 1
