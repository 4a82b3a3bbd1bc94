"""Waiting for an agent that another memory holds; clocks decide how long, and nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from home import HEARTBEAT, Home, Hooked, passed, until

from sleepmem.errors import (
    AgentHeld,
    AgentNotFound,
    ConfigError,
    LeaseLost,
    NotOpen,
    StoreUnavailable,
)
from sleepmem.leases import HEARTBEAT_S, LEASE_S, WAIT_S
from sleepmem.memory import SleepMemory
from sleepmem.runtime import claims
from sleepmem.runtime.agent import Agent
from sleepmem.runtime.claims import has_ended, new_holder


def wanted(memory: SleepMemory, **options: Any) -> asyncio.Task[Agent]:
    return asyncio.create_task(memory.agent("ana", **options))


async def test_agent_is_waited_for_until_it_is_given_back(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        await (await one.agent("ana")).say("pet=rex")
        waiting = wanted(two)
        await passed(home.clock, WAIT_S - 1)
        assert not waiting.done()
        await one.aclose()
        await passed(home.clock, 1)
        assert (await (await waiting).say("pet?")).text == "rex"
    await home.check("ana")


async def test_wait_that_runs_out_says_who_holds_it(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        ana = await one.agent("ana")
        waiting = wanted(two, wait_s=7.0)
        await passed(home.clock, 6)
        assert not waiting.done()
        await passed(home.clock, 2)
        with pytest.raises(AgentHeld, match=f":{os.getpid()}:") as caught:
            await waiting
        assert caught.value.waited_s == 7.0
        assert "--take-over" in caught.value.hint
        with pytest.raises(AgentHeld):
            await two.agent("ana", wait_s=0)
        assert (await ana.say("pet=rex")).text, "who waits in vain disturbs nobody"


@pytest.mark.parametrize("wait_s", [-1, float("nan"), "long", True])
async def test_impossible_waits_are_refused(home: Home, wait_s: Any) -> None:
    async with home.memory() as memory:
        with pytest.raises(ConfigError):
            await memory.agent("ana", wait_s=wait_s)


async def test_waiting_for_one_agent_holds_up_no_other(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        await one.agent("ana")
        waiting = [wanted(two), wanted(two)]
        await until(lambda: home.clock.n_sleepers == 2 * HEARTBEAT + 2)
        assert (await (await two.agent("bob")).say("pet=tom")).text
        with pytest.raises(AgentNotFound):
            await two.agent("cleo", create=False)
        await one.aclose()
        await passed(home.clock, 1)
        first, second = await asyncio.gather(*waiting)
        assert first is second


async def test_takeover_does_not_queue_behind_who_waits(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        await one.agent("ana")
        waiting = wanted(two)
        await until(lambda: home.clock.n_sleepers == 2 * HEARTBEAT + 1)
        ana = await two.agent("ana", take_over=True)
        await passed(home.clock, 1)
        assert await waiting is ana
        assert (await ana.say("hello")).text, "who waited has not claimed it once more"


@pytest.mark.parametrize("jump_s", [0.0, 1e7, -1e7])
async def test_unused_agent_is_held_for_as_long_as_its_memory_is_open(
    home: Home, jump_s: float
) -> None:
    async with home.memory() as one, home.memory() as two:
        ana = await one.agent("ana")
        home.clock.jump_s = jump_s
        await passed(home.clock, HEARTBEAT_S)
        waiting = wanted(two, wait_s=100.0)
        await passed(home.clock, 90)
        assert not waiting.done()
        assert (await ana.say("hello")).text
        await passed(home.clock, 11)
        with pytest.raises(AgentHeld):
            await waiting


@pytest.mark.parametrize("skew_s", [0.0, -3.0, -1e6, -1e9])
async def test_lease_that_is_not_renewed_ends_whatever_the_clocks_show(
    home: Home, skew_s: float
) -> None:
    """The clock of who waits lags behind the one of who was killed."""
    one = await home.memory().open()
    ana = await one.agent("ana")
    one._open_house().claims._heartbeat.cancel()
    home.clock.jump_s = skew_s
    async with home.memory() as two:
        waiting = wanted(two)
        await passed(home.clock, LEASE_S - 1)
        assert not waiting.done()
        await passed(home.clock, 2)
        assert (await (await waiting).say("pet=rex")).text
        with pytest.raises(LeaseLost):
            await ana.say("pet?")
        await one.aclose()
        assert await home.log.renew(two._open_house().claims.holder, now=home.clock.now())
    await home.check("ana")


@pytest.mark.parametrize("skew_s", [LEASE_S, 1e6])
async def test_clock_ahead_only_shortens_the_wait(home: Home, skew_s: float) -> None:
    async with home.memory() as one, home.memory() as two:
        ana = await one.agent("ana")
        await ana.say("pet=rex")
        home.clock.jump_s = skew_s
        theirs = await two.agent("ana")
        home.clock.jump_s = 0.0
        with pytest.raises(LeaseLost):
            await ana.say("car=red")
        assert (await theirs.say("pet?")).text == "rex"
    assert (await home.contents("ana"))[::2] == ["pet=rex", "pet?"]
    await home.check("ana")


async def test_who_lost_an_agent_knows_it_from_the_next_heartbeat(home: Home) -> None:
    calls: list[str] = []

    async def note(name: str, when: str) -> None:
        calls.append(name)

    async with home.memory() as two:
        home.log = Hooked(home.log, note)
        async with home.memory() as one:
            ana = await one.agent("ana")
            await two.agent("ana", take_over=True)
            await passed(home.clock, HEARTBEAT_S)
            calls.clear()
            with pytest.raises(LeaseLost):
                await ana.say("hello")
            assert calls == []
            await passed(home.clock, HEARTBEAT_S)
            assert calls == [], "there is nothing left to renew"


@pytest.mark.parametrize("problem", [StoreUnavailable("locked"), ValueError("a defect")])
async def test_heartbeat_outlives_a_store_that_fails(home: Home, problem: Exception) -> None:
    is_away = True

    async def fail(name: str, when: str) -> None:
        if name == "renew" and is_away:
            raise problem

    plain, home.log = home.log, Hooked(home.log, fail)
    async with home.memory() as one:
        await one.agent("ana")
        await passed(home.clock, LEASE_S + 1)
        assert plain._agents["ana"].expires_at < home.clock.now()
        is_away = False
        await passed(home.clock, HEARTBEAT_S)
        assert plain._agents["ana"].expires_at > home.clock.now()


async def test_store_that_is_away_lets_a_memory_close(home: Home) -> None:
    async def fail(name: str, when: str) -> None:
        if name == "release":
            raise StoreUnavailable("locked")

    home.log = Hooked(home.log, fail)
    async with home.memory() as one:
        await one.agent("ana")
    assert home.clock.n_sleepers == 0
    async with home.memory() as two:
        waiting = wanted(two)
        await passed(home.clock, LEASE_S + 1)
        await waiting


async def test_memory_that_is_closed_while_it_waits_holds_nothing(home: Home) -> None:
    async with home.memory() as one, home.memory() as two:
        await one.agent("ana")
        waiting = wanted(two)
        await until(lambda: home.clock.n_sleepers == 2 * HEARTBEAT + 1)
        await two.aclose()
        await one.aclose()
        await passed(home.clock, 1)
        with pytest.raises(NotOpen):
            await waiting
    assert home.log._agents["ana"].holder is None


async def test_memory_that_is_closed_during_a_claim_holds_nothing(home: Home) -> None:
    async def close(name: str, when: str) -> None:
        if (name, when) == ("claim", "before"):
            await one.aclose()

    home.log = Hooked(home.log, close)
    one = await home.memory().open()
    with pytest.raises(NotOpen):
        await one.agent("ana")
    assert home.log._agents["ana"].holder is None


async def test_agents_of_a_process_that_ended_are_not_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.memory() as two:
        one = await home.memory().open()
        ana = await one.agent("ana")
        monkeypatch.setattr(claims, "has_ended", one._open_house().claims.holder.__eq__)
        theirs = await two.agent("ana", wait_s=0)
        with pytest.raises(LeaseLost):
            await ana.say("hello")
        assert (await theirs.say("hello")).text
        await one.aclose()


def test_holder_has_ended_when_its_process_has() -> None:
    ours = new_holder()
    machine, pid, place, token = ours.rsplit(":", 3)
    assert int(pid) == os.getpid()
    assert new_holder() != ours
    assert not has_ended(ours)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert has_ended(f"{machine}:{done.pid}:{place}:{token}")
    for other in (
        f"other:{done.pid}:{place}:{token}",
        f"{machine}:{done.pid}:0ther:{token}",
        f"{machine}:{10**30}:{place}:{token}",
        f"{machine}:x:{place}:{token}",
        "test",
        "",
    ):
        assert not has_ended(other), other
