"""Cancelled at every await, failed at every call: nothing acknowledged is lost or read twice."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from home import Home, Hooked, Interrupted, Never

from sleepmem.errors import SleepmemError, StoreUnavailable
from sleepmem.leases import LEASE_S
from sleepmem.policy import TaskBoundary, TokenBudget
from sleepmem.runtime.agent import Agent
from sleepmem.types import Message, Outcome, Role, SleepReport

Verb = Callable[[Agent], Coroutine[Any, Any, Any]]

VERBS: dict[str, Verb] = {
    "say": lambda ana: ana.say("c=3 and more"),
    "say and sleep": lambda ana: ana.say("c=3 " + "x" * 40),
    "long say": lambda ana: ana.say("c=3 " + "x" * 220),
    "request": lambda ana: ana.say("c=3 " + "x" * 220, request_id="r"),
    "observe": lambda ana: ana.observe([Message(role=Role.USER, content="c=3 " + "x" * 120)] * 2),
    "sleep": lambda ana: ana.sleep(),
    "end_task": lambda ana: ana.end_task(),
}


_BORN: list[Home] = []


async def born() -> Home:
    """Return a home whose stores suspend at every call, with an agent that has lived a little."""
    policy = TokenBudget(80) | TaskBoundary()
    if not _BORN:
        home = Home(options={"policy": policy, "passes": 1, "max_tokens": 6, "min_tokens": 4})
        async with home.memory() as memory:
            ana = await memory.agent("ana")
            await ana.say("a=1 and more")
            await ana.sleep()
            await ana.say("b=2")
        _BORN.append(home)
    home = deepcopy(_BORN[0])
    home.log, home.snapshots = Hooked(home.log), Hooked(home.snapshots)
    return home


async def assert_well(home: Home, verb: str, before: list[str]) -> None:
    """Assert that the agent lives on as its log says, in a process that saw no accident."""
    after = await home.contents("ana")
    assert after[: len(before)] == before
    told = sum(content.startswith("c=3") for content in after)
    assert told in ({0, 2} if verb == "observe" else {0, 1})
    # the log's own word on where it stands decides, so room is made before asking
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.sleep(force=True)
        expected = await home.reply_to("ana", "so?")
        assert (await ana.say("so?")).text == expected
        assert (await ana.say("b?")).text == "2"
        if told:
            assert (await ana.say("c?")).text == "3"
    await home.check("ana")


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"long say"}))  # a request is one too
async def test_cancelled_at_every_await(verb: str) -> None:
    home = await born()
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        whole = Interrupted(VERBS[verb](ana))
        await whole
    for at in range(1, whole.n_suspensions + 1):
        home = await born()
        before = await home.contents("ana")
        async with home.memory() as memory:
            ana = await memory.agent("ana")
            with pytest.raises(asyncio.CancelledError):
                await Interrupted(VERBS[verb](ana), at)
            # the same process goes on, and reads nothing twice
            if verb == "request":
                await VERBS[verb](ana)
            else:
                assert (await ana.say("a?")).text == "1"
        await assert_well(home, verb, before)


async def test_cancelled_at_any_await_and_done_again_ends_as_if_undisturbed() -> None:
    async def told_and_slept(ana: Agent) -> None:
        await ana.say("c=3 " + "x" * 220, request_id="r")
        await ana.sleep()

    async def ended(at: int | None) -> tuple[list[str], list[int], int]:
        home = await born()
        async with home.memory(policy=Never()) as memory:
            ana = await memory.agent("ana")
            life = Interrupted(told_and_slept(ana), at)
            with suppress(asyncio.CancelledError):
                await life
            await told_and_slept(ana)
        [row] = await home.log.threads("ana")
        episodes = await home.log.lineage("ana", "main")
        ids = await home.log.tokens(row.id, 0, episodes[-1].stop)
        snapshots = [episode.snapshot.digest for episode in episodes]
        return snapshots, ids, life.n_suspensions

    *expected, n_suspensions = await ended(None)
    assert n_suspensions > 50
    for at in range(1, n_suspensions + 1):
        assert (await ended(at))[:2] == tuple(expected), f"cancelled at {at}"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_failed_at_every_call_of_a_store(verb: str, when: str) -> None:
    """`after` is the failure that came when the write was already done."""
    at = 0
    while True:
        at += 1
        home = await born()
        before = await home.contents("ana")
        n_calls, has_failed = 0, False

        async def fail(name: str, moment: str, at: int = at) -> None:
            nonlocal n_calls, has_failed
            n_calls += moment == when
            if n_calls == at and moment == when and not has_failed:
                has_failed = True
                raise OSError(errno.EIO, "input/output error")

        async with home.memory() as memory:
            ana = await memory.agent("ana")
            home.log.hook = home.snapshots.hook = fail
            try:
                await VERBS[verb](ana)
            except (OSError, SleepmemError):
                assert has_failed
            home.log.hook = home.snapshots.hook = None
            assert (await ana.say("a?")).text == "1"
        if not has_failed:
            break
        await assert_well(home, verb, before)
    assert at > 4


@pytest.mark.parametrize(
    ("verb", "write"),
    [
        ("say", "finish"),
        ("long say", "commit_sleep"),
        ("observe", "stage"),
        ("sleep", "commit_sleep"),
    ],
)
async def test_commit_whose_answer_is_lost_is_looked_up(verb: str, write: str) -> None:
    home = await born()
    before = await home.contents("ana")
    n_lost = 0

    async def lose(name: str, moment: str) -> None:
        nonlocal n_lost
        if (name, moment) == (write, "after") and not n_lost:
            n_lost += 1
            raise StoreUnavailable("the connection is gone")

    async with home.memory() as memory:
        ana = await memory.agent("ana")
        home.log.hook = lose
        result = await VERBS[verb](ana)
        assert n_lost == 1
        if isinstance(result, SleepReport):
            assert result.outcome is Outcome.SLEPT
        home.log.hook = None
    await assert_well(home, verb, before)
    told = [content for content in await home.contents("ana") if content.startswith("c=3")]
    assert len(told) == {"observe": 2, "sleep": 0}.get(verb, 1)


async def test_commit_of_which_nothing_can_be_learnt_is_called_unknown() -> None:
    home = await born()
    is_gone = False

    async def leave(name: str, moment: str) -> None:
        nonlocal is_gone
        is_gone = is_gone or (name, moment) == ("commit_sleep", "after")
        if is_gone:
            raise StoreUnavailable("the connection is gone")

    async with home.memory() as memory:
        ana = await memory.agent("ana")
        home.log.hook = leave
        report = await ana.sleep()
        assert report.outcome is Outcome.FAILED
        assert "may be in the log or not" in (report.problem or "")
        home.log.hook = None
        assert (await ana.say("b?")).text == "2"


@pytest.mark.parametrize("verb", VERBS)
async def test_killed_at_every_call_of_a_store(verb: str) -> None:
    """The memory is left as it is, never closed; another process claims the agent."""
    at = 0
    while True:
        at += 1
        home = await born()
        before = await home.contents("ana")
        n_calls = 0

        async def die(name: str, moment: str, at: int = at) -> None:
            nonlocal n_calls
            n_calls += 1
            if n_calls >= at:
                raise asyncio.CancelledError

        memory = await home.memory().open()
        ana = await memory.agent("ana")
        home.log.hook = home.snapshots.hook = die
        try:
            await VERBS[verb](ana)
        except asyncio.CancelledError:
            home.log.hook = home.snapshots.hook = None
            home.clock.jump_s = LEASE_S  # no heartbeat comes from a process that was killed
            await assert_well(home, verb, before)
        else:
            break
        finally:
            home.log.hook = home.snapshots.hook = None
            await memory.aclose()
    assert at > 10


async def test_model_that_fails_leaves_no_state_behind() -> None:
    home = await born()
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("warm")

        def broken(*_: Any) -> list[int]:
            raise RuntimeError("no more")

        home.lm.next = broken  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await ana.say("x")
        del home.lm.next
        expected = await home.reply_to("ana", "so?")
        assert (await ana.say("so?")).text == expected
