from __future__ import annotations

import secrets
import threading
import tracemalloc

import pytest
from blake3 import blake3
from home import Home, Hooked

from sleepmem.errors import (
    AgentNotFound,
    BranchNotFound,
    CannotVerify,
    EpisodeNotFound,
    FingerprintMismatch,
    NotOpen,
    ReplayDiverged,
    SnapshotCorrupt,
    SnapshotNotFound,
)
from sleepmem.history import ReplayedEpisode
from sleepmem.memory import SleepMemory
from sleepmem.runtime import parts
from sleepmem.runtime import replay as runtime_replay
from sleepmem.testing import FakeSleepLM
from sleepmem.types import AgentSummary, Episode, Message, Role, Snapshot


@pytest.fixture
async def lived(home: Home) -> Home:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for n in range(3):
            await ana.say(f"k{n}=v{n} and more")
            await ana.sleep(passes=n + 1)
        await ana.thread("side").say("s=4 on the side")
        await ana.thread("side").sleep()
    return home


async def replayed(memory: SleepMemory, **options: object) -> list[ReplayedEpisode]:
    return [r async for r in memory.replay("ana", **options)]  # type: ignore[arg-type]


async def test_replay_shows_a_life(lived: Home) -> None:
    async with lived.memory() as memory:
        life = await replayed(memory)
        assert [r.episode.index for r in life] == [1, 2, 3, 4]
        assert [r.episode.passes for r in life] == [1, 2, 3, 4]
        assert [r.episode.thread for r in life] == ["main", "main", "main", "side"]
        assert {r.verified for r in life} == {None}
        assert {r.verified for r in await replayed(memory, verify=True)} == {True}


