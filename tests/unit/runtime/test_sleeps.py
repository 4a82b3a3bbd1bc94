from __future__ import annotations

import asyncio
import errno
import logging

import pytest
from home import HEARTBEAT, Home, Hooked, Never, until

from sleepmem.errors import (
    AgentNotFound,
    BranchNotFound,
    HeadMoved,
    MemoryFull,
    SleepmemError,
    StoreUnavailable,
    ThreadNotFound,
)
from sleepmem.policy import Idle, TaskBoundary, TokenBudget
from sleepmem.types import Head, Message, Outcome, Role, SleepReason, ToolCall

USER = Role.USER


async def test_sleep_reports_what_happened(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("the quick brown fox jumps over the lazy dog")
        report = await ana.sleep(passes=8)
        [episode] = await home.log.lineage("ana", "main")
        assert report.outcome is Outcome.SLEPT
        assert report.reason is SleepReason.ASKED
        assert (report.episode, report.n_tokens) == (episode.id, episode.n_tokens)
        assert report.snapshot == episode.snapshot
        assert report.numerics == home.lm.numerics
        assert report.measures is not None
        assert report.measures.first > report.measures.again > report.measures.cached
        assert report.measures.interference is None
        assert report.retention == pytest.approx(4.5 / 4.9, abs=0.05)
        assert report.ceiling == report.measures.first - report.measures.cached
        assert (await ana.stats()).n_tokens == 0


async def test_sleep_is_logged_with_its_measures(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sleepmem")
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("the quick brown fox jumps over the lazy dog")
        report = await ana.sleep()
    [told] = [record for record in caplog.records if "sleep ended" in record.getMessage()]
    assert told.__dict__["retention"] == report.retention
    assert told.__dict__["ceiling"] == report.ceiling


async def test_more_passes_retain_more(home: Home) -> None:
    found = []
    for passes in (1, 4, 8):
        async with home.memory() as memory:
            agent = await memory.agent(f"agent-{passes}")
            await agent.say("the quick brown fox jumps over the lazy dog")
            found.append((await agent.sleep(passes=passes)).retention)
    assert found == sorted(found)
    assert len(set(found)) == 3


async def test_interference_is_measured_on_earlier_episodes(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for n in range(7):
            await ana.say(f"number {n} is a story of its own {n * 7919}")
            report = await ana.sleep(passes=8)
            assert report.measures is not None
            assert (report.measures.interference is None) == (n == 0)


async def test_sleep_without_a_message_to_score_has_no_measures(home: Home) -> None:
    async with home.memory(retention_floor=2.0) as memory:
        ana = await memory.agent("ana")
        await ana.observe(Message(role=Role.ASSISTANT, content="I talk to myself"))
        report = await ana.sleep()
        assert report.outcome is Outcome.SLEPT
        assert report.measures is None


async def test_short_episode_has_nothing_to_do(home: Home) -> None:
    async with home.memory(min_tokens=16) as memory:
        ana = await memory.agent("ana")
        assert (await ana.sleep()).outcome is Outcome.NOTHING_TO_DO
        await ana.observe("hi")
        report = await ana.sleep()
        assert report.outcome is Outcome.NOTHING_TO_DO
        assert report.snapshot is None
        assert [a.outcome for a in home.log.attempts] == [Outcome.NOTHING_TO_DO] * 2
        plan = await ana.plan()
        assert (plan.would_sleep, plan.token_passes) == (False, 0)
        assert (await ana.sleep(force=True)).outcome is Outcome.SLEPT
        assert (await ana.sleep(force=True)).outcome is Outcome.NOTHING_TO_DO


async def test_plan_says_what_sleep_would_do(home: Home) -> None:
    async with home.memory(policy=TokenBudget(30) | TaskBoundary()) as memory:
        ana = await memory.agent("ana")
        await ana.observe("hello there")
        plan = await ana.plan(passes=3)
        assert plan.would_sleep
        assert plan.reason is SleepReason.ASKED
        assert (plan.n_tokens, plan.n_turns, plan.passes) == (13, 1, 3)
        assert plan.token_passes == 39
        assert home.log.attempts == []


async def test_plan_of_a_memory_claims_nobody(home: Home) -> None:
    async with home.memory() as memory, home.memory() as looker:
        ana = await memory.agent("ana")
        await ana.observe("hello there")
        assert await looker.plan("ana", passes=3) == await ana.plan(passes=3)
        with pytest.raises(ThreadNotFound):
            await looker.plan("ana", thread="never used")
        await ana.say("still mine")
        with pytest.raises(AgentNotFound):
            await looker.plan("bob")
        with pytest.raises(BranchNotFound):
            await looker.plan("ana", branch="other")


async def test_token_budget_sleeps_after_the_turn(home: Home) -> None:
    async with home.memory(policy=TokenBudget(40)) as memory:
        ana = await memory.agent("ana")
        assert (await ana.say("pet=rex")).sleeps == ()
        reply = await ana.say("and now for something longer")
        assert [report.reason for report in reply.sleeps] == [SleepReason.TOKEN_BUDGET]
        assert reply.slept
        assert (await ana.stats()).n_tokens == 0
        assert (await ana.say("pet?")).text == "rex"
        reports = await ana.observe("x" * 50)
        assert [report.outcome for report in reports] == ["slept"]


async def test_end_of_a_task_sleeps(home: Home) -> None:
    async with home.memory(policy=TaskBoundary()) as memory:
        ana = await memory.agent("ana")
        assert await ana.end_task() is None
        assert (await ana.say("pet=rex and more")).sleeps == ()
        report = await ana.end_task()
        assert report is not None
        assert (report.reason, report.outcome) == (SleepReason.TASK_BOUNDARY, Outcome.SLEPT)
    async with home.memory(policy=TokenBudget(999)) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex and more")
        assert await ana.end_task() is None


async def test_policies_wait_for_an_open_tool_call(home: Home) -> None:
    call = Message(role=Role.ASSISTANT, content="", tool_calls=(ToolCall(id="c", name="f"),))
    async with home.memory(policy=TokenBudget(1)) as memory:
        ana = await memory.agent("ana")
        assert await ana.observe([Message(role=USER, content="look it up"), call]) == ()
        assert await ana.end_task() is None
        assert len(memory._open_house().idle) == 0
        answer = Message(role=Role.TOOL, content="42", tool_call_id="c")
        assert (await ana.say(answer)).slept


async def test_policy_that_ignores_tool_calls_is_not_asked(home: Home) -> None:
    class Eager(Never):
        def decide(self, stats: object) -> SleepReason:  # type: ignore[override]
            return SleepReason.TOKEN_BUDGET

        def wait_s(self, stats: object) -> float:  # type: ignore[override]
            return 1.0

    call = Message(role=Role.ASSISTANT, content="", tool_calls=(ToolCall(id="c", name="f"),))
    async with home.memory(policy=Eager()) as memory:
        ana = await memory.agent("ana")
        assert await ana.observe([Message(role=USER, content="look it up"), call]) == ()
        assert await ana.end_task() is None
        assert home.clock.n_sleepers == HEARTBEAT
        assert await ana.observe("never mind")


async def test_idle_agent_sleeps_by_itself(home: Home) -> None:
    async with home.memory(policy=Idle(30) & TokenBudget(10)) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(20)
        await ana.say("still there")
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(29)
        await asyncio.sleep(0)
        assert (await ana.stats()).idle_s == 29
        assert home.log.attempts == []
        home.clock.advance(1)
        await until(lambda: bool(home.log.attempts))
        assert [a.reason for a in home.log.attempts] == [SleepReason.IDLE]
        assert (await ana.say("pet?")).text == "rex"
        assert len(memory._open_house().idle) == 1
    assert home.clock.n_sleepers == 0


async def test_idle_sleep_that_fails_is_told_and_not_repeated(home: Home) -> None:
    async def fail(name: str, when: str) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    home.snapshots = Hooked(home.snapshots, fail)
    async with home.memory(policy=Idle(30)) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(31)
        await until(lambda: bool(home.log.attempts))
        assert home.log.attempts[0].outcome is Outcome.FAILED
        assert "no space left" in home.log.attempts[0].problem
        await until(lambda: not memory._open_house().idle)
        assert (await ana.say("pet?")).text == "rex"


async def test_idle_time_after_a_restart_comes_from_the_log(home: Home) -> None:
    async with home.memory() as memory:
        await (await memory.agent("ana")).say("hello")
    home.clock.advance(50)
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        assert (await ana.stats()).idle_s == 50
        home.clock.jump_s = -1e6
        assert (await ana.stats()).idle_s == 0


async def test_failed_put_keeps_everything(home: Home) -> None:
    async def fail(name: str, when: str) -> None:
        raise OSError(errno.EIO, "fsync failed")

    stored, home.snapshots = home.snapshots, Hooked(home.snapshots, fail)
    async with home.memory(policy=TokenBudget(20)) as memory:
        ana = await memory.agent("ana")
        reply = await ana.say("pet=rex and more")
        assert reply.text
        assert [report.outcome for report in reply.sleeps] == [Outcome.FAILED]
        report = await ana.sleep()
        assert report.outcome is Outcome.FAILED
        assert report.problem is not None
        assert "fsync failed" in report.problem
        assert report.snapshot is None
        assert len(memory._open_house()._parts.residents) == 1
        assert await home.log.head("ana", "main") == Head(episode=None, snapshot=None)
        home.snapshots.hook = None
        assert (await ana.say("pet?")).text == "rex"
    outcomes = [a.outcome for a in home.log.attempts]
    assert outcomes == [Outcome.FAILED, Outcome.FAILED, Outcome.SLEPT]
    home.snapshots = stored
    await home.check("ana")


async def test_failed_sleep_that_the_window_needs_is_an_error(home: Home) -> None:
    async def fail(name: str, when: str) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    home.snapshots = Hooked(home.snapshots, fail)
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex " + "x" * 100)
        with pytest.raises(SleepmemError, match="no space left"):
            await ana.say("y" * 100)
        assert (await home.contents("ana"))[0].startswith("pet=rex")
        home.snapshots.hook = None
        assert (await ana.say("y" * 100)).slept
        assert (await ana.say("pet?")).text == "rex"


async def test_sleep_under_the_floor_is_rejected_and_changes_nothing(home: Home) -> None:
    async with home.memory(policy=Never(), retention_floor=0.7, passes=1) as memory:
        ana = await memory.agent("ana")
        await ana.say("the quick brown fox, pet=rex")
        report = await ana.sleep()
        assert report.outcome is Outcome.REJECTED
        assert report.problem is not None
        assert "under the floor" in report.problem
        assert await home.log.lineage("ana", "main") == []
        expected = await home.reply_to("ana", "so?")
        assert (await ana.say("so?")).text == expected
        assert (await ana.sleep(passes=8)).outcome is Outcome.SLEPT


@pytest.mark.parametrize(
    ("floor", "outcome"),
    [(None, Outcome.REJECTED), (0.1, Outcome.SLEPT), (float("-inf"), Outcome.SLEPT)],
)
async def test_floor_of_the_model_holds_unless_another_is_given(
    home: Home, floor: float | None, outcome: Outcome
) -> None:
    home.lm.retention_floor = 0.7
    async with home.memory(policy=Never(), retention_floor=floor, passes=1) as memory:
        ana = await memory.agent("ana")
        await ana.say("the quick brown fox, pet=rex")
        assert (await ana.sleep()).outcome is outcome


async def test_full_window_tries_doubled_passes_once(home: Home) -> None:
    async with home.memory(policy=Never(), retention_floor=0.8, passes=4) as memory:
        ana = await memory.agent("ana")
        await ana.say("the quick brown fox jumps over the lazy dog, pet=rex")
        reply = await ana.say("x" * 130)
        outcomes = [(report.outcome.value, report.passes) for report in reply.sleeps]
        assert outcomes == [("rejected", 4), ("slept", 8)]
        assert (await ana.say("pet?")).text == "rex"


async def test_memory_that_is_full_takes_no_message_until_forced(home: Home) -> None:
    async with home.memory(policy=Never(), retention_floor=2.0) as memory:
        ana = await memory.agent("ana")
        await ana.say("the quick brown fox jumps over the lazy dog, pet=rex")
        for _ in range(2):
            with pytest.raises(MemoryFull) as caught:
                await ana.say("x" * 130)
            assert "--force" in caught.value.hint
        with pytest.raises(MemoryFull):
            await ana.observe("x" * 150)
        assert len(home.log.attempts) == 2, "what was rejected twice is not tried again"
        assert await home.contents("ana", "staged") == []
        assert (await ana.say("pet?")).text == "rex", "what fits is still answered"
        assert (await ana.sleep()).outcome is Outcome.REJECTED
        assert (await ana.sleep(force=True)).outcome is Outcome.SLEPT
        assert (await ana.say("x" * 130)).text
        assert (await ana.say("pet?")).text == "rex"
    await home.check("ana")


async def test_observed_book_whose_sleep_is_rejected_is_kept_and_told(home: Home) -> None:
    messages = [Message(role=USER, content=f"chapter {n} of many " + "x" * 60) for n in range(6)]
    async with home.memory(policy=Never(), retention_floor=2.0) as memory:
        ana = await memory.agent("ana")
        reports = await ana.observe(messages)
        assert [report.outcome for report in reports] == [Outcome.REJECTED] * 2
        with pytest.raises(MemoryFull):
            await ana.say("hello")
        report = await ana.sleep(force=True)
        assert report.outcome is Outcome.SLEPT
        assert (await ana.stats()).n_tokens == 0
        assert (await ana.say("hello")).text
    assert len(await home.contents("ana")) == 8
    await home.check("ana")


async def test_head_that_moves_during_a_sleep_supersedes_it(home: Home) -> None:
    moved = Head(episode="elsewhere", snapshot="0" * 64)

    async def move(name: str, when: str) -> None:
        if (name, when) == ("put", "before"):
            agent = home.log._agents["ana"]
            agent.heads["main"] = moved

    home.snapshots = Hooked(home.snapshots, move)
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex " + "x" * 100)
        report = await ana.sleep()
        assert report.outcome is Outcome.SUPERSEDED
        assert report.snapshot is None
        assert home.log.attempts[-1].outcome is Outcome.SUPERSEDED
        home.log._agents["ana"].heads["main"] = Head(episode=None, snapshot=None)
        with pytest.raises(HeadMoved):
            await ana.say("y" * 100)
        home.log._agents["ana"].heads["main"] = Head(episode=None, snapshot=None)
        home.snapshots.hook = None
        assert (await ana.say("pet?")).text == "rex"
        assert (await ana.sleep()).outcome is Outcome.SLEPT


async def test_attempt_that_cannot_be_recorded_is_still_told(home: Home) -> None:
    async def fail(name: str, when: str) -> None:
        if name == "record_attempt":
            raise StoreUnavailable("locked")

    home.log = Hooked(home.log, fail)
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        assert (await ana.sleep()).outcome is Outcome.NOTHING_TO_DO


async def test_snapshot_that_is_corrupt_is_named_and_nothing_is_lost(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        report = await ana.sleep()
        assert report.snapshot is not None
        digest = report.snapshot.digest
        kept = home.snapshots.data["ana", digest]
        home.snapshots.data["ana", digest] = kept[:-1]
        with pytest.raises(SleepmemError, match=digest):
            await ana.say("pet?")
        home.snapshots.data["ana", digest] = kept
        assert (await ana.say("pet?")).text == "rex"
