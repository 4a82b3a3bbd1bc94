"""What was left open by another process is slept on when the clock says so."""

from __future__ import annotations

import asyncio

from home import HEARTBEAT, Gate, Home, Hooked, until

from sleepmem.errors import StoreUnavailable
from sleepmem.events import Event, SleepStarted
from sleepmem.policy import Idle, TokenBudget
from sleepmem.types import Outcome, SleepReason


async def left_open(home: Home, *threads: str) -> None:
    """Say something on each thread and close the memory before anybody sleeps."""
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for thread in threads:
            await ana.thread(thread).say(f"{thread}=rex")


async def settled() -> None:
    """Let everybody run who waits for nothing; a sleep that is due begins by then."""
    for _ in range(200):
        await asyncio.sleep(0)


def has_begun(told: list[Event]) -> bool:
    return any(isinstance(event, SleepStarted) for event in told)


async def test_agent_that_waited_for_long_sleeps_as_soon_as_it_is_held(home: Home) -> None:
    await left_open(home, "main", "side")
    home.clock.advance(1000)
    async with home.memory(policy=Idle(30)) as memory:
        ana = await memory.agent("ana")
        await until(lambda: len(home.log.attempts) == 2)
        assert {a.reason for a in home.log.attempts} == {SleepReason.IDLE}
        assert {a.outcome for a in home.log.attempts} == {Outcome.SLEPT}
        assert {a.thread for a in home.log.attempts} == {"main", "side"}
        assert (await ana.say("side?")).text == "rex"
    await home.check("ana")


async def test_agent_that_waited_for_a_while_waits_for_the_rest(home: Home) -> None:
    await left_open(home, "main")
    home.clock.advance(20)
    told: list[Event] = []
    async with home.memory(policy=Idle(30) & TokenBudget(5), on_event=told.append) as memory:
        await memory.agent("ana")
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(9)
        await settled()
        assert not has_begun(told)
        home.clock.advance(1)
        await until(lambda: len(home.log.attempts) == 1)
    await home.check("ana")


async def test_what_another_left_open_is_asked_about_after_a_takeover(home: Home) -> None:
    told: list[Event] = []
    idle = home.memory(policy=Idle(30), on_event=told.append)
    async with idle as one, home.memory() as two:
        await (await one.agent("ana")).say("pet=rex")
        home.clock.advance(4)
        await (await two.agent("ana", take_over=True)).say("car=red")
        home.clock.advance(6)
        await settled()  # its heartbeat has told the first one
        await (await one.agent("ana", take_over=True)).stats()
        await settled()
        for _ in range(23):
            home.clock.advance(1)
            await settled()
        assert not has_begun(told), "it was spoken with elsewhere since"
        home.clock.advance(1)
        await until(lambda: len(home.log.attempts) == 1)
    await home.check("ana")


async def test_nobody_is_asked_whose_policy_does_not_look_at_the_clock(home: Home) -> None:
    await left_open(home, "main")
    looked: list[str] = []

    async def note(name: str, when: str) -> None:
        looked.append(name)

    home.log = Hooked(home.log, note)
    async with home.memory(policy=TokenBudget(200)) as memory:
        await memory.agent("ana")
        await settled()
    assert set(looked) == {"claim", "release"}


async def test_nothing_is_asked_about_threads_with_nothing_to_sleep_on(home: Home) -> None:
    await left_open(home, "main")
    async with home.memory(policy=Idle(30)) as memory:
        ana = await memory.agent("ana")
        await settled()
        await ana.sleep()
        ana.thread("silent")
        await memory.aclose()
    looked: list[str] = []

    async def note(name: str, when: str) -> None:
        looked.append(name)

    home.log = Hooked(home.log, note)
    async with home.memory(policy=Idle(30)) as memory:
        await memory.agent("ana")
        await settled()
    assert set(looked) == {"claim", "threads", "open_episode", "release"}


async def test_trouble_with_the_search_is_told_and_stops_nothing(home: Home) -> None:
    await left_open(home, "main")

    async def fail(name: str, when: str) -> None:
        if name == "threads":
            raise StoreUnavailable("locked")

    home.log = Hooked(home.log, fail)
    async with home.memory(policy=Idle(30)) as memory:
        ana = await memory.agent("ana")
        await settled()
        assert (await ana.say("main?")).text == "rex"


async def test_memory_closes_while_it_searches(home: Home) -> None:
    await left_open(home, "main")
    gate = Gate("threads")
    home.log = Hooked(home.log, gate)
    async with home.memory(policy=Idle(30)) as memory:
        await memory.agent("ana")
        await until(lambda: gate.n_reached == 1)
    assert home.clock.n_sleepers == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
