"""An agent that nobody holds leaves nothing behind but its claim, and lives on from the log."""

from __future__ import annotations

import asyncio
import gc
from weakref import ref

from home import Home

from sleepmem.memory import SleepMemory
from sleepmem.runtime.parts import InUse


async def in_use(memory: SleepMemory) -> InUse:
    return (await memory._open_house().parts()).in_use


async def test_agents_that_lived_and_were_evicted_are_forgotten(home: Home) -> None:
    gc.disable()  # no cycle may hold them either
    try:
        async with home.memory(resident=2) as memory:
            for n in range(20):
                await (await memory.agent(f"agent-{n}")).say(f"colour=blue{n}")
            assert not memory._open_house().agents
            assert not (await in_use(memory)).threads
            assert not (await in_use(memory)).sleeps
            reply = await (await memory.agent("agent-3")).say("colour?")
            assert reply.text == "blue3"
    finally:
        gc.enable()


async def test_agent_that_is_held_stays_one(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        held = ref(ana)
        assert await memory.agent("ana") is ana
        thread = ana.thread("work")
        live = ref((await in_use(memory)).threads["ana", "main", "work"])
        del ana
        assert held() is None
        await thread.say("colour=red")
        again = await memory.agent("ana")
        await again.thread("work").say("colour?")
        assert (await in_use(memory)).threads["ana", "main", "work"] is live()


async def test_turn_under_way_is_waited_for_though_nobody_holds_its_agent(home: Home) -> None:
    async with home.memory() as memory:
        stream = (await memory.agent("ana")).stream("colour=green")
        first = await anext(stream)
        turn = asyncio.create_task((await memory.agent("ana")).say("colour?"))
        await asyncio.sleep(0)
        rest = [piece async for piece in stream]
        assert first or rest
        assert (await turn).text == "green"
        told = [entry.content async for entry in memory.log("ana")]
        assert told == ["colour=green", stream.reply.text, "colour?", "green"]


async def test_prompt_that_is_not_in_the_log_yet_is_not_forgotten(home: Home) -> None:
    async with home.memory() as memory:
        (await memory.agent("ana")).thread("work", system="colour=pink")
        assert len((await in_use(memory)).prompted) == 1
        reply = await (await memory.agent("ana")).thread("work").say("colour?")
        assert reply.text == "pink"
        assert not (await in_use(memory)).prompted
        assert not (await in_use(memory)).threads
