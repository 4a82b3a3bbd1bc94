from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from home import Gate, Home, Hooked, until

from sleepmem.errors import AgentNotFound, ConfigError, EpisodeNotFound, StoreUnavailable
from sleepmem.history import Garbage, GcReport, Keep, Removed, ReplayedEpisode
from sleepmem.memory import SleepMemory
from sleepmem.types import Outcome

DAY_S = 86_400.0
NOTHING: dict[str, Any] = {"keep_last": 0, "keep_within": None}


@pytest.fixture
async def lived(home: Home) -> Home:
    """Return a home whose agents have slept: ana once a day for five days, bob once."""
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for n in range(5):
            home.clock.advance(DAY_S)
            await ana.say(f"k{n}=v{n} and more")
            await ana.sleep()
        bob = await memory.agent("bob")
        await bob.say("pet=rex and more")
        await bob.sleep()
    return home


async def life_of(memory: SleepMemory, agent: str = "ana", **options: Any) -> list[ReplayedEpisode]:
    return [replayed async for replayed in memory.replay(agent, **options)]


def removed_places(life: list[ReplayedEpisode], report: GcReport) -> list[int]:
    """Return the indices of the episodes whose snapshots were removed."""
    gone = {removed.digest for removed in report.removed}
    return [r.episode.index for r in life if r.episode.snapshot.digest in gone]


async def marked_places(memory: SleepMemory) -> list[int]:
    life = await life_of(memory)
    return [r.episode.index for r in life if r.episode.snapshot.dropped_at is not None]


async def test_defaults_keep_a_young_life_whole(lived: Home) -> None:
    before = dict(lived.snapshots.data)
    async with lived.memory() as memory:
        report = await memory.gc()
    assert (report.removed, report.n_bytes, report.n_missing) == ((), 0, 0)
    assert report.agents == ("ana", "bob")
    assert report.n_kept == {Keep.HEAD: 2, Keep.LAST: 4}
    assert lived.snapshots.data == before


@pytest.mark.parametrize(
    ("rules", "gone"),
    [
        (NOTHING, [1, 2, 3, 4]),
        ({"keep_last": 1, "keep_within": None}, [1, 2, 3, 4]),
        ({"keep_last": 3, "keep_within": None}, [1, 2]),
        ({"keep_last": 0, "keep_within": timedelta(days=1.5)}, [1, 2, 3]),
        ({"keep_last": 2, "keep_within": timedelta(days=3.5)}, [1]),
    ],
)
async def test_rules_decide_what_goes(lived: Home, rules: dict[str, Any], gone: list[int]) -> None:
    async with lived.memory() as memory:
        life, before = await life_of(memory), dict(lived.snapshots.data)
        planned = await memory.gc("ana", dry_run=True, **rules)
        assert planned.dry_run
        assert removed_places(life, planned) == gone
        assert lived.snapshots.data == before
        assert await marked_places(memory) == []
        told: list[Removed] = []
        report = await memory.gc("ana", on_removed=told.append, **rules)
        assert report == planned.model_copy(update={"dry_run": False})
        assert told == list(report.removed)
        assert await marked_places(memory) == gone
        assert len(lived.snapshots.data) == len(before) - len(gone)
        assert (await memory.gc("ana", **rules)).removed == ()


async def test_collected_agent_wakes_sleeps_and_is_derived_again(lived: Home) -> None:
    before = dict(lived.snapshots.data)
    async with lived.memory() as memory:
        await memory.gc(**NOTHING)
        assert (await (await memory.agent("ana")).say("k0?")).text == "v0"
    async with lived.memory() as memory:
        assert (await (await memory.agent("ana")).say("k4?")).text == "v4"
        restored = [r.restored for r in await life_of(memory, verify=True)]
        assert restored == [True, True, True, True, False]
        assert await marked_places(memory) == []
        assert lived.snapshots.data == before
        ana = await memory.agent("ana")
        await ana.sleep(force=True)
        assert [r.restored for r in await life_of(memory, verify=True)] == [False] * 6
    await lived.check("ana")


async def test_replay_tells_that_what_it_restored_is_no_longer_dropped(lived: Home) -> None:
    async with lived.memory() as memory:
        await memory.gc(**NOTHING)
        life = await life_of(memory, verify=True)
        assert not any(r.episode.snapshot.dropped_at for r in life)


