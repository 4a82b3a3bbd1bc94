"""An agent that sleeps goes on answering: on the old fast weights, then on the new ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from home import Gate, Home, Hooked, until

from sleepmem.errors import LeaseLost, NotOpen
from sleepmem.policy import TokenBudget
from sleepmem.protocols import SleepStep
from sleepmem.runtime.agent import Agent
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Message, Outcome, Role, SleepReport, ToolCall


def gated(home: Home, agent: Agent) -> Gate:
    """Hold sleeps where their snapshot is computed and not stored yet."""
    gate = Gate()
    home.snapshots = Hooked(home.snapshots, gate)
    object.__setattr__(agent._parts, "snapshots", home.snapshots)
    return gate


@asynccontextmanager
async def asleep(home: Home, agent: Agent) -> AsyncIterator[tuple[Gate, asyncio.Task[SleepReport]]]:
    """Sleep in a task that stands at the gate, and let it end."""
    gate = gated(home, agent)
    task = asyncio.create_task(agent.sleep())
    await until(lambda: gate.n_reached > 0 or task.done())
    try:
        yield gate, task
    finally:
        gate.open()
        await asyncio.gather(task, return_exceptions=True)


async def test_turns_during_a_sleep_are_answered_and_belong_to_the_next_episode(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        async with asleep(home, ana) as (gate, task):
            assert (await ana.say("pet?")).text == "rex"
            assert (await ana.say("car=red")).text
            assert not task.done()
            assert (await home.log.head("ana", "main")).episode is None
            gate.open()
            assert (await task).outcome is Outcome.SLEPT
        [episode] = await home.log.lineage("ana", "main")
        [row] = await home.log.threads("ana")
        open_ = await home.log.open_episode(row)
        assert episode.stop == open_.start
        assert [t.messages[0].content for t in open_.turns] == ["pet?", "car=red"]
        expected = await home.reply_to("ana", "pet?")
        assert (await ana.say("pet?")).text == expected == "rex"
        assert (await ana.sleep()).outcome is Outcome.SLEPT
        first, second = await home.log.lineage("ana", "main")
        assert second.parent == first.id
        assert [e async for e in memory.replay("ana", verify=True)][-1].verified
    await home.check("ana")


async def test_token_waits_for_one_step_however_many_are_asleep(home: Home) -> None:
    done: list[str] = []

    class Telling(FakeSleepLM):
        """Notes each token, and each step of a sleep and of its measuring."""

        def next(self, *args: Any) -> list[int]:
            done.append("token")
            return super().next(*args)

        def sleep(self, *args: Any) -> Iterator[SleepStep]:
            for step in super().sleep(*args):
                done.append("step")
                yield step

        def loss(self, *args: Any) -> list[float]:
            done.append("step")
            return super().loss(*args)

    home.lm = Telling(window=200)
    async with home.memory() as memory:
        sleepers = [await memory.agent(f"sleeper-{n}") for n in range(8)]
        for agent in sleepers:
            await agent.say("pet=rex and more")
        ana = await memory.agent("ana")
        await ana.say("hello")
        asleep = [asyncio.create_task(agent.sleep(passes=9)) for agent in sleepers]
        await until(lambda: done[-8:] == ["step"] * 8)
        done.clear()
        await ana.say("pet=tom")
        assert not any(task.done() for task in asleep)
        await asyncio.gather(*asleep)
    spoken = "".join(kind[0] for kind in done).strip("s").split("t")
    assert len(spoken) > 6
    assert max(map(len, spoken)) <= 2  # one waits in the queue, one may be running


async def test_what_was_said_meanwhile_is_read_on_the_new_weights_before_the_next_turn(
    home: Home,
) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        async with asleep(home, ana) as (gate, task):
            await ana.say("car=red")
            gate.open()
            await task
        [row] = await home.log.threads("ana")
        kept = ana._parts.residents.take(row)
        assert kept is not None
        assert kept.head == await home.log.head("ana", "main")
        assert kept.token_ids == (await home.log.open_episode(row)).token_ids
        ana._parts.residents.keep(row, kept)
        expected = await home.reply_to("ana", "car?")
        assert (await ana.say("car?")).text == expected == "red"


async def test_a_turn_under_way_ends_on_the_old_weights(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        async with asleep(home, ana) as (gate, task):
            expected = await home.reply_to("ana", "tell me more")
            stream = ana.stream("tell me more")
            pieces = [await anext(stream)]
            gate.open()
            await until(lambda: home.log._agents["ana"].heads["main"].episode is not None)
            pieces += [piece async for piece in stream]
            assert "".join(pieces) == expected
            assert (await task).outcome is Outcome.SLEPT
        assert (await ana.say("pet?")).text == "rex"
    await home.check("ana")


async def test_a_full_window_waits_for_the_sleep_that_makes_room(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex " + "x" * 100)
        async with asleep(home, ana) as (gate, task):
            saying = asyncio.create_task(ana.say("y" * 100))
            for _ in range(200):
                await asyncio.sleep(0)
            assert not saying.done()
            gate.open()
            reply = await saying
            assert (await task).outcome is Outcome.SLEPT
        assert reply.sleeps == ()
        assert len(await home.log.lineage("ana", "main")) == 1
        assert (await ana.say("pet?")).text == "rex"
    await home.check("ana")


async def test_two_sleeps_at_once_sleep_once(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        async with asleep(home, ana) as (gate, task):
            other = asyncio.create_task(ana.sleep())
            ended = asyncio.create_task(ana.end_task())
            gate.open()
            assert (await task).outcome is Outcome.SLEPT
            assert (await other).outcome is Outcome.NOTHING_TO_DO
            assert await ended is None
        assert len(await home.log.lineage("ana", "main")) == 1
        assert [a.outcome for a in home.log.attempts] == ["slept", "nothing_to_do"]


async def test_a_tool_call_that_comes_during_a_wish_is_not_slept_on(home: Home) -> None:
    call = Message(
        role=Role.ASSISTANT, content="look", tool_calls=(ToolCall(id="c1", name="find"),)
    )
    async with home.memory(policy=TokenBudget(0.5)) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex " + "x" * 60)
        gate = gated(home, ana)
        asking = asyncio.create_task(ana.observe([Message(role=Role.USER, content="z" * 40)]))
        await until(lambda: gate.n_reached or asking.done())
        assert gate.n_reached
        await ana.observe([Message(role=Role.USER, content="find it"), call])
        gate.open()
        [report] = await asking
        assert report.outcome is Outcome.SLEPT
        stats = await ana.stats()
        assert stats.open_tool_calls == 1
        assert stats.n_turns == 1


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
async def test_turns_beside_a_sleep_that_came_to_nothing_join_the_episode(
    home: Home, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"retention_floor": 1e9} if outcome == "rejected" else {}
    async with home.memory(**options) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex " + "x" * 20)
        hook_at = "lineage" if outcome == "rejected" else "put"
        reached, opened = asyncio.Event(), asyncio.Event()

        async def hold(method: str, when: str) -> None:
            if (method, when) == (hook_at, "before"):
                reached.set()
                await opened.wait()
                if outcome == "failed":
                    raise OSError("disk full")

        for name in ("log", "snapshots"):
            object.__setattr__(ana._parts, name, Hooked(getattr(home, name), hold))
        task = asyncio.create_task(ana.sleep())
        await reached.wait()
        await ana.say("car=red")
        opened.set()
        assert (await task).outcome == outcome
        for name in ("log", "snapshots"):
            object.__setattr__(ana._parts, name, getattr(home, name))
        stats = await ana.stats()
        assert stats.n_turns == 2
        assert (await ana.say("pet?")).text == "rex"
        assert (await ana.say("car?")).text == "red"
    await home.check("ana")


async def test_claimed_elsewhere_during_a_sleep_is_told_by_every_later_call(home: Home) -> None:
    async with home.memory() as memory, home.memory() as elsewhere:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        async with asleep(home, ana) as (gate, task):
            await (await elsewhere.agent("ana", take_over=True)).say("I am here")
            gate.open()
            with pytest.raises(LeaseLost):
                await task
        with pytest.raises(LeaseLost):
            await ana.say("pet?")
    await home.check("ana")


async def test_closed_during_a_sleep_loses_nothing(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        async with asleep(home, ana) as (gate, task):
            await ana.say("car=red")
            await memory.aclose()
            gate.open()
            with suppress(NotOpen):
                assert (await task).outcome is Outcome.SLEPT
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        assert (await ana.say("pet?")).text == "rex"
        assert (await ana.say("car?")).text == "red"
    await home.check("ana")
