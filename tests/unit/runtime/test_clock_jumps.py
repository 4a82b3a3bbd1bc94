"""Somebody sets the wall clock, by days and in both directions: nothing but timestamps differs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from home import Home, until
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepmem.memory import SleepMemory
from sleepmem.policy import Idle, TokenBudget

IDLE_S = 30.0
steps = st.sampled_from(["say", "wait", "wait long", "sleep", "restart"])
jumps = st.sampled_from([0.0, 1.0, -1.0, 86_400.0, -86_400.0, 4e8, -4e8])
Script = list[tuple[str, float]]


class Player:
    """Lives a script, and sets the wall clock before each of its steps if it is to."""

    def __init__(self, *, jumps: bool) -> None:
        self.home, self._jumps = Home(), jumps
        self.told: list[Any] = []

    async def play(self, script: Script) -> list[Any]:
        """Return all that was said, and what was slept on and why."""
        memory = await self._opened()
        for n, (step, jump_s) in enumerate(script):
            self.home.clock.jump_s += jump_s if self._jumps else 0.0
            if step == "restart":
                await memory.aclose()
                memory = await self._opened()
            else:
                await self._step(memory, step, n)
        await self._assert_well(memory)
        await memory.aclose()
        episodes = await self.home.log.lineage("ana", "main")
        slept = [(e.reason, e.start, e.stop, e.snapshot.digest) for e in episodes]
        entries = [(e.content, e.state) async for e in self.home.log.entries("ana")]
        return [self.told, slept, entries]

    async def _opened(self) -> SleepMemory:
        return await self.home.memory(policy=Idle(IDLE_S) | TokenBudget(60)).open()

    async def _step(self, memory: SleepMemory, step: str, n: int) -> None:
        ana = await memory.agent("ana")
        if step == "say":
            self.told.append((await ana.say(f"k{n}=v{n} and more")).text)
        elif step == "sleep":
            self.told.append((await ana.sleep()).outcome)
        else:
            clock, idle = self.home.clock, memory._open_house().idle
            await until(lambda: clock.n_sleepers == len(idle))
            clock.advance(IDLE_S + 1 if step == "wait long" else IDLE_S / 4)
            await until(lambda: clock.n_sleepers == len(idle))

    async def _assert_well(self, memory: SleepMemory) -> None:
        """Assert that what a set clock makes old or young is collected with no head among it."""
        await (await memory.agent("ana")).say("so?")
        await memory.gc(keep_last=0, keep_within=timedelta(days=2))
        await self.home.check("ana")
        self.told.append((await (await memory.agent("ana")).say("k0?")).text)


@settings(max_examples=15, deadline=None)
@given(script=st.lists(st.tuples(steps, jumps), min_size=3, max_size=10))
def test_a_clock_that_jumps_changes_no_answer_and_no_sleep(script: Script) -> None:
    undisturbed = asyncio.run(Player(jumps=False).play(script))
    assert asyncio.run(Player(jumps=True).play(script)) == undisturbed