async def test_pinned_episode_is_kept_until_it_is_not(lived: Home) -> None:
    async with lived.memory() as memory:
        pinned = await memory.pin("ana", 2)
        assert (pinned.index, pinned.pinned) == (2, True)
        by_id = await memory.pin("ana", (await life_of(memory))[2].episode.id)
        assert by_id.index == 3
        report = await memory.gc("ana", **NOTHING)
        assert report.n_kept == {Keep.HEAD: 1, Keep.PINNED: 2}
        assert await marked_places(memory) == [1, 4]
        assert not (await memory.pin("ana", 2, pinned=False)).pinned
        await memory.gc("ana", **NOTHING)
        assert await marked_places(memory) == [1, 2, 4]
        assert (await memory.pin("ana", 1)).snapshot.dropped_at is not None
        for agent, episode, error in (
            ("ana", 99, EpisodeNotFound),
            ("ana", "x", EpisodeNotFound),
            ("nobody", 1, AgentNotFound),
        ):
            with pytest.raises(error):
                await memory.pin(agent, episode)


async def test_bytes_of_no_episode_go_and_those_of_no_agent_stay(lived: Home) -> None:
    orphan = await lived.snapshots.put("ana", b"stored, never committed")
    ghost = await lived.snapshots.put("ghost", b"an agent of nobody knows what")
    async with lived.memory() as memory:
        report = await memory.gc(agent="ana")
        assert report.removed == (
            Removed(
                agent="ana",
                digest=orphan.digest,
                n_bytes=orphan.n_bytes,
                why=Garbage.NO_EPISODE,
            ),
        )
        assert (await memory.gc()).removed == ()
    assert await lived.snapshots.digests("ghost") == [ghost.digest]


async def test_deletion_that_was_cut_short_is_ended(lived: Home) -> None:
    fails = True

    async def hook(name: str, when: str) -> None:
        if fails and (name, when) == ("sweep", "after"):
            raise StoreUnavailable("locked")

    stored = await lived.snapshots.sizes("ana")
    lived.log = Hooked(lived.log, hook)
    async with lived.memory() as memory:
        with pytest.raises(StoreUnavailable):
            await memory.delete_agent("ana")
        fails = False
        left = await lived.snapshots.sizes("ana")
        assert len(left) == len(stored) - 1 > 0
        assert (await memory.gc("bob")).removed == ()
        for dry_run in (True, False):
            report = await memory.gc(dry_run=dry_run)
            assert report.agents == ("bob",)
            assert {r.digest: r.n_bytes for r in report.removed} == left
            assert {(r.agent, r.why) for r in report.removed} == {("ana", Garbage.DELETED)}
        assert await lived.snapshots.digests("ana") == []
        assert (await memory.gc()).removed == ()


async def test_deletion_that_was_cut_short_spares_a_namesake(lived: Home) -> None:
    async def hook(name: str, when: str) -> None:
        if name == "sizes":
            raise StoreUnavailable("no such disk")

    stored = set(await lived.snapshots.digests("ana"))
    snapshots, lived.snapshots = lived.snapshots, Hooked(lived.snapshots, hook)
    async with lived.memory() as memory:
        with pytest.raises(StoreUnavailable):
            await memory.delete_agent("ana")
    lived.snapshots = snapshots
    async with lived.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=tom and more")
        await ana.sleep()
        for dry_run in (True, False):
            report = await memory.gc(dry_run=dry_run)
            assert {r.digest for r in report.removed} == stored
        assert (await ana.say("pet?")).text == "tom"
    await lived.check("ana")


async def test_sleep_that_goes_on_during_a_deletion_leaves_nothing(lived: Home) -> None:
    gate = Gate("put")
    snapshots, lived.snapshots = lived.snapshots, Hooked(lived.snapshots, gate)
    async with lived.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=tom and more")
        sleeping = asyncio.create_task(ana.sleep())
        await until(lambda: gate.n_reached == 1)
        await memory.delete_agent("ana")
        gate.open()
        assert (await sleeping).outcome is Outcome.FAILED
        assert await snapshots.digests("ana") != [], "put after the deletion"
        lived.clock.advance(DAY_S - 1)
        await memory.gc(dry_run=True)
        assert len((await memory.gc()).removed) == 1
        assert await snapshots.digests("ana") == []
        assert await lived.log.deleted() == ["ana"]
        lived.clock.advance(2)
        await memory.gc(dry_run=True)
        assert await lived.log.deleted() == ["ana"]
        await memory.gc()
        assert await lived.log.deleted() == []


async def test_collection_beside_one_that_forgets_the_deletion_goes_on(lived: Home) -> None:
    async def hook(name: str, when: str) -> None:
        if (name, when) == ("delete_agent", "after"):
            raise StoreUnavailable("locked")
        if (name, when) == ("sweep", "before") and not removed:
            removed.extend((await memory.gc()).removed)

    removed: list[Removed] = []
    log, lived.log = lived.log, Hooked(lived.log, hook)
    async with lived.memory() as other:
        with pytest.raises(StoreUnavailable):
            await other.delete_agent("ana")
        lived.log = log
        lived.clock.advance(2 * DAY_S)
        async with lived.memory() as memory:
            assert (await other.gc()).removed == ()
    assert {found.agent for found in removed} == {"ana"}
    assert (await lived.log.deleted(), await lived.snapshots.digests("ana")) == ([], [])


