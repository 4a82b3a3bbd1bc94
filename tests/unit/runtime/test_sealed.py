"""What a sealed episode changes for turns, policies and claims until its sleep is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from home import HEARTBEAT, Gate, Home, Hooked, Never, until

from sleepmem.errors import LeaseLost
from sleepmem.events import Event, SleepFinished, SleepStarted, Woken
from sleepmem.policy import Idle, TaskBoundary, TokenBudget
from sleepmem.testing import FakeSleepLM
from sleepmem.testing.fake_model import FakeWakeState
from sleepmem.types import Message, Outcome, Reply, Role, SleepReason


async def settled() -> None:
    """Let everything run that waits for nothing but its turn."""
    for _ in range(300):
        await asyncio.sleep(0)


async def lived_with_commit_at(at: int) -> int:
    """Commit a sleep at the `at`-th call that a turn makes to the log; return how many it made."""
    gate, seen, home = Gate(), list[str](), Home()
    log, snapshots = home.log, home.snapshots
    saying: asyncio.Task[Reply] | None = None

    async def commit(name: str, when: str) -> None:
        if asyncio.current_task() is not saying:
            return
        seen.append(name)
        if len(seen) == at:
            gate.open()
            await until(lambda: log._agents["ana"].heads["main"].episode is not None)

    home.log, home.snapshots = Hooked(log, commit), Hooked(snapshots, gate)
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        sleeping = asyncio.create_task(ana.sleep())
        await until(lambda: gate.n_reached == 1)
        saying = asyncio.create_task(ana.say("pet?"))
        assert (await saying).text == "rex"
        gate.open()
        assert (await sleeping).outcome is Outcome.SLEPT
        home.log, home.snapshots = log, snapshots
        [row] = await log.threads("ana")
        kept = ana._parts.residents.take(row)
        if kept is not None and kept.head == await log.head("ana", "main"):
            expected = home.lm.wake(await home.derived("ana"))
            home.lm.read(expected, (await log.open_episode(row)).token_ids)
            assert kept.state == expected
    await home.check("ana")
    return len(seen)


async def test_sleep_committed_at_any_call_of_a_turn_loses_and_doubles_nothing() -> None:
    n_calls = await lived_with_commit_at(0)
    assert n_calls >= 8
    for at in range(1, n_calls + 1):
        assert await lived_with_commit_at(at) >= at


async def test_turn_during_an_idle_sleep_does_not_end_it(home: Home) -> None:
    gate, told = Gate(), list[Event]()
    home.snapshots = Hooked(home.snapshots, gate)
    async with home.memory(policy=Idle(30), on_event=told.append) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(30)
        await until(lambda: gate.n_reached == 1)
        await ana.say("car=red")
        await settled()
        gate.open()
        await until(lambda: any(isinstance(event, SleepFinished) for event in told))
        [episode] = await home.log.lineage("ana", "main")
        assert episode.reason is SleepReason.IDLE
        assert (await ana.stats()).n_turns == 1
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(30)
        await until(lambda: len(home.log.attempts) == 2)
    assert [a.outcome for a in home.log.attempts] == [Outcome.SLEPT] * 2
    assert sum(isinstance(event, SleepStarted) for event in told) == 2
    home.snapshots = home.snapshots._inner
    await home.check("ana")


async def test_idle_thread_sleeps_on_what_another_sleep_left_open(home: Home) -> None:
    gate = Gate()
    home.snapshots = Hooked(home.snapshots, gate)
    async with home.memory(policy=Idle(30)) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        asked = asyncio.create_task(ana.sleep())
        await until(lambda: gate.n_reached == 1)
        await ana.say("car=red")
        await until(lambda: home.clock.n_sleepers == HEARTBEAT + 1)
        home.clock.advance(30)
        await settled()
        gate.open()
        assert (await asked).outcome is Outcome.SLEPT
        await until(lambda: len(home.log.attempts) == 2)
        assert [a.reason for a in home.log.attempts] == [SleepReason.ASKED, SleepReason.IDLE]
        assert (await ana.stats()).n_tokens == 0


async def test_task_that_ends_during_a_sleep_is_slept_on_after_it(home: Home) -> None:
    gate = Gate()
    home.snapshots = Hooked(home.snapshots, gate)
    async with home.memory(policy=TaskBoundary()) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        asked = asyncio.create_task(ana.sleep())
        await until(lambda: gate.n_reached == 1)
        await ana.say("car=red")
        ended = asyncio.create_task(ana.end_task())
        await settled()
        gate.open()
        assert (await asked).outcome is Outcome.SLEPT
        report = await ended
        assert report is not None
        assert (report.outcome, report.reason) == (Outcome.SLEPT, SleepReason.TASK_BOUNDARY)
        assert (await ana.stats()).n_tokens == 0


async def test_policy_that_got_its_sleep_does_not_hold_the_replies_beside_it(home: Home) -> None:
    gate = Gate()
    home.snapshots = Hooked(home.snapshots, gate)
    async with home.memory(policy=TokenBudget(0.25)) as memory:
        ana = await memory.agent("ana")
        first = asyncio.create_task(ana.say("pet=rex " + "x" * 60))
        await until(lambda: gate.n_reached == 1)
        assert (await ana.say("pet?")).text == "rex"
        assert not first.done()
        gate.open()
        assert (await first).slept
        assert (await ana.say("pet?")).text == "rex"


async def test_claimed_elsewhere_and_back_a_sleep_begun_before_is_not_committed(
    home: Home,
) -> None:
    """What it was sealed on need not be in the log any more."""
    home.lm = FakeSleepLM(window=100)
    gate = Gate()
    home.snapshots = Hooked(home.snapshots, gate)
    async with home.memory(policy=Never()) as ours, home.memory(policy=Never()) as theirs:
        ana = await ours.agent("ana")
        saying = asyncio.create_task(ana.say("pet=rex " + "x" * 200))
        await until(lambda: gate.n_reached == 1)
        await (await theirs.agent("ana", take_over=True)).observe("y" * 80)
        with pytest.raises(LeaseLost):
            await ana.thread("other").observe("x")
        again = await ours.agent("ana", take_over=True)
        gate.open()
        with pytest.raises(LeaseLost):
            await saying
        assert await home.log.lineage("ana", "main") == []
        # that an old claim is gone says nothing about the new one
        assert (await again.sleep()).outcome is Outcome.SLEPT
    home.snapshots = home.snapshots._inner
    await home.check("ana")


async def test_thread_that_was_not_awake_since_woke_from_the_parent(home: Home) -> None:
    async with home.memory(policy=Never()) as ours, home.memory(policy=Never()) as theirs:
        await (await ours.agent("ana")).say("pet=rex")
        other = await theirs.agent("ana", take_over=True)
        assert (await other.sleep()).outcome is Outcome.SLEPT
        await other.say("car=red")
        with pytest.raises(LeaseLost):
            await (await ours.agent("ana")).observe("x")
        ours_again = await ours.agent("ana", take_over=True)
        assert (await ours_again.sleep()).outcome is Outcome.SLEPT
    first, second = await home.log.lineage("ana", "main")
    assert second.woke_from == second.parent == first.id


async def test_wake_is_told_after_all_was_read(home: Home) -> None:
    n_read: list[int] = []

    class Counting(FakeSleepLM):
        def read(self, state: FakeWakeState, token_ids: Sequence[int]) -> None:
            super().read(state, token_ids)
            n_read.append(len(token_ids))

    home.lm = Counting()
    told: list[tuple[int, int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, Woken):
            told.append((event.n_tokens, sum(n_read)))

    async with home.memory(on_event=watch) as memory:
        await (await memory.agent("ana")).observe([Message(role=Role.USER, content="pet=rex")])
        await (await memory.agent("ana")).say("pet?")
    [(n_tokens, n_before)] = told
    assert n_tokens == n_before


async def test_head_that_is_slept_on_and_dropped_before_a_turn_woke_does_not_end_it(
    home: Home,
) -> None:
    log, snapshots, gate = home.log, home.snapshots, Gate()
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        await ana.sleep()
        await ana.say("car=red")
    saying: asyncio.Task[Reply] | None = None
    n_looks = 0

    async def move(name: str, when: str) -> None:
        nonlocal n_looks
        if asyncio.current_task() is saying and (name, when) == ("open_episode", "after"):
            n_looks += 1
            if n_looks == 2:  # the turn is staged and is about to wake
                gate.open()
                await sleeping
                async with home.memory() as elsewhere:
                    await elsewhere.gc(keep_last=0, keep_within=None)

    home.log, home.snapshots = Hooked(log, move), Hooked(snapshots, gate)
    async with home.memory(policy=Never()) as memory:
        ana = await memory.agent("ana")
        sleeping = asyncio.create_task(ana.sleep())
        await until(lambda: gate.n_reached == 1)
        saying = asyncio.create_task(ana.say("pet?"))
        assert (await saying).text == "rex"
        assert n_looks == 3
    assert len(snapshots.data) == 1
    home.log, home.snapshots = log, snapshots
    await home.check("ana")


async def test_reply_after_a_sleep_does_not_wait_for_the_reader_of_another(home: Home) -> None:
    gate = Gate()
    home.snapshots = Hooked(home.snapshots, gate)
    async with home.memory(policy=TokenBudget(0.25)) as memory:
        ana = await memory.agent("ana")
        saying = asyncio.create_task(ana.say("pet=rex " + "x" * 60))
        await until(lambda: gate.n_reached == 1)
        stream = ana.stream("tell me more")
        await anext(stream)
        gate.open()
        assert (await saying).slept
        await stream.aclose()
        assert (await ana.say("pet?")).text == "rex"
    home.snapshots = home.snapshots._inner
    await home.check("ana")
