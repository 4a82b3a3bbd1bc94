"""Any life gives the state and the answers that a straight derivation from its log gives."""

from __future__ import annotations

import asyncio
from typing import Any

from home import Home, Never
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepmem.memory import SleepMemory
from sleepmem.policy import TaskBoundary, TokenBudget
from sleepmem.types import Message, Role

WORDS = st.sampled_from(["a=1", "b=2", "a=3 b=4", "go on", "x" * 60, "y" * 130, "z" * 330])
THREADS = st.sampled_from(["main", "side"])
STEPS = st.one_of(
    st.tuples(st.just("say"), THREADS, WORDS),
    st.tuples(st.just("observe"), THREADS, st.lists(WORDS, min_size=1, max_size=3)),
    st.tuples(st.just("abort"), THREADS, WORDS),
    st.tuples(st.just("sleep"), THREADS, st.integers(1, 3)),
    st.tuples(st.just("end_task"), THREADS, st.none()),
    st.tuples(st.just("restart"), THREADS, st.none()),
)
POLICIES = st.sampled_from([Never(), TaskBoundary(), TokenBudget(0.5) | TaskBoundary()])


async def live(home: Home, memory: SleepMemory, step: tuple[str, str, Any]) -> None:
    verb, name, what = step
    thread = (await memory.agent("ana")).thread(name, system="be kind" if name == "side" else None)
    if verb == "say":
        assert await thread.say(what)
    elif verb == "observe":
        await thread.observe([Message(role=Role.USER, content=word) for word in what])
    elif verb == "abort":
        stream = thread.stream(what)
        await anext(stream, None)
        await stream.aclose()
    elif verb == "sleep":
        await thread.sleep(passes=what)
    elif verb == "end_task":
        await thread.end_task()
    else:
        await memory.aclose()
        await memory.open()


async def assert_as_derived(home: Home, memory: SleepMemory) -> None:
    ana = await memory.agent("ana")
    for name in ("main", "side"):
        n_tokens = (await ana.thread(name).stats()).n_tokens
        if n_tokens > home.lm.window - 40:
            await ana.thread(name).sleep(force=True)
    for name in ("main", "side"):
        expected = await home.reply_to("ana", "so?", name)
        assert (await ana.thread(name).say("so?")).text == expected
    async for replayed in memory.replay("ana", verify=True):
        assert replayed.verified
    await home.check("ana")


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=8), POLICIES, st.integers(1, 2))
def test_any_life_is_what_its_log_says(
    steps: list[tuple[str, str, Any]], policy: Any, resident: int
) -> None:
    async def run() -> None:
        home = Home()
        async with home.memory(policy=policy, resident=resident) as memory:
            for step in steps:
                await live(home, memory, step)
            await assert_as_derived(home, memory)

    asyncio.run(run())


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS.filter(lambda step: step[0] != "restart"), max_size=6), POLICIES)
def test_restarts_change_no_life(steps: list[tuple[str, str, Any]], policy: Any) -> None:
    """The same life, once in one process and once with a restart after every step."""

    async def run(restarts: bool) -> list[tuple[str, str, int]]:
        home = Home()
        async with home.memory(policy=policy) as memory:
            for step in steps:
                await live(home, memory, step)
                if restarts:
                    await live(home, memory, ("restart", "main", None))
        if "ana" not in home.log._agents:
            return []
        return [(e.content, e.state.value, e.n_tokens) async for e in home.log.entries("ana")] + [
            (e.snapshot.digest, e.reason, e.stop) for e in await home.log.lineage("ana", "main")
        ]

    assert asyncio.run(run(False)) == asyncio.run(run(True))
