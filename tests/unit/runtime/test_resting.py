"""An agent that nobody holds leaves nothing behind but its claim, and lives on from the log."""

from __future__ import annotations

import asyncio
import gc
from weakref import ref

from home import Home, Hooked, passed

from sleepmem.events import Event, LeaseLost
from sleepmem.leases import HEARTBEAT_S
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
            assert not memory._open_house().claims._in_use
            reply = await (await memory.agent("agent-3")).say("colour?")
            assert reply.text == "blue3"
    finally:
        gc.enable()


async def test_heartbeat_names_no_agent_unless_one_was_lost(home: Home) -> None:
    calls: list[str] = []

    async def note(name: str, when: str) -> None:
        calls.append(name)

    home.log = Hooked(home.log, note)
    async with home.memory() as one, home.memory() as two:
        for n in range(3):
            await one.agent(f"agent-{n}")
        await passed(home.clock, HEARTBEAT_S)
        assert "renew" in calls
        assert "held" not in calls
        await two.agent("agent-1", take_over=True)
        await passed(home.clock, HEARTBEAT_S)
        assert "held" in calls
        calls.clear()
        await passed(home.clock, HEARTBEAT_S)
        assert "held" not in calls, "what was lost is known"


async def test_resting_agent_that_was_lost_is_told_once_and_claimed_anew(home: Home) -> None:
    told: list[Event] = []
    async with home.memory(on_event=told.append) as one, home.memory() as two:
        await one.agent("bob")
        await (await one.agent("ana")).say("pet=rex")
        await (await two.agent("ana", take_over=True)).say("pet=tom")
        await passed(home.clock, 3 * HEARTBEAT_S)
        assert [event.agent for event in told if isinstance(event, LeaseLost)] == ["ana"]
        again = await one.agent("ana", take_over=True)
        assert (await again.say("pet?")).text == "tom"


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
