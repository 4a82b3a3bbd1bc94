from __future__ import annotations

import asyncio
import gc

import pytest
from home import Home, Hooked, Never

from sleepmem.errors import (
    ConfigError,
    InvalidMessage,
    MisuseError,
    NotOpen,
    ThreadBusy,
    WindowExceeded,
)
from sleepmem.types import FinishReason, Message, Role, Sampling, SleepReason, ToolCall


async def test_say_answers_and_logs_exactly_what_was_read(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        expected = await home.reply_to("ana", "hello")
        reply = await ana.say("hello")
    assert reply.text == expected
    assert reply.finish_reason is FinishReason.STOP
    assert not reply.slept
    [row] = await home.log.threads("ana")
    asked = home.lm.encode(Message(role=Role.USER, content="hello"))
    answered = home.lm.encode(Message(role=Role.ASSISTANT, content=expected))
    open_ = await home.log.open_episode(row)
    assert list(open_.token_ids) == asked + answered
    assert reply.n_tokens == len(answered) - len(home.lm.reply_prefix())
    assert reply.n_window == len(asked)
    assert reply.node_id == open_.turns[0].id


async def test_second_turn_reads_on_where_the_first_ended(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        assert (await ana.say("pet?")).text == "rex"
        expected = await home.reply_to("ana", "and more")
        assert (await ana.say("and more")).text == expected


async def test_restart_answers_the_same(home: Home) -> None:
    async with home.memory() as memory:
        await (await memory.agent("ana")).say("pet=rex")
    expected = await home.reply_to("ana", "so?")
    async with home.memory() as memory:
        assert (await (await memory.agent("ana")).say("so?")).text == expected


async def test_paged_out_thread_answers_the_same(home: Home) -> None:
    async with home.memory(resident=1) as memory:
        ana = await memory.agent("ana")
        for n in range(3):
            for name in ("main", "other"):
                expected = await home.reply_to("ana", f"turn {n}", name)
                assert (await ana.thread(name).say(f"turn {n}")).text == expected


async def test_system_prompt_is_read_first_and_never_slept_on(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        thread = ana.thread("work", system="be brief")
        await thread.stats()
        expected = await home.reply_to("ana", "hello", "work")
        reply = await thread.say("hello")
        assert reply.text == expected
        system = home.lm.encode(Message(role=Role.SYSTEM, content="be brief"))
        asked = home.lm.encode(Message(role=Role.USER, content="hello"))
        assert reply.n_window == len(system) + len(asked)
        await thread.sleep()
        [episode] = await home.log.lineage("ana", "main")
        ids = await home.log.tokens(episode.thread_id, episode.start, episode.stop)
        assert ids[: len(asked)] == asked
        # a new prompt replaces the old one from the next call on
        other = ana.thread("work", system="be long")
        await other.stats()
        expected = await home.reply_to("ana", "hello", "work")
        assert (await thread.say("hello")).text == expected
        # also when the thread is awake
        ana.thread("work", system="be short")
        await other.stats()
        expected = await home.reply_to("ana", "hello again", "work")
        assert (await thread.say("hello again")).text == expected


async def test_max_tokens_cuts_the_reply_and_closes_the_message(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        reply = await ana.say("hello", max_tokens=2)
    assert len(reply.text) == 2
    assert reply.finish_reason is FinishReason.LENGTH
    [row] = await home.log.threads("ana")
    assert (await home.log.open_episode(row)).token_ids[-1] in home.lm.stop_ids


async def test_stop_string_cuts_the_text_never_the_ids(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=abcdef")
        reply = await ana.say("pet?", stop=["de"])
        assert reply.text == "abc"
        assert reply.finish_reason is FinishReason.STOP
        [row] = await home.log.threads("ana")
        ids = (await home.log.open_episode(row)).token_ids
        assert bytes(ids[-6:-1]) == b"abcde"
        expected = await home.reply_to("ana", "go on")
        assert (await ana.say("go on")).text == expected


async def test_bad_arguments_are_refused_before_anything_is_written(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for message in ("", "  ", "a\0b", "\ud800"):
            with pytest.raises(InvalidMessage):
                await ana.say(message)
            with pytest.raises(InvalidMessage):
                await ana.observe(message)
        with pytest.raises(ConfigError):
            await ana.say("x", max_tokens=0)
        with pytest.raises(ConfigError):
            await ana.say("x", stop=[""])
        with pytest.raises(ConfigError, match="not dict"):
            await ana.say("x", sampling={"seed": 1})  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="not int"):
            ana.thread("work", system=1)  # type: ignore[arg-type]
        with pytest.raises(ConfigError):
            await ana.say("x", request_id="")
        with pytest.raises(ConfigError):
            await ana.sleep(passes=0)
        with pytest.raises(InvalidMessage):
            ana.thread("x", system="a\0")
        with pytest.raises(ConfigError):
            await memory.agent("ana/main")
    assert await home.contents("ana") == []


async def test_window_that_the_system_prompt_fills_is_an_error(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        with pytest.raises(WindowExceeded):
            await ana.say("x", max_tokens=home.lm.window - 2)
        with pytest.raises(WindowExceeded):
            await ana.thread("t", system="s" * home.lm.window).observe("x")
        assert await home.contents("ana") == []
        assert (await ana.say("x", max_tokens=home.lm.window - 3)).text


async def test_full_window_sleeps_first(home: Home) -> None:
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        told = "x" * 60 + " pet=rex"
        assert (await ana.say(told)).sleeps == ()
        assert (await ana.say("y" * 60)).sleeps == ()
        reply = await ana.say("z" * 60)
        assert [report.reason for report in reply.sleeps] == [SleepReason.WINDOW]
        assert reply.slept
        [episode] = await home.log.lineage("ana", "main")
        assert episode.start == 0
        # the whole of what was there before slept, the new message is in the window
        assert (await ana.stats()).n_turns == 1
        assert (await ana.say("pet?")).text == "rex"
    await home.check("ana")


async def test_long_message_is_read_and_slept_in_pieces(home: Home) -> None:
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.say("before")
        reply = await ana.say("a=1 " + "word " * 150 + " b=2")
        assert len(reply.sleeps) >= 4
        assert (await ana.sleep()).outcome == "slept"
        expected = await home.reply_to("ana", "and?")
        assert (await ana.say("and?")).text == expected
        assert (await ana.say("b?")).text == "2"
        assert (await ana.say("a?")).text == "1"
        async for replayed in memory.replay("ana", verify=True):
            assert replayed.verified
    await home.check("ana")
    assert len(await home.contents("ana")) == 10


async def test_observe_lives_through_messages_in_one_commit(home: Home) -> None:
    commits: list[str] = []

    async def count(name: str, when: str) -> None:
        if when == "after" and name in {"stage", "finish"}:
            commits.append(name)

    home.log = Hooked(home.log, count)
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        reports = await ana.observe(
            [
                Message(role=Role.USER, content="pet=rex"),
                Message(role=Role.ASSISTANT, content="noted"),
            ]
        )
        assert reports == ()
        assert commits == ["stage"]
        assert (await ana.say("pet?")).text == "rex"


async def test_observed_book_sleeps_at_message_borders(home: Home) -> None:
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        messages = [Message(role=Role.USER, content=f"k{n}=v{n} " + "x" * 40) for n in range(30)]
        reports = await ana.observe(messages)
        assert all(report.outcome == "slept" for report in reports)
        assert len(reports) >= 6
        assert all(
            report.n_tokens % len(home.lm.encode(messages[0])) == 0 for report in reports[:1]
        )
        expected = await home.reply_to("ana", "k3?")
        assert expected == "v3"
        assert (await ana.say("k3?")).text == expected
    await home.check("ana")


@pytest.mark.parametrize("verb", ["sleep", "end_task"])
async def test_observe_interrupted_before_its_sleeps_sleeps_at_the_next_call(
    home: Home, verb: str
) -> None:
    """The messages are committed; a kill before the sleeps leaves an episode over the window."""

    async def die(name: str, when: str) -> None:
        if (name, when) == ("stage", "after"):
            raise asyncio.CancelledError

    plain, home.log = home.log, Hooked(home.log, die)
    async with home.memory(policy=Never()) as memory:
        with pytest.raises(asyncio.CancelledError):
            await (await memory.agent("ana")).observe("pet=rex " + "x" * 500)
    home.log = plain
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        assert (await ana.stats()).n_tokens > home.lm.window
        report = await (ana.sleep() if verb == "sleep" else ana.end_task())
        assert report is not None
        assert report.outcome == "slept"
        assert (await ana.stats()).n_tokens < home.lm.window
        assert (await ana.say("pet?")).text == "rex"
    await home.check("ana")


async def test_stream_yields_what_say_returns(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        stream = ana.stream("pet?")
        with pytest.raises(MisuseError):
            _ = stream.reply
        pieces = [piece async for piece in stream]
        assert len(pieces) == 3
        assert "".join(pieces) == stream.reply.text == "rex"


async def test_last_piece_comes_when_the_turn_is_durable(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        stream = ana.stream("pet?")
        seen = [(piece, "rex" in await home.contents("ana")) async for piece in stream]
        assert seen == [("r", False), ("e", False), ("x", True)]


@pytest.mark.parametrize("how", ["closed", "forgotten", "unread"])
async def test_abandoned_stream_aborts_its_turn(home: Home, how: str) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        expected = await home.reply_to("ana", "next")
        stream = ana.stream("tell me")
        if how != "unread":
            await anext(stream)
        if how == "closed":
            await stream.aclose()
        else:
            del stream
            gc.collect()
        assert (await ana.say("next")).text == expected
        abandoned = await home.contents("ana", "abandoned")
        assert abandoned == ([] if how == "unread" else ["tell me"])
    await home.check("ana")


async def test_calls_on_one_thread_queue(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        replies = await asyncio.gather(*(ana.say(f"n{n}=v{n}") for n in range(6)))
    assert len({reply.text for reply in replies}) == 6
    assert (await home.contents("ana"))[::2] == [f"n{n}=v{n}" for n in range(6)]


async def test_queue_has_a_timeout(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        stream = ana.stream("hello")
        await anext(stream)
        impatient = ana.thread()._live
        object.__setattr__(impatient.parts.defaults, "wait_s", 0.0)
        with pytest.raises(ThreadBusy):
            await ana.say("me too")
        await stream.aclose()
        assert (await ana.say("me too")).text


async def test_threads_run_side_by_side_on_one_memory(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        one, two = ana.thread("one"), ana.thread("two")
        await asyncio.gather(one.say("pet=rex"), two.say("car=red"))
        assert (await one.say("car?")).text == "unknown"
        await one.sleep()
        await two.sleep()
        first, second = await home.log.lineage("ana", "main")
        assert second.parent == first.id
        assert second.woke_from is None, "it was awake on the blank weights"
        for thread in (one, two):
            assert (await thread.say("car?")).text == "red"
            assert (await thread.say("pet?")).text == "rex"
    await home.check("ana")


async def test_head_that_moved_is_woken_from(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        one, two = ana.thread("one"), ana.thread("two")
        await two.say("before")
        await one.say("pet=rex")
        await one.sleep()
        expected = await home.reply_to("ana", "so?", "two")
        assert (await two.say("so?")).text == expected
        assert (await two.say("pet?")).text == "rex"


async def test_unanswered_tool_call_is_read_again_after_a_sleep(home: Home) -> None:
    call = Message(
        role=Role.ASSISTANT, content="look", tool_calls=(ToolCall(id="c1", name="find"),)
    )
    answer = Message(role=Role.TOOL, content="x" * 80, tool_call_id="c1")
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.observe([Message(role=Role.USER, content="y" * 60), call])
        assert (await ana.stats()).open_tool_calls == 1
        reply = await ana.say(answer)
        assert reply.slept
        carried, came = home.lm.encode(call), home.lm.encode(answer)
        assert reply.n_window == len(carried) + len(came)
        state = home.lm.wake(await home.derived("ana"))
        home.lm.read(state, carried + came + home.lm.reply_prefix())
        assert reply.text.startswith(chr(home.lm.next([state], [Sampling()])[0]))
        assert (await ana.stats()).open_tool_calls == 0
        await ana.sleep()
        *_, last = await home.log.lineage("ana", "main")
        ids = await home.log.tokens(last.thread_id, last.start, last.stop)
        assert ids[: len(came)] == came, "what was slept on once is not slept on again"
    await home.check("ana")


async def test_closed_memory_is_not_open(home: Home) -> None:
    memory = home.memory()
    with pytest.raises(NotOpen):
        await memory.agents()
    async with memory:
        ana = await memory.agent("ana")
        await ana.say("hello")
        stream = ana.stream("more")
        await anext(stream)
    with pytest.raises(NotOpen):
        await anext(stream)
    for call in (ana.say("x"), ana.observe("x"), ana.sleep(), ana.end_task(), ana.stats()):
        with pytest.raises(NotOpen):
            await call
    with pytest.raises(NotOpen):
        await memory.agent("ana")
    with pytest.raises(NotOpen):
        _ = memory.lm
    await memory.aclose()


async def test_nothing_is_left_running(home: Home) -> None:
    async with home.memory() as memory:
        await (await memory.agent("ana")).say("hello")
    assert asyncio.all_tasks() == {asyncio.current_task()}
