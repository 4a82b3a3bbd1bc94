"""After any life and any rules: heads wake, rows and bytes agree, all can be derived again."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from home import Home, Hooked
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepmem.errors import StoreError, StoreUnavailable
from sleepmem.memory import SleepMemory
from sleepmem.store import SnapshotFiles
from sleepmem.testing.life import history

AGENTS, THREADS = st.sampled_from(["ana", "bob"]), st.sampled_from(["main", "side"])
NOTHING: dict[str, Any] = {"keep_last": 0, "keep_within": None}
steps = st.one_of(
    st.tuples(st.just("live"), AGENTS, THREADS),
    st.tuples(st.just("live"), AGENTS, THREADS),
    st.tuples(st.just("wait"), st.integers(0, 60)),
    st.tuples(st.just("orphan"), AGENTS, st.integers(0, 9)),
    st.tuples(st.just("pin"), AGENTS, st.integers(1, 6), st.booleans()),
    st.tuples(
        st.just("gc"),
        st.one_of(st.none(), AGENTS),
        st.integers(0, 4),
        st.one_of(st.none(), st.integers(0, 60)),
        st.booleans(),
    ),
    st.tuples(st.just("replay"), AGENTS),
)


class Player:
    """Plays the steps of a script on one home."""

    def __init__(self, home: Home, memory: SleepMemory) -> None:
        self.home, self.memory, self.n_said = home, memory, 0

    async def live(self, agent: str, thread: str) -> None:
        self.n_said += 1
        live = (await self.memory.agent(agent)).thread(thread)
        await live.say(f"k{self.n_said}=v and more")
        await live.sleep()

    async def wait(self, days: int) -> None:
        self.home.clock.advance(days * 86_400.0)

    async def orphan(self, agent: str, n: int) -> None:
        await self.home.snapshots.put(agent, bytes([n]))

    async def pin(self, agent: str, place: int, pinned: bool) -> None:
        if await self.n_episodes(agent) >= place:
            await self.memory.pin(agent, place, pinned=pinned)

    async def gc(self, agent: str | None, last: int, days: int | None, dry_run: bool) -> None:
        if agent in (None, *[found.agent for found in await self.memory.agents()]):
            within = None if days is None else timedelta(days=days)
            await self.memory.gc(agent, keep_last=last, keep_within=within, dry_run=dry_run)

    async def replay(self, agent: str) -> None:
        if await self.n_episodes(agent):
            assert [r.verified async for r in self.memory.replay(agent, verify=True)]

    async def n_episodes(self, agent: str) -> int:
        found = [s.n_episodes for s in await self.memory.agents() if s.agent == agent]
        return found[0] if found else 0


async def assert_well(home: Home, memory: SleepMemory) -> None:
    await memory.gc(**NOTHING)
    for agent in [found.agent for found in await memory.agents()]:
        await home.check(agent)
        episodes = (await history(home.log, agent)).episodes
        heads = {head for head in (await history(home.log, agent)).heads.values() if head}
        marked = {e.snapshot.digest for e in episodes if e.snapshot.dropped_at is not None}
        stored = set(await home.snapshots.digests(agent))
        assert stored == {e.snapshot.digest for e in episodes} - marked
        assert {e.snapshot.digest for e in episodes if e.id in heads} <= stored
        assert [r.verified async for r in memory.replay(agent, verify=True)] == [True] * len(
            episodes
        )
        assert set(await home.snapshots.digests(agent)) == {e.snapshot.digest for e in episodes}


@settings(max_examples=40, deadline=None)
@given(script=st.lists(steps, min_size=4, max_size=20))
def test_any_life_can_be_collected(script: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        home = Home()
        async with home.memory() as memory:
            player = Player(home, memory)
            for verb, *given_ in script:
                await getattr(player, verb)(*given_)
            await assert_well(home, memory)

    asyncio.run(play())


# every k-th call fails


async def lived(folder: Path) -> Home:
    """Return a home with snapshot files, whose agent has slept four times."""
    home = Home(snapshots=SnapshotFiles(folder))
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        for n in range(4):
            await ana.say(f"k{n}=v{n} and more")
            await ana.sleep()
    (folder / "ana" / f".{'0' * 16}.tmp").write_bytes(b"half")
    return home


async def assert_collected(home: Home, folder: Path) -> None:
    async with home.memory() as memory:
        assert (await (await memory.agent("ana")).say("k3?")).text == "v3"
        await assert_well(home, memory)
    assert not list((folder / "ana").glob(".*"))


@pytest.mark.parametrize("call", ["unlink", "listdir", "lstat", "fsync"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
async def test_any_failing_system_call_is_told_and_leaves_a_valid_store(
    tmp_path: Path, call: str, code: int
) -> None:
    real, n_failed = getattr(os, call), 0
    while True:
        folder = tmp_path / str(n_failed)
        home = await lived(folder)
        n_calls = 0

        def failing(*args: Any, at: int = n_failed + 1, **options: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            if n_calls == at:
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, call, failing)
            async with home.memory() as memory:
                if await failed(lambda memory=memory: memory.gc(**NOTHING)):  # type: ignore[misc]
                    n_failed += 1
                else:
                    break
        await assert_collected(home, folder)
    assert n_failed, "it was never called"


async def test_any_failing_store_call_is_told_and_leaves_a_valid_store(tmp_path: Path) -> None:
    n_failed = 0
    while True:
        folder = tmp_path / str(n_failed)
        home = await lived(folder)
        log, snapshots, n_calls = home.log, home.snapshots, 0

        async def hook(name: str, when: str, at: int = n_failed + 1) -> None:
            nonlocal n_calls
            n_calls += 1
            if n_calls == at:
                raise StoreUnavailable(f"{when} {name}")

        home.log, home.snapshots = Hooked(log, hook), Hooked(snapshots, hook)
        async with home.memory() as memory:
            if not await failed(lambda memory=memory: memory.gc(**NOTHING)):  # type: ignore[misc]
                break
        n_failed += 1
        home.log, home.snapshots = log, snapshots
        await assert_collected(home, folder)
    assert n_failed > 20


async def failed(work: Callable[[], Any]) -> bool:
    try:
        await work()
    except StoreError:
        return True
    return False
