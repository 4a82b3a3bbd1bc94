"""What every `EpisodeLog` must do with episodes and sleeps; part of `EpisodeLogContract`."""

from __future__ import annotations

import asyncio

import pytest

from sleepmem.errors import (
    AgentNotFound,
    BranchNotFound,
    Conflict,
    EpisodeNotFound,
    HeadMoved,
    MisuseError,
)
from sleepmem.protocols import EpisodeLog
from sleepmem.testing.life import Life, stored
from sleepmem.types import MAIN, Head, Outcome, SleepReport

ATTEMPTS = [Outcome.NOTHING_TO_DO, Outcome.REJECTED, Outcome.SUPERSEDED, Outcome.FAILED]


class SleepContract:
    """Open episodes, commits, attempts and the lineage."""

    async def test_open_episode_of_a_newborn_is_empty(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        opened = await log.open_episode(life.thread)
        assert (opened.start, opened.token_ids, opened.turns) == (0, (), ())
        assert opened.head == Head(episode=None, snapshot=None)
        assert opened.id

    async def test_open_episode_leaves_staged_turns_out(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        done = await life.finish(await life.stage())
        await life.stage()
        opened = await log.open_episode(life.thread)
        assert opened.turns == (done,)
        assert opened.token_ids == (*done.messages[0].token_ids, *done.messages[1].token_ids)

    async def test_commit_closes_the_episode_and_moves_the_head(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        report = await life.sleep()
        assert report.snapshot
        head = Head(episode=report.episode, snapshot=report.snapshot.digest)
        assert await log.head("ana", MAIN) == head
        opened = await log.open_episode(life.thread)
        assert (opened.head, opened.start, opened.token_ids) == (head, 3, ())
        assert opened.id != report.episode
        turn = await life.stage(done=True)
        assert (turn.start, (await log.open_episode(life.thread)).turns) == (3, (turn,))

    async def test_commit_on_a_head_that_moved_changes_nothing(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        other = await main.on("other")
        await main.stage(done=True)
        await other.stage(done=True)
        before = await log.head("ana", MAIN)
        first = await main.sleep()
        report = other.report("late", 3)
        with pytest.raises(HeadMoved) as caught:
            await _commit(other, report, 0, 3, before)
        assert (caught.value.expected, caught.value.found) == (None, first.episode)
        assert [episode.id for episode in await log.lineage("ana", MAIN)] == [first.episode]
        assert len((await log.open_episode(other.thread)).token_ids) == 3

    async def test_commits_at_once_have_one_winner(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        lives = [main, *[await main.on(f"t{n}") for n in range(3)]]
        for life in lives:
            await life.stage(done=True)
        before = await log.head("ana", MAIN)
        results = await asyncio.gather(
            *(_commit(life, life.report(f"e{n}", 3), 0, 3, before) for n, life in enumerate(lives)),
            return_exceptions=True,
        )
        assert sum(result is None for result in results) == 1
        assert sum(isinstance(result, HeadMoved) for result in results) == 3
        winner = results.index(None)
        assert [episode.id for episode in await log.lineage("ana", MAIN)] == [f"e{winner}"]

    @pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 5), (4, 5), (3, 3), (3, 7)])
    async def test_commit_outside_the_open_stream_is_a_conflict(
        self, log: EpisodeLog, start: int, stop: int
    ) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        first = await life.sleep()
        await life.stage(done=True)
        head = await log.head("ana", MAIN)
        with pytest.raises(Conflict):
            await _commit(life, life.report("e", stop - start), start, stop, head)
        assert [episode.id for episode in await log.lineage("ana", MAIN)] == [first.episode]

    async def test_commit_takes_only_sleeps_that_slept(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        head = await log.head("ana", MAIN)
        whole = life.report("e", 3)
        for report in (
            life.report("e", 3, Outcome.FAILED),
            whole.model_copy(update={"episode": None}),
            whole.model_copy(update={"snapshot": None}),
        ):
            with pytest.raises(MisuseError):
                await _commit(life, report, 0, 3, head)
        with pytest.raises(MisuseError):
            await life.fail_to_sleep("e", 0, 3, Outcome.SLEPT)
        assert await log.lineage("ana", MAIN) == []

    async def test_an_episode_closes_once(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        report = await life.sleep()
        await life.stage(done=True)
        head = await log.head("ana", MAIN)
        with pytest.raises(MisuseError):
            await _commit(life, report, 3, 6, head)
        with pytest.raises(MisuseError):
            await life.fail_to_sleep(report.episode, 3, 6)

    async def test_commit_may_end_inside_the_staged_turn(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        long = await life.stage(life.message(n_tokens=10))
        await life.sleep(stop=7)
        await life.sleep(stop=11)
        done = await life.finish(long, n_tokens=2)
        assert (done.start, done.stop) == (3, 15)
        opened = await log.open_episode(life.thread)
        ids = [i for message in done.messages for i in message.token_ids]
        assert (opened.start, list(opened.token_ids)) == (11, ids[8:])
        assert opened.turns == (done,)
        assert await log.tokens(life.thread.id, 3, 15) == ids

    async def test_abandoned_turn_spans_what_was_slept_of_it(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        cut = await life.stage(life.message(n_tokens=10))
        await life.sleep(stop=4)
        turn = await life.stage(done=True)
        assert (turn.start, turn.stop) == (4, 7)
        told = [*cut.messages[0].token_ids[:4], *turn.messages[0].token_ids]
        assert await log.tokens(life.thread.id, 0, 7) == told
        opened = await log.open_episode(life.thread)
        assert (opened.start, opened.turns) == (4, (turn,))
        assert await log.messages_between(life.thread.id, 0, 7) == list(turn.messages)

    @pytest.mark.parametrize("outcome", ATTEMPTS)
    async def test_attempt_gives_the_open_episode_its_id(
        self, log: EpisodeLog, outcome: Outcome
    ) -> None:
        life = await Life.born(log)
        await life.stage(done=True)
        opened = await log.open_episode(life.thread)
        await life.fail_to_sleep(opened.id, 0, 3, outcome)
        await life.stage(done=True)
        again = await log.open_episode(life.thread)
        assert (again.id, again.start, len(again.token_ids)) == (opened.id, 0, 6)
        await life.fail_to_sleep(None, 0, 6, outcome)
        with pytest.raises(MisuseError):
            await life.fail_to_sleep("another", 0, 6, outcome)
        assert (await log.open_episode(life.thread)).id == opened.id
        assert (await life.sleep()).episode == opened.id
        assert (await log.open_episode(life.thread)).id != opened.id
        assert [episode.stop for episode in await log.lineage("ana", MAIN)] == [6]

    async def test_every_attempt_can_be_read_again(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        side = await main.on("side")
        stranger = await Life.born(log, "bob")
        await stranger.fail_to_sleep("theirs", 0, 0)
        await main.stage(done=True)
        opened = (await log.open_episode(main.thread)).id
        outcomes = [Outcome.FAILED, Outcome.REJECTED, Outcome.SUPERSEDED, Outcome.NOTHING_TO_DO]
        for outcome in outcomes:
            await main.fail_to_sleep(opened, 0, 3, outcome)
            opened = (await log.open_episode(main.thread)).id
        slept = await main.sleep()
        await side.fail_to_sleep("side", 0, 0)
        told = await log.sleeps("ana", MAIN)
        expected = [main.report(opened, 3, outcome) for outcome in outcomes]
        expected += [slept, side.report("side", 0, Outcome.FAILED)]
        assert [report.model_copy(update={"recorded_at": None}) for report in told] == expected
        times = [report.recorded_at for report in told]
        assert times == sorted(time for time in times if time)
        with pytest.raises(BranchNotFound):
            await log.sleeps("ana", "other")
        with pytest.raises(AgentNotFound):
            await log.sleeps("eva", MAIN)

    async def test_attempts_of_two_threads_stay_apart(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        other = await main.on("other")
        await main.fail_to_sleep("m", 0, 0)
        await other.fail_to_sleep("o", 0, 0)
        with pytest.raises(MisuseError):
            await main.fail_to_sleep("o", 0, 0)
        assert (await log.open_episode(main.thread)).id == "m"
        assert (await log.open_episode(other.thread)).id == "o"

    async def test_lineage_tells_the_whole_life(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        other = await main.on("other")
        reports: list[SleepReport] = []
        for life in (main, other, main):
            await life.stage(done=True)
            reports.append(await life.sleep())
        episodes = await log.lineage("ana", MAIN)
        assert [episode.index for episode in episodes] == [1, 2, 3]
        assert [episode.id for episode in episodes] == [report.episode for report in reports]
        assert [episode.parent for episode in episodes] == [None, *(r.episode for r in reports[:2])]
        assert [episode.thread for episode in episodes] == [MAIN, "other", MAIN]
        assert [(e.start, e.stop) for e in episodes] == [(0, 3), (0, 3), (3, 6)]
        for episode, report in zip(episodes, reports, strict=True):
            assert episode.snapshot == report.snapshot
            assert episode.measures == report.measures
            assert (episode.reason, episode.passes) == (report.reason, report.passes)
            assert episode.numerics == report.numerics
            assert episode.closed_at.utcoffset() is not None

    async def test_part_of_a_lineage_is_spread_over_it(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        assert await log.lineage("ana", MAIN, at_most=4) == []
        for _ in range(11):
            await life.stage(done=True)
            await life.sleep()
        whole = await log.lineage("ana", MAIN)
        for at_most, expected in ((1, [11]), (2, [1, 11]), (3, [1, 6, 11]), (4, [1, 5, 8, 11])):
            found = await log.lineage("ana", MAIN, at_most=at_most)
            assert found == [whole[index - 1] for index in expected]
        for at_most in (11, 99):
            assert await log.lineage("ana", MAIN, at_most=at_most) == whole

    async def test_lineage_ends_where_it_is_told(self, log: EpisodeLog) -> None:
        life = await Life.born(log)
        reports = []
        for _ in range(3):
            await life.stage(done=True)
            reports.append(await life.sleep())
        episodes = await log.lineage("ana", MAIN)
        assert await log.lineage("ana", MAIN, until=reports[1].episode) == episodes[:2]
        for unknown in ("unknown", "", "\0"):
            with pytest.raises(EpisodeNotFound):
                await log.lineage("ana", MAIN, until=unknown)

    async def test_woke_from_may_differ_from_the_parent(self, log: EpisodeLog) -> None:
        main = await Life.born(log)
        other = await main.on("other")
        for life in (main, other):
            await life.stage(done=True)
        first = await main.sleep()
        head = await log.head("ana", MAIN)
        await other.log.commit_sleep(
            other.thread,
            other.epoch,
            other.report("second", 3),
            start=0,
            stop=3,
            expected=head,
            woke_from=None,
            now=other.now(),
            ensure_stored=stored,
        )
        second = (await log.lineage("ana", MAIN))[1]
        assert (second.parent, second.woke_from) == (first.episode, None)


async def _commit(life: Life, report: SleepReport, start: int, stop: int, expected: Head) -> None:
    await life.log.commit_sleep(
        life.thread,
        life.epoch,
        report,
        start=start,
        stop=stop,
        expected=expected,
        woke_from=expected.episode,
        now=life.now(),
        ensure_stored=stored,
    )
