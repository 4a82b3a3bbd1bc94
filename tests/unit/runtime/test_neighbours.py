"""Agents of one memory, and what others may see of them."""

from __future__ import annotations

import asyncio
import logging

import pytest
from home import Home

from sleepmem.errors import InvalidMessage
from sleepmem.memory import SleepMemory

CANARY = "canary-7919"


async def live(memory: SleepMemory, name: str) -> list[str]:
    agent = await memory.agent(name)
    said = []
    for n in range(4):
        said.append((await agent.say(f"{name}={n} " + name * 9)).text)
        if n % 2:
            await agent.sleep()
    return said


async def test_neighbours_change_no_answer_and_no_snapshot(home: Home) -> None:
    names = ["ana", "bob", "eve"]
    async with home.memory(resident=2) as memory:
        together = await asyncio.gather(*(live(memory, name) for name in names))
    for name, said in zip(names, together, strict=True):
        alone = Home()
        async with alone.memory() as memory:
            assert await live(memory, name) == said
        assert await alone.log.head(name, "main") != await home.log.head(name, "main")
        snapshots = [
            [episode.snapshot for episode in await one.log.lineage(name, "main")]
            for one in (alone, home)
        ]
        assert snapshots[0] == snapshots[1]


async def test_no_answer_holds_what_another_agent_was_told(home: Home) -> None:
    async with home.memory() as memory:
        await (await memory.agent("ana")).say(f"secret={CANARY}")
        await (await memory.agent("ana")).sleep()
        assert (await (await memory.agent("bob")).say("secret?")).text == "unknown"


async def test_logger_names_ids_and_keeps_text_at_debug(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="sleepmem")
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say(f"secret={CANARY} and more")
        await ana.say("secret?")
        await ana.sleep()
        with pytest.raises(InvalidMessage):
            await ana.say(CANARY + "\0")
    ours = [record for record in caplog.records if record.name.startswith("sleepmem.")]
    assert {record.levelno for record in ours} == {logging.DEBUG, logging.INFO}
    assert all(record.__dict__["agent"] == "ana" for record in ours)
    loud = [record.getMessage() for record in ours if record.levelno > logging.DEBUG]
    assert loud
    assert CANARY not in "".join(loud)
    assert any(CANARY in record.getMessage() for record in ours)


async def test_ten_threads_sleep_in_a_line(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        threads = [ana.thread(f"t{n}") for n in range(10)]
        await asyncio.gather(*(thread.say(f"k{n}=v{n}") for n, thread in enumerate(threads)))
        reports = await asyncio.gather(*(thread.sleep() for thread in threads))
        assert {report.outcome for report in reports} == {"slept"}
        life = [replayed.episode async for replayed in memory.replay("ana", verify=True)]
        assert [episode.index for episode in life] == list(range(1, 11))
        assert [(await ana.say(f"k{n}?")).text for n in range(10)] == [f"v{n}" for n in range(10)]
    await home.check("ana")
