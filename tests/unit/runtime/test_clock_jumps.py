"""Somebody sets the wall clock, by days and in both directions: nothing but timestamps differs.

For how long nothing was said before a process began only the wall clock can tell, so a policy that
looks at the clock is asked within one life, and lives that go on are under one that does not.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from home import HEARTBEAT, Home, until
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepmem.memory import SleepMemory
from sleepmem.policy import Idle, TokenBudget
from sleepmem.protocols import SleepPolicy

IDLE_S = 30.0
jumps = st.sampled_from([0.0, 1.0, -1.0, 86_400.0, -86_400.0, 4e8, -4e8])
Script = list[tuple[str, float]]


def scripts(*steps: str) -> st.SearchStrategy[Script]:
    return st.lists(st.tuples(st.sampled_from(steps), jumps), min_size=3, max_size=10)


class Player:
    """Lives a script, and sets the wall clock before each of its steps if it is to."""

    def __init__(self, policy: SleepPolicy, *, jumps: bool) -> None:
        self.home, self._policy, self._jumps = Home(), policy, jumps
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
        return await self.home.memory(policy=self._policy).open()

    async def _step(self, memory: SleepMemory, step: str, n: int) -> None:
        ana = await memory.agent("ana")
        if step == "say":
            self.told.append((await ana.say(f"k{n}=v{n} and more")).text)
        elif step == "sleep":
            self.told.append((await ana.sleep()).outcome)
        else:
            clock, idle = self.home.clock, memory._open_house().idle
            await until(lambda: clock.n_sleepers == HEARTBEAT + len(idle))
            clock.advance(IDLE_S + 1 if step == "wait long" else IDLE_S / 4)
            await until(lambda: clock.n_sleepers == HEARTBEAT + len(idle))

    async def _assert_well(self, memory: SleepMemory) -> None:
        """Assert that what a set clock makes old or young is collected with no head among it."""
        await (await memory.agent("ana")).say("so?")
        await memory.gc(keep_last=0, keep_within=timedelta(days=2))
        await self.home.check("ana")
        self.told.append((await (await memory.agent("ana")).say("k0?")).text)


def assert_jumps_change_nothing(policy: SleepPolicy, script: Script) -> None:
    undisturbed = asyncio.run(Player(policy, jumps=False).play(script))
    assert asyncio.run(Player(policy, jumps=True).play(script)) == undisturbed


@settings(max_examples=8, deadline=None)
@given(script=scripts("say", "wait", "wait long", "sleep"))
def test_a_clock_that_jumps_changes_no_answer_and_no_sleep(script: Script) -> None:
    assert_jumps_change_nothing(Idle(IDLE_S) | TokenBudget(60), script)


@settings(max_examples=8, deadline=None)
@given(script=scripts("say", "sleep", "restart"))
def test_a_clock_that_jumps_changes_nothing_over_restarts(script: Script) -> None:
    assert_jumps_change_nothing(TokenBudget(60), script)
