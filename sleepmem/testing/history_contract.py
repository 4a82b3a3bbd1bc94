"""What every `EpisodeLog` must do about snapshots; part of `EpisodeLogContract`."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from datetime import timedelta

import pytest

from sleepmem.errors import AgentNotFound, EpisodeNotFound
from sleepmem.protocols import EpisodeLog
from sleepmem.testing.life import BIRTH, Life, history, stored
from sleepmem.types import MAIN, SleepReport


async def slept(life: Life, n: int) -> list[str]:
    """Let a life sleep n times and return the digests."""
    digests = []
    for _ in range(n):
        await life.stage(done=True)
        digests.append(digest_of(await life.sleep()))
    return digests


def digest_of(report: SleepReport) -> str:
    assert report.snapshot
    return report.snapshot.digest


async def dropped(log: EpisodeLog, agent: str = "ana") -> list[str]:
    episodes = (await history(log, agent)).episodes
    return [e.snapshot.digest for e in episodes if e.snapshot.dropped_at is not None]


class Deletions:
    """Stands for the `delete` of a snapshot store.

    Attributes:
        done: the digests it was called with.
    """

    def __init__(self) -> None:
        self.done: list[str] = []

    async def __call__(self, agent: str, digest: str) -> None:
        await asyncio.sleep(0)
        self.done.append(digest)


class HistoryContract:
    """Marks of dropped snapshots, pins, and what may be swept."""

    async def test_history_is_the_whole_lineage_and_the_heads(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        other = await Life.born(log, "bob")
        assert (await history(log, "ana")).heads == {MAIN: None}
        assert (await history(log, "ana")).episodes == []
        await slept(life, 3)
        await slept(other, 1)
        await life.stage(done=True)
        await life.fail_to_sleep(None, 9, 12)
        whole = await history(log, "ana")
        assert whole.episodes == await log.lineage("ana", MAIN)
        assert whole.heads == {MAIN: whole.episodes[-1].id}
        assert not any(e.pinned or e.snapshot.dropped_at for e in whole.episodes)
        with pytest.raises(AgentNotFound):
            await history(log, "nobody")

    async def test_drop_marks_all_but_heads_and_pins(self, log: EpisodeLog) -> None:
        life, bob = await Life.born(log), await Life.born(log, "bob")
        digests, theirs = await slept(life, 4), await slept(bob, 2)
        episodes = (await history(log, "ana")).episodes
        await log.pin("ana", episodes[1].id, True)
        await log.drop("ana", [*digests, *theirs, "0" * 64], BIRTH)
        assert await dropped(log) == [digests[0], digests[2]]
        assert await dropped(log, "bob") == []
        await log.drop("ana", [], BIRTH)
        await log.drop("ana", digests, life.now())
        marked = await log.lineage("ana", MAIN)
        assert [e.snapshot.dropped_at for e in marked] == [BIRTH, None, BIRTH, None]
        assert [e.pinned for e in marked] == [False, True, False, False]
        await log.pin("ana", episodes[1].id, False)
        await log.drop("ana", digests, BIRTH)
        assert await dropped(log) == digests[:3]
        for attempt in (log.drop("nobody", [], BIRTH), log.pin("nobody", "e", True)):
            with pytest.raises(AgentNotFound):
                await attempt

    async def test_pin_takes_closed_episodes_of_the_agent_alone(self, log: EpisodeLog) -> None:
        life, bob = await Life.born(log), await Life.born(log, "bob")
        await slept(bob, 1)
        await life.stage(done=True)
        await life.fail_to_sleep("open", 0, 3)
        [theirs] = (await history(log, "bob")).episodes
        for episode in (theirs.id, "open", "unknown", "", "\0"):
            with pytest.raises(EpisodeNotFound):
                await log.pin("ana", episode, True)
        assert not (await history(log, "bob")).episodes[0].pinned

    async def test_many_snapshots_are_dropped_at_once(self, log: EpisodeLog) -> None:
        digests = await slept(await Life.born(log), 3)
        await log.drop("ana", [*(f"{n:064x}" for n in range(40_000)), *digests], BIRTH)
        assert await dropped(log) == digests[:2]

    async def test_sweep_deletes_what_was_dropped_or_never_named(self, log: EpisodeLog) -> None:
        digests = await slept(await Life.born(log), 3)
        await log.drop("ana", digests[:1], BIRTH)
        unnamed, delete = "0" * 64, Deletions()
        swept = [await log.sweep("ana", digest, delete) for digest in (*digests, unnamed)]
        assert swept == [True, False, False, True]
        assert delete.done == [digests[0], unnamed]
        assert await dropped(log) == digests[:1]
        with pytest.raises(AgentNotFound):
            await log.sweep("nobody", unnamed, delete)

    async def test_bytes_of_a_deleted_agent_are_swept_until_that_is_forgotten(
        self, log: EpisodeLog
    ) -> None:
        digests, delete = await slept(await Life.born(log), 2), Deletions()
        await Life.born(log, "bob")
        assert await log.deleted() == []
        await log.delete_agent("ana", now=BIRTH)
        await log.forget_deletions(BIRTH)
        assert await log.deleted() == ["ana"]
        assert await log.sweep("ana", digests[1], delete)
        await log.forget_deletions(BIRTH + timedelta(seconds=1))
        assert (await log.deleted(), delete.done) == ([], digests[1:])
        with pytest.raises(AgentNotFound):
            await log.sweep("ana", digests[0], delete)

    async def test_namesake_of_a_deleted_agent_keeps_what_is_its(self, log: EpisodeLog) -> None:
        await slept(await Life.born(log), 1)
        await log.delete_agent("ana", now=BIRTH)
        [digest] = await slept(await Life.born(log), 1)
        assert not await log.sweep("ana", digest, Deletions())
        assert await log.sweep("ana", "0" * 64, Deletions())
        await log.delete_agent("ana", now=BIRTH + timedelta(days=1))
        assert await log.deleted() == ["ana"]
        await log.forget_deletions(BIRTH + timedelta(hours=1))
        assert await log.deleted() == ["ana"], "each has its own note"
        assert await log.sweep("ana", digest, Deletions())

    async def test_nobody_is_born_while_bytes_of_a_namesake_are_deleted(
        self, log: EpisodeLog
    ) -> None:
        await Life.born(log)
        await log.delete_agent("ana", now=BIRTH)
        outside, births = copy_context(), []

        async def delete(agent: str, digest: str) -> None:
            births.append(asyncio.create_task(Life.born(log), context=outside))
            for _ in range(50):  # some of them in the threads of a driver
                await asyncio.sleep(0.001)
            assert not births[0].done()

        assert await log.sweep("ana", "0" * 64, delete)
        await births[0]
        assert [found.agent for found in await log.agents()] == ["ana"]

    async def test_two_that_delete_bytes_of_the_deleted_take_turns(self, log: EpisodeLog) -> None:
        await Life.born(log)
        await log.delete_agent("ana", now=BIRTH)
        delete = Deletions()
        births = [Life.born(log, name) for name in ("ana", "bob")]
        sweeps = [log.sweep("ana", "0" * 64, delete) for _ in range(4)]
        await asyncio.gather(*sweeps[:2], *births, *sweeps[2:])
        assert delete.done == ["0" * 64] * 4

    async def test_pin_of_a_dropped_snapshot_keeps_what_is_left_of_it(
        self, log: EpisodeLog
    ) -> None:
        digests, delete = await slept(await Life.born(log), 2), Deletions()
        await log.drop("ana", digests, BIRTH)
        await log.pin("ana", (await history(log, "ana")).episodes[0].id, True)
        assert not await log.sweep("ana", digests[0], delete)

    async def test_sweep_that_fails_is_told(self, log: EpisodeLog) -> None:
        await Life.born(log)

        async def delete(agent: str, digest: str) -> None:
            raise OSError("no")

        with pytest.raises(OSError, match="no"):
            await log.sweep("ana", "0" * 64, delete)
        assert await log.sweep("ana", "0" * 64, Deletions())

    async def test_restore_takes_the_mark_away_once_the_bytes_are_there(
        self, log: EpisodeLog
    ) -> None:
        digests = await slept(await Life.born(log), 3)
        await log.drop("ana", digests, BIRTH)

        async def fail() -> None:
            raise OSError("no")

        with pytest.raises(OSError, match="no"):
            await log.restore("ana", digests[0], fail)
        assert await dropped(log) == digests[:2]
        await log.restore("ana", digests[0], stored)
        await log.restore("ana", "0" * 64, stored)
        assert await dropped(log) == digests[1:2]

    async def test_commit_of_a_dropped_snapshot_takes_the_mark_away(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        first = digest_of(await self._again(life, "one", None))
        await slept(life, 1)
        await log.drop("ana", [first], BIRTH)
        assert await dropped(log) == [first]
        assert digest_of(await self._again(life, "two", first)) == first
        assert await dropped(log) == []
        assert (await log.head("ana", MAIN)).snapshot == first

    async def test_commit_and_sweep_of_the_same_bytes_take_turns(self, log: EpisodeLog) -> None:
        """Whoever comes first: what is committed was stored after the last deletion."""
        life = await Life.born(log)
        await life.stage(done=True)
        opened, head = await log.open_episode(life.thread), await log.head("ana", MAIN)
        report = life.report(opened.id, 3)
        digest = digest_of(report)
        there = {digest}

        async def delete(agent: str, digest: str) -> None:
            await asyncio.sleep(0.01)
            there.discard(digest)

        async def ensure() -> None:
            is_there = digest in there
            await asyncio.sleep(0.01)
            assert is_there == (digest in there), "a sweep came between"
            there.add(digest)

        commit = log.commit_sleep(
            life.thread,
            life.epoch,
            report,
            start=0,
            stop=3,
            expected=head,
            woke_from=None,
            now=life.now(),
            ensure_stored=ensure,
        )
        sweeps = [log.sweep("ana", digest, delete) for _ in range(4)]
        await asyncio.gather(*sweeps[:2], commit, *sweeps[2:])
        assert there == {digest}
        assert (await log.head("ana", MAIN)).snapshot == digest
        assert not await log.sweep("ana", digest, delete)

    async def test_commit_whose_bytes_cannot_be_stored_changes_nothing(
        self, log: EpisodeLog
    ) -> None:
        life = await Life.born(log)
        await life.stage(done=True)

        async def fail() -> None:
            raise OSError("full")

        with pytest.raises(OSError, match="full"):
            await self._commit(life, life.report("e", 3), fail)
        assert (await log.head("ana", MAIN)).episode is None
        assert len((await log.open_episode(life.thread)).token_ids) == 3
        assert (await history(log, "ana")).episodes == []

    async def _again(self, life: Life, episode: str, digest: str | None) -> SleepReport:
        """Sleep, the new snapshot having the bytes of an earlier one."""
        await life.stage(done=True)
        report = life.report(episode, 3)
        assert report.snapshot
        if digest is not None:
            snapshot = report.snapshot.model_copy(update={"digest": digest})
            report = report.model_copy(update={"snapshot": snapshot})
        await self._commit(life, report, stored)
        return report

    async def _commit(self, life: Life, report: SleepReport, ensure: object) -> None:
        opened = await life.log.open_episode(life.thread)
        head = await life.log.head("ana", MAIN)
        await life.log.commit_sleep(
            life.thread,
            life.epoch,
            report,
            start=opened.start,
            stop=opened.start + 3,
            expected=head,
            woke_from=head.episode,
            now=life.now(),
            ensure_stored=ensure,  # type: ignore[arg-type]
        )
