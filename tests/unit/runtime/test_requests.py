"""`request_id`: a call made twice is lived once."""

from __future__ import annotations

import asyncio

import pytest
from home import Home, Hooked

from sleepmem.errors import Conflict, WindowExceeded


async def test_done_request_returns_the_stored_reply(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        first = await ana.say("hello", request_id="r1")
        await ana.say("something else")
        again = await ana.say("hello", request_id="r1")
        assert (again.text, again.node_id) == (first.text, first.node_id)
        assert (again.n_tokens, again.finish_reason) == (first.n_tokens, first.finish_reason)
        assert (await ana.stats()).n_turns == 2
        stream = ana.stream("hello", request_id="r1")
        assert "".join([piece async for piece in stream]) == first.text
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        assert (await ana.say("hello", request_id="r1")).text == first.text
    assert (await home.contents("ana")).count("hello") == 1


@pytest.mark.parametrize("text", ["pet=rex", "pet=rex " + "x" * 500])
async def test_staged_request_is_resumed_after_a_restart(home: Home, text: str) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("before")
        stream = ana.stream(text, request_id="r1")
        await anext(stream)
        await stream.aclose()
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        reply = await ana.say(text, request_id="r1")
        assert reply.text
        assert (await ana.say("pet?")).text == "rex"
        async for replayed in memory.replay("ana", verify=True):
            assert replayed.verified
    assert (await home.contents("ana")).count(text) == 1
    assert await home.contents("ana", "abandoned") == []
    await home.check("ana")


async def test_resumed_request_gives_the_uninterrupted_reply(home: Home) -> None:
    other = Home()
    async with home.memory() as memory, other.memory() as smooth:
        ana = await memory.agent("ana")
        stream = ana.stream("tell me", request_id="r1")
        await anext(stream)
        await stream.aclose()
        resumed = await ana.say("tell me", request_id="r1")
        assert resumed.text == (await (await smooth.agent("ana")).say("tell me")).text


async def test_resume_in_the_middle_of_a_long_message_reads_nothing_twice(home: Home) -> None:
    n_sleeps = 0

    async def die(name: str, when: str) -> None:
        nonlocal n_sleeps
        if (name, when) == ("commit_sleep", "after"):
            n_sleeps += 1
            if n_sleeps == 2:
                raise asyncio.CancelledError

    text = "pet=rex " + "x" * 700
    log = home.log
    home.log = Hooked(log, die)
    async with home.memory() as memory:
        with pytest.raises(asyncio.CancelledError):
            await (await memory.agent("ana")).say(text, request_id="r1")
    home.log = log
    assert len(await log.lineage("ana", "main")) == 2
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say(text, request_id="r1")
        await ana.sleep()
    smooth = Home()
    async with smooth.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say(text)
        await ana.sleep()
    assert home.lm.dump(await home.derived("ana")) == home.lm.dump(await smooth.derived("ana"))
    await home.check("ana")


async def test_request_of_an_abandoned_turn_begins_anew(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        stream = ana.stream("hello", request_id="r1")
        await anext(stream)
        await stream.aclose()
        await ana.say("never mind")
        assert (await ana.say("hello", request_id="r1")).text
        assert await home.contents("ana", "abandoned") == ["hello"]
        assert (await home.contents("ana"))[2] == "hello"


async def test_request_of_another_thread_is_a_conflict(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("hello", request_id="r1")
        with pytest.raises(Conflict, match="another thread"):
            await ana.thread("other").say("hello", request_id="r1")


async def test_same_request_made_at_once_is_lived_once(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        replies = await asyncio.gather(*(ana.say("hello", request_id="r1") for _ in range(4)))
        assert len({reply.node_id for reply in replies}) == 1
        assert (await ana.stats()).n_turns == 1


async def test_resume_with_more_tokens_than_the_window_holds_is_refused_and_stays_staged(
    home: Home,
) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        stream = ana.stream("hello", request_id="r1")
        await anext(stream)
        await stream.aclose()
        with pytest.raises(WindowExceeded):
            await ana.say("hello", request_id="r1", max_tokens=home.lm.window)
        assert (await ana.say("hello", request_id="r1")).text
    assert home.log.attempts == []
    assert await home.contents("ana", "abandoned") == []
