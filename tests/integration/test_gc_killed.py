"""SIGKILL at every change that a collection makes: heads wake, and the next one ends it.

And at every change of a deletion: nothing of the agent stays behind, and nothing else goes.

The long form kills at every call of a store as well, before and after:

    pytest -m slow tests/integration/test_gc_killed.py
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from killed_gc import NOTHING, WINDOW, collect, delete, is_change, stores_at
from killed_life import is_any
from nursery import Nursery

from sleepmem import SleepMemory
from sleepmem.store import SnapshotFiles, SnapshotRows, SqlEpisodeLog, open_log
from sleepmem.testing import FakeSleepLM
from sleepmem.testing.life import history

pytestmark = pytest.mark.timeout(600)  # the first process waits for imports, torch among them
N_SHARDS = 2
FORMS = [
    *(pytest.param(is_change, n, id=f"changes-{n}") for n in range(N_SHARDS)),
    pytest.param(is_any, 0, id="every point", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]
N_SLEEPS = 4


@asynccontextmanager
async def opened(
    folder: Path, is_rows: bool
) -> AsyncIterator[tuple[SqlEpisodeLog, SnapshotFiles | SnapshotRows, SleepMemory]]:
    log = await open_log(f"sqlite:///{folder / 'agents.db'}")
    snapshots = stores_at(folder, log, is_rows)
    async with SleepMemory.of(
        lm=FakeSleepLM(WINDOW), log=log, snapshots=snapshots, max_tokens=4, min_tokens=4
    ) as memory:
        yield log, snapshots, memory
    await log.aclose()


async def lived(folder: Path, is_rows: bool) -> None:
    """Let ana and bob sleep, and leave what killed processes leave."""
    async with opened(folder, is_rows) as (_, snapshots, memory):
        for name in ("ana", "bob"):
            agent = await memory.agent(name)
            for n in range(N_SLEEPS if name == "ana" else 1):
                await agent.say(f"k{n}=v{n} and more")
                await agent.sleep()
        await snapshots.put("ana", b"never committed")
    if not is_rows:
        for n in (1, 2):
            (folder / "snapshots" / "ana" / f".{n:016x}.tmp").write_bytes(b"half")


@pytest.fixture(scope="module", params=["files", "rows"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    asyncio.run(lived(folder, request.param == "rows"))
    return folder


async def assert_well(folder: Path, is_rows: bool) -> None:
    async with opened(folder, is_rows) as (log, snapshots, memory):
        for name in ("ana", "bob"):
            assert (await (await memory.agent(name)).say("k0?")).text == "v0"
        for episode in (await history(log, "ana")).episodes:
            if episode.snapshot.dropped_at is None:
                assert await snapshots.has("ana", episode.snapshot.digest), "missing, not marked"
        await memory.gc(**NOTHING)
        assert (await memory.gc(dry_run=True, **NOTHING)).removed == ()
        head = (await log.head("ana", "main")).snapshot
        assert await snapshots.digests("ana") == [head]
        if not is_rows:
            assert [path.name for path in (folder / "snapshots" / "ana").iterdir()] == [head]
        restored = [r.restored async for r in memory.replay("ana", verify=True)]
        assert restored == [True] * (N_SLEEPS - 1) + [False]
        assert len(await snapshots.digests("ana")) == N_SLEEPS


async def killed_everywhere(
    nursery: Nursery,
    template: Path,
    ram: Path,
    living: Callable[..., None],
    is_well: Callable[[Path, bool], Awaitable[None]],
    counts: Any,
    shard: int,
) -> set[str]:
    """Kill a process at each point of every shard in turn, look at what it left, and say where."""
    is_rows = template.name.startswith("rows")
    n_shards = 1 if counts is is_any else N_SHARDS
    at, seen = shard + 1, set[str]()
    while True:
        folder = ram / str(at)
        shutil.copytree(template, folder)
        life = nursery.life(living, folder, is_rows, at, counts)
        await is_well(folder, is_rows)
        if not life.killed:
            return seen
        seen.add(life.killed)
        at += n_shards


@pytest.mark.parametrize(("counts", "shard"), FORMS)
async def test_killed_collection_leaves_a_valid_store(
    nursery: Nursery, template: Path, ram: Path, counts: Any, shard: int
) -> None:
    seen = await killed_everywhere(nursery, template, ram, collect, assert_well, counts, shard)
    assert seen & {"after sweep", "after unlink"}, seen


async def assert_deleted(folder: Path, is_rows: bool) -> None:
    """See that ana is there as a whole, or is gone with all its bytes after a collection."""
    async with opened(folder, is_rows) as (_, snapshots, memory):
        of_bob = await snapshots.sizes("bob")
        if "ana" in [found.agent for found in await memory.agents()]:
            assert (await (await memory.agent("ana")).say("k3?")).text == "v3"
            assert len(await snapshots.digests("ana")) == N_SLEEPS + 1
            await memory.delete_agent("ana")
        await memory.gc()
        assert await snapshots.sizes("ana") == {}
        assert await snapshots.sizes("bob") == of_bob
        if not is_rows:
            assert list((folder / "snapshots" / "ana").iterdir()) == []
        assert (await (await memory.agent("bob")).say("k0?")).text == "v0"


@pytest.mark.parametrize(("counts", "shard"), FORMS)
async def test_killed_deletion_is_ended_by_a_collection(
    nursery: Nursery, template: Path, ram: Path, counts: Any, shard: int
) -> None:
    seen = await killed_everywhere(nursery, template, ram, delete, assert_deleted, counts, shard)
    assert ("after unlink" in seen) != template.name.startswith("rows"), seen