async def test_leftovers_of_killed_writes_go(lived: Home) -> None:
    left = [3, 4]

    class Interrupted(Hooked):
        async def leftovers(self, agent: str, *, remove: bool = False) -> list[int]:
            found = list(left) if agent == "ana" else []
            if remove and found:
                left.clear()
            return found

    lived.snapshots = Interrupted(lived.snapshots)
    async with lived.memory() as memory:
        for dry_run in (True, False):
            report = await memory.gc(dry_run=dry_run)
            assert [r.n_bytes for r in report.removed] == [3, 4]
            assert {(r.digest, r.why) for r in report.removed} == {(None, Garbage.CUT_SHORT)}
        assert (await memory.gc()).removed == ()


async def test_kept_snapshot_without_bytes_is_told(lived: Home) -> None:
    digest = (await lived.log.lineage("ana", "main"))[-1].snapshot.digest
    await lived.snapshots.delete("ana", digest)
    async with lived.memory() as memory:
        for dry_run in (True, False):
            assert (await memory.gc(dry_run=dry_run)).n_missing == 1
        await memory.gc(**NOTHING)
        await life_of(memory, verify=True)
        assert (await memory.gc()).n_missing == 0


async def test_collection_that_was_cut_short_is_gone_on_with(lived: Home) -> None:
    """Marked but not yet deleted: other rules may still keep it, the same rules delete it."""
    fails = True

    async def hook(name: str, when: str) -> None:
        if fails and (name, when) == ("sweep", "before"):
            raise StoreUnavailable("locked")

    lived.log = Hooked(lived.log, hook)
    async with lived.memory() as memory:
        with pytest.raises(StoreUnavailable):
            await memory.gc("ana", **NOTHING)
        assert await marked_places(memory) == [1, 2, 3, 4]
        fails = False
        assert removed_places(
            await life_of(memory), await memory.gc("ana", keep_last=3, keep_within=None)
        ) == [1, 2]
        assert await marked_places(memory) == [1, 2]
        assert [r.restored for r in await life_of(memory, verify=True)] == [True] * 2 + [False] * 3


async def test_agent_that_is_deleted_meanwhile_is_left_out(lived: Home) -> None:
    async def hook(name: str, when: str) -> None:
        if (name, when) == ("agents", "after"):
            await log.delete_agent("ana", now=lived.clock.now())

    log = lived.log
    lived.log = Hooked(log, hook)
    async with lived.memory() as memory:
        assert (await memory.gc()).agents == ("bob",)
        with pytest.raises(AgentNotFound):
            await memory.gc("ana")


async def test_collections_hold_one_life_at_a_time(lived: Home) -> None:
    at_work, most = 0, 0

    async def hook(name: str, when: str) -> None:
        nonlocal at_work, most
        if (name, when) == ("history", "before"):
            at_work += 1
            most = max(most, at_work)
        if (name, when) == ("leftovers", "after"):
            at_work -= 1

    lived.log, lived.snapshots = Hooked(lived.log, hook), Hooked(lived.snapshots, hook)
    async with lived.memory() as memory:
        reports = await asyncio.gather(
            *(memory.gc(agent, **NOTHING) for agent in ("ana", "bob") * 3)
        )
    assert (most, at_work) == (1, 0)
    assert [len(report.removed) for report in reports] == [4, 0, 0, 0, 0, 0]


async def test_gc_needs_no_model_and_claims_nobody(lived: Home) -> None:
    async with lived.memory() as awake:
        ana = await awake.agent("ana")
        memory = SleepMemory(model="no/such/checkpoint", clock=lived.clock)
        memory._given = (lived.log, lived.snapshots)
        async with memory:
            assert (await memory.gc(**NOTHING)).removed
            await memory.pin("ana", 5)
        assert (await ana.say("k3?")).text == "v3"


@pytest.mark.parametrize(
    "rules",
    [
        {"keep_last": -1},
        {"keep_last": True},
        {"keep_last": 1.5},
        {"keep_within": 30},
        {"keep_within": timedelta(seconds=-1)},
    ],
)
async def test_impossible_rules_are_refused(lived: Home, rules: dict[str, Any]) -> None:
    before = dict(lived.snapshots.data)
    async with lived.memory() as memory:
        with pytest.raises(ConfigError):
            await memory.gc(**rules)
    assert lived.snapshots.data == before


async def test_wider_rules_keep_only_what_is_still_there(lived: Home) -> None:
    async with lived.memory() as memory:
        await memory.gc("ana", keep_last=2, keep_within=None)
        report = await memory.gc("ana", keep_last=4, keep_within=None)
    assert report.n_kept == {Keep.HEAD: 1, Keep.LAST: 1}
    assert report.n_missing == 0