async def test_nothing_is_hashed_or_compared_in_the_event_loop(
    lived: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def noted(data: bytes) -> blake3:
        found.append(threading.current_thread())
        return blake3(data)

    compared_in = []

    def compared(derived: bytes, stored: bytes) -> bool:
        compared_in.append(threading.current_thread())
        return is_same(derived, stored)

    is_same = runtime_replay._is_same
    monkeypatch.setattr(runtime_replay, "_is_same", compared)
    for room in (runtime_replay, parts):
        monkeypatch.setattr(room, "blake3", noted, raising=False)
    async with lived.memory() as memory:
        await replayed(memory, verify=True)
        await (await memory.agent("ana")).say("one more")
        await (await memory.agent("ana")).sleep()
    assert (len(found), bool(compared_in)) == (4, True)
    assert threading.current_thread() not in [*found, *compared_in]


async def test_replay_until_an_index_or_an_id(lived: Home) -> None:
    async with lived.memory() as memory:
        life = await replayed(memory)
        assert await replayed(memory, until=2) == life[:2]
        assert await replayed(memory, until="3") == life[:3]
        assert await replayed(memory, until=life[0].episode.id) == life[:1]
        with pytest.raises(EpisodeNotFound):
            await replayed(memory, until="99")
        with pytest.raises(BranchNotFound):
            await replayed(memory, branch="nowhere")
        with pytest.raises(AgentNotFound):
            [r async for r in memory.replay("nobody")]


async def test_replay_since_an_episode_goes_on_from_its_stored_snapshot(lived: Home) -> None:
    async with lived.memory() as memory:
        life = await replayed(memory)
        assert await replayed(memory, since=2) == life[2:]
        assert await replayed(memory, since=1, until=3) == life[1:3]
        assert await replayed(memory, since=4) == []
        resumed = await replayed(memory, since=life[1].episode.id, verify=True)
        assert [r.episode.index for r in resumed] == [3, 4]
        assert {r.verified for r in resumed} == {True}
        with pytest.raises(EpisodeNotFound):
            await replayed(memory, since=5)


async def test_replay_since_an_episode_sees_no_altered_past_but_an_altered_start(
    lived: Home,
) -> None:
    tokens = lived.log.tokens

    async def altered(thread_id: int, start: int, stop: int) -> list[int]:
        ids: list[int] = await tokens(thread_id, start, stop)
        return ids if start else [ids[0] ^ 1, *ids[1:]]

    lived.log.tokens = altered
    async with lived.memory() as memory:
        with pytest.raises(ReplayDiverged):
            await replayed(memory, verify=True)
        assert {r.verified for r in await replayed(memory, since=1, until=3, verify=True)} == {True}
        [first] = await replayed(memory, until=1)
        await lived.snapshots.delete("ana", first.episode.snapshot.digest)
        with pytest.raises(SnapshotNotFound):
            await replayed(memory, since=1, verify=True)


async def test_replay_without_verify_needs_no_model(lived: Home) -> None:
    memory = SleepMemory(model="no/such/checkpoint")
    memory._given = (lived.log, lived.snapshots)
    async with memory:
        assert len(await replayed(memory)) == 4
        assert [summary.agent for summary in await memory.agents()] == ["ana"]
        assert [e.content async for e in memory.log("ana", search="S=4")] == ["s=4 on the side"]
        with pytest.raises(AgentNotFound):
            [e async for e in memory.log("nobody")]


async def test_altered_log_diverges_at_the_first_episode_it_touches(lived: Home) -> None:
    tokens = lived.log.tokens

    async def altered(thread_id: int, start: int, stop: int) -> list[int]:
        ids: list[int] = await tokens(thread_id, start, stop)
        return ids if start == 0 else [*ids[:1], ids[1] ^ 1, *ids[2:]]

    lived.log.tokens = altered
    async with lived.memory() as memory:
        life = await replayed(memory)
        again = memory.replay("ana", verify=True)
        assert (await anext(again)).verified
        with pytest.raises(ReplayDiverged) as caught:
            await anext(again)
        assert caught.value.episode == life[1].episode.id
        assert caught.value.expected == life[1].episode.snapshot.digest
        assert (caught.value.differences, caught.value.repeats) == ({}, True)
        assert caught.value.apart is not None
        assert "the log was altered" in caught.value.hint, "the same numerics are not blamed"


class Elsewhere(FakeSleepLM):
    """A model on a machine that rounds otherwise."""

    def dump(self, weights: object) -> bytes:
        return super().dump(weights)[:-1] + b"?"  # type: ignore[arg-type]


async def test_divergence_names_what_differs_in_the_numerics(lived: Home) -> None:
    lived.lm = Elsewhere(window=lived.lm.window)
    lived.lm.numerics_profile = {"model": "fake", "dtype": "bits", "threads": "2"}
    async with lived.memory() as memory:
        with pytest.raises(
            ReplayDiverged,
            match=r"dtype was bytes, is bits; threads was unknown, is 2; .* by 0 nats",
        ) as caught:
            await replayed(memory, verify=True)
    assert caught.value.differences == {"dtype": ("bytes", "bits"), "threads": ("unknown", "2")}
    assert caught.value.apart == 0
    assert "versions recorded" in caught.value.hint


async def test_machine_that_computes_otherwise_each_time_is_blamed(lived: Home) -> None:
    class Shaky(FakeSleepLM):
        def dump(self, weights: object) -> bytes:
            return super().dump(weights) + secrets.token_bytes(4)  # type: ignore[arg-type]

    lived.lm = Shaky(window=lived.lm.window)
    async with lived.memory() as memory:
        with pytest.raises(ReplayDiverged, match="derived twice here, it differs too") as caught:
            await replayed(memory, verify=True)
    assert caught.value.repeats is False
    assert "another" in caught.value.hint


async def test_replay_chains_from_its_own_parent(lived: Home) -> None:
    """A head whose bytes were swapped for other valid ones is found out."""
    episodes = await lived.log.lineage("ana", "main")
    other = lived.snapshots.data["ana", episodes[0].snapshot.digest]

    async def swapped(agent: str, digest: str) -> bytes:
        return other

    lived.snapshots.get = swapped
    async with lived.memory() as memory:
        with pytest.raises(ReplayDiverged) as caught:
            await replayed(memory, verify=True)
        assert caught.value.episode == episodes[1].id


async def test_tampered_snapshot_is_named(lived: Home) -> None:
    digest = (await lived.log.lineage("ana", "main"))[1].snapshot.digest
    lived.snapshots.data["ana", digest] = lived.snapshots.data["ana", digest][:-1] + b"?"
    async with lived.memory() as memory:
        with pytest.raises(SnapshotCorrupt, match=digest):
            await replayed(memory, verify=True)


async def test_missing_snapshots_are_stored_again(lived: Home) -> None:
    kept = dict(lived.snapshots.data)
    *_, digest = [episode.snapshot.digest for episode in await lived.log.lineage("ana", "main")]
    async with lived.memory() as memory:
        del lived.snapshots.data["ana", digest]
        with pytest.raises(SnapshotNotFound, match=digest) as caught:
            await (await memory.agent("ana")).say("s?")
        assert "--verify" in caught.value.hint
        assert [r.restored for r in await replayed(memory, verify=True)] == [False] * 3 + [True]
        assert lived.snapshots.data == kept
        assert (await (await memory.agent("ana")).say("s?")).text == "4"
        lived.snapshots.data.clear()
        assert [r.restored for r in await replayed(memory, verify=True)] == [True] * 4
        assert lived.snapshots.data == kept


async def test_missing_snapshot_that_the_log_does_not_give_is_not_stored(lived: Home) -> None:
    lived.lm = Elsewhere(window=lived.lm.window)
    lived.snapshots.data.clear()
    async with lived.memory() as memory:
        with pytest.raises(ReplayDiverged):
            await replayed(memory, verify=True)
    assert lived.snapshots.data == {}


async def test_another_model_cannot_verify(lived: Home) -> None:
    lived.lm = FakeSleepLM(window=200, name="stranger")
    async with lived.memory() as memory:
        assert len(await replayed(memory)) == 4
        with pytest.raises(CannotVerify, match=r"cannot verify agent 'ana': .* fingerprint"):
            await replayed(memory, verify=True)
        with pytest.raises(FingerprintMismatch):
            await memory.agent("ana")


class LongLife:
    """The log of a life of many short episodes, none of which it keeps."""

    def __init__(self, home: Home, n_episodes: int) -> None:
        self._lm, self._n = home.lm, n_episodes
        weights = home.lm.blank()
        self._digests = []
        for index in range(n_episodes):
            *_, step = home.lm.sleep(weights, self._ids(index), 1)
            weights = step.weights
            data = home.lm.dump(weights)
            self._digests.append(blake3(data).hexdigest())
            home.snapshots.data["ana", self._digests[-1]] = data

    def _ids(self, index: int) -> list[int]:
        return self._lm.encode(Message(role=Role.USER, content=f"k{index}"))

    async def summary(self, agent: str) -> AgentSummary:
        return AgentSummary.model_construct(fingerprint=self._lm.fingerprint)

    async def lineage(self, agent: str, branch: str) -> list[Episode]:
        snapshots = (Snapshot(digest=digest, n_bytes=1) for digest in self._digests)
        return [
            Episode.model_construct(
                id=f"e{n}", index=n, agent=agent, thread_id=1, start=n, stop=n + 1, passes=1,
                snapshot=snapshot, numerics={},
            )
            for n, snapshot in enumerate(snapshots, 1)
        ]  # fmt: skip

    async def tokens(self, thread_id: int, start: int, stop: int) -> list[int]:
        return self._ids(start - 1)


async def test_a_life_of_thousands_is_verified_in_the_memory_of_one_episode(home: Home) -> None:
    n_episodes, n_first = 2000, 1100
    home.log, n_verified, traced = LongLife(home, n_episodes), 0, []
    async with home.memory() as memory:
        tracemalloc.start()
        try:
            life = memory.replay("ana", verify=True)
            async for one in life:
                n_verified += one.verified is True
                if n_verified in (100, n_first):
                    traced.append(tracemalloc.get_traced_memory()[0])
                if n_verified == n_first:
                    break
            await life.aclose()
        finally:
            tracemalloc.stop()
        n_bytes = len(home.lm.dump(home.lm.blank()))
        assert traced[1] - traced[0] < 100 * n_bytes, "that of one episode in ten is kept"
        resumed = [one async for one in memory.replay("ana", since=n_first, verify=True)]
    assert [one.episode.index for one in resumed] == list(range(n_first + 1, n_episodes + 1))
    assert all(one.verified for one in resumed)


async def test_agents_and_names(lived: Home) -> None:
    async with lived.memory() as memory:
        with pytest.raises(AgentNotFound):
            await memory.agent("nobody", create=False)
        with pytest.raises(BranchNotFound):
            await memory.agent("ana", branch="nowhere")
        with pytest.raises(AgentNotFound):
            await memory.agent("nobody", branch="nowhere")
        assert [summary.agent for summary in await memory.agents()] == ["ana"]
        ana = await memory.agent("ana")
        assert ana is await memory.agent("ana")
        assert (ana.name, ana.branch) == ("ana", "main")
        assert memory.lm is lived.lm
        side = ana.thread("side")
        assert (side.agent, side.branch, side.name) == ("ana", "main", "side")
    with pytest.raises(NotOpen):
        await replayed(memory)


async def test_opening_again_wakes_the_same_agent(home: Home) -> None:
    home.log = Hooked(home.log)
    memory = home.memory()
    for n in range(3):
        async with memory:
            assert await memory.open() is memory
            ana = await memory.agent("ana")
            expected = await home.reply_to("ana", f"n={n}")
            assert (await ana.say(f"n={n}")).text == expected
