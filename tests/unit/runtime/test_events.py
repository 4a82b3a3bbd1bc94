"""Events tell what happened, after it is durable, and nothing of what was said."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from home import Home, Hooked, Interrupted, Never

from sleepmem import events
from sleepmem.errors import LeaseLost
from sleepmem.events import (
    Event,
    Evicted,
    HeadMoved,
    SleepFinished,
    SleepStarted,
    TurnDone,
    Woken,
)
from sleepmem.types import Outcome

CANARY = "canary-7919"


async def test_a_life_is_told_in_order(home: Home) -> None:
    told: list[Event] = []
    async with home.memory(on_event=told.append) as memory:
        ana = await memory.agent("ana")
        reply = await ana.say(f"pet={CANARY}")
        report = await ana.sleep()
        await ana.say("pet?")
    kinds = [type(event) for event in told]
    slept = [SleepStarted, HeadMoved, SleepFinished, Evicted]
    assert kinds == [Woken, TurnDone, *slept, Woken, TurnDone]
    assert {(event.agent, event.branch) for event in told} == {("ana", "main")}  # type: ignore[attr-defined]
    born, turn, started, moved, finished, evicted, woken, _ = told
    assert isinstance(born, Woken)
    assert born.episode is None
    assert isinstance(turn, TurnDone)
    assert turn.node_id == reply.node_id
    assert isinstance(started, SleepStarted)
    assert started.n_tokens == report.n_tokens == turn.n_tokens
    assert isinstance(moved, HeadMoved)
    assert isinstance(finished, SleepFinished)
    assert finished.report == report
    assert report.snapshot
    assert (moved.episode, moved.parent, moved.snapshot) == (
        report.episode,
        None,
        report.snapshot.digest,
    )
    assert isinstance(evicted, Evicted)
    assert evicted.reason == "slept"
    assert isinstance(woken, Woken)
    assert woken.episode == report.episode
    assert CANARY not in repr(told)


async def test_every_outcome_is_told_and_only_a_commit_moves_the_head(home: Home) -> None:
    told: list[Event] = []
    async with home.memory(on_event=told.append, retention_floor=1e9) as memory:
        ana = await memory.agent("ana")
        await ana.sleep()
        await ana.say("pet=rex " + "x" * 30)
        await ana.sleep()
        await ana.sleep(force=True)
    finished = [event for event in told if isinstance(event, SleepFinished)]
    assert [event.report.outcome for event in finished] == [
        Outcome.NOTHING_TO_DO,
        Outcome.REJECTED,
        Outcome.SLEPT,
    ]
    assert sum(isinstance(event, SleepStarted) for event in told) == 2
    assert sum(isinstance(event, HeadMoved) for event in told) == 1


async def test_head_that_moved_is_told_also_to_whoever_cancels(home: Home) -> None:
    """Cancelled at every await: what is in the log was told, and nothing else."""
    inner, at, n_moved = home.log, 0, 0
    told: list[Event] = []
    home.log = Hooked(inner)
    async with home.memory(passes=1, on_event=told.append, policy=Never()) as memory:
        ana = await memory.agent("ana")
        while True:
            at += 1
            await ana.say("pet=rex and more")
            told.clear()
            before = await inner.head("ana", "main")
            is_whole = True
            try:
                await Interrupted(ana.sleep(force=True), at)
            except asyncio.CancelledError:
                is_whole = False
            has_moved = await inner.head("ana", "main") != before
            assert sum(isinstance(event, HeadMoved) for event in told) == has_moved
            assert sum(isinstance(event, SleepFinished) for event in told) == has_moved
            n_moved += has_moved and not is_whole
            if is_whole:
                break
    assert n_moved, "it was never cancelled during a commit"


async def test_a_turn_is_told_when_it_is_durable(home: Home) -> None:
    seen: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, TurnDone):
            turns = home.log._agents["ana"].turns
            seen.append(sum(turn.state == "done" for turn in turns))

    async with home.memory(on_event=watch) as memory:
        ana = await memory.agent("ana")
        await ana.say("one")
        await ana.observe("two")
    assert seen == [1, 2]


async def test_who_is_no_longer_kept_awake_is_told(home: Home) -> None:
    told: list[Event] = []
    async with home.memory(on_event=told.append, resident=2) as memory:
        for name in ("ana", "bob", "eve"):
            await (await memory.agent(name)).say("hello")
        await (await memory.agent("bob")).say("again")
        await (await memory.agent("ana")).thread("side").say("hello")
    evicted = [event for event in told if isinstance(event, Evicted)]
    assert [(event.agent, event.thread, event.reason) for event in evicted] == [
        ("ana", "main", "resident"),
        ("eve", "main", "resident"),
    ]


async def test_a_claim_that_is_lost_is_told_once(home: Home) -> None:
    told: list[Event] = []
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(home.memory(on_event=told.append))
        two, three = [await stack.enter_async_context(home.memory()) for _ in range(2)]
        ours = await one.agent("ana")
        await ours.say("pet=rex")
        await two.agent("ana", take_over=True)
        for call in (ours.say("pet?"), ours.sleep()):
            with pytest.raises(LeaseLost):
                await call
        [lost] = [event for event in told if isinstance(event, events.LeaseLost)]
        assert lost.agent == "ana"
        await (await one.agent("ana", take_over=True)).say("pet?")
        await three.agent("ana", take_over=True)
        with pytest.raises(LeaseLost):
            await ours.say("pet?")
    epochs = [event.epoch for event in told if isinstance(event, events.LeaseLost)]
    assert len(set(epochs)) == len(epochs) == 2


async def test_a_watcher_that_fails_stops_nothing(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("watcher")

    async with home.memory(on_event=fail) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        assert (await ana.sleep()).outcome is Outcome.SLEPT
        assert (await ana.say("pet?")).text == "rex"
    assert "a watcher of events failed" in caplog.text
    await home.check("ana")
