"""Room in the window: prompts that grow, leavings of a kill, and sleeps that cannot begin."""

from __future__ import annotations

import asyncio

import pytest
from home import Home, Hooked, Never

from sleepmem.errors import ConfigError, WindowExceeded
from sleepmem.policy import TaskBoundary, TokenBudget
from sleepmem.types import Outcome, SleepReason


async def test_prompt_that_grew_over_the_window_lets_the_agent_sleep(home: Home) -> None:
    async with home.memory(policy=TaskBoundary()) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex and more")
        ana.thread(system="s" * home.lm.window)
        assert (await ana.plan()).would_sleep
        for call in (ana.say("pet?"), ana.observe("x"), ana.end_task()):
            with pytest.raises(WindowExceeded):
                await call
        assert (await ana.sleep()).outcome is Outcome.SLEPT, "a sleep reads no system prompt"
        ana.thread(system="be brief")
        assert (await ana.say("pet?")).text == "rex"
    await home.check("ana")


async def observed_and_killed(home: Home, text: str) -> None:
    """Commit a message that is longer than the window, and none of its sleeps."""

    async def die(name: str, when: str) -> None:
        if (name, when) == ("stage", "after"):
            raise asyncio.CancelledError

    plain, home.log = home.log, Hooked(home.log, die)
    async with home.memory(policy=Never()) as memory:
        with pytest.raises(asyncio.CancelledError):
            await (await memory.agent("ana")).observe(text)
    home.log = plain


@pytest.mark.parametrize("verb", ["sleep", "end_task"])
async def test_sleep_in_pieces_is_not_told_as_nothing_to_do(home: Home, verb: str) -> None:
    """What is left after the last piece may be too short to sleep on."""
    home.options["min_tokens"] = 150
    await observed_and_killed(home, "pet=rex " + "x" * 220)
    async with home.memory(policy=TaskBoundary()) as memory:
        ana = await memory.agent("ana")
        report = await (ana.sleep() if verb == "sleep" else ana.end_task())
        assert report is not None
        assert (report.outcome, report.reason) == (Outcome.SLEPT, SleepReason.WINDOW)
        assert 0 < (await ana.stats()).n_tokens < 150


async def test_sleep_that_cannot_begin_does_not_hide_the_turn(home: Home) -> None:
    async with home.memory(policy=TokenBudget(5)) as memory:
        ana = await memory.agent("ana")
        live = ana.thread()._live
        object.__setattr__(live.parts.defaults, "wait_s", 0.0)
        async with live._sleeps:
            reply = await ana.say("hello there")
        assert reply.text
        assert reply.sleeps == ()
        assert (await ana.say("and more")).slept


@pytest.mark.parametrize("floor", [float("nan"), "0.5", True])
async def test_retention_floor_that_can_never_work_is_refused(home: Home, floor: object) -> None:
    with pytest.raises(ConfigError):
        home.memory(retention_floor=floor)
