"""SIGKILL in the middle of a collection: heads wake, and the next one brings it to its end."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest
from killed_gc import NOTHING, WINDOW, collect, stores_at

from sleepmem import SleepMemory
from sleepmem.store import open_log
from sleepmem.testing import FakeSleepLM

CALLS = ("sizes", "history", "drop", "sweep", "delete", "leftovers")
POINTS = [
    *(f"{when} {call}" for call in (*CALLS, "unlink", "fsync") for when in ("before", "after")),
]
TIMES = {"sweep": (1, 3), "delete": (1, 3), "unlink": (1, 2, 6), "fsync": (1, 2, 6)}
SOME = {("after drop", 1), ("after sweep", 3), ("before unlink", 1), ("after unlink", 2)}
SOME |= {("after unlink", 6), ("after delete", 3)}
ALL = [(point, n) for point in POINTS for n in TIMES.get(point.split()[1], (1,))]
START_S = 60.0  # seconds; a process that needs longer to get there has hung
N_SLEEPS = 5


async def lived(folder: Path, is_rows: bool) -> None:
    """Let ana and bob sleep, and leave what killed processes leave."""
    log = await open_log(f"sqlite:///{folder / 'agents.db'}")
    snapshots = stores_at(folder, log, is_rows)
    async with SleepMemory.of(
        lm=FakeSleepLM(WINDOW), log=log, snapshots=snapshots, max_tokens=4, min_tokens=4
    ) as memory:
        for name in ("ana", "bob"):
            agent = await memory.agent(name)
            for n in range(N_SLEEPS if name == "ana" else 1):
                await agent.say(f"k{n}=v{n} and more")
                await agent.sleep()
    await snapshots.put("ana", b"never committed")
    if not is_rows:
        for n in (1, 2):
            (folder / "snapshots" / "ana" / f".{n:016x}.tmp").write_bytes(b"half")
    await log.aclose()


@pytest.fixture(scope="module", params=["files", "rows"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    asyncio.run(lived(folder, request.param == "rows"))
    return folder


@pytest.fixture(scope="module")
def nursery() -> multiprocessing.context.ForkServerContext:
    """Return where processes are born quickly, with everything imported and nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_gc"])
    return context


def killed(
    nursery: multiprocessing.context.ForkServerContext,
    folder: Path,
    is_rows: bool,
    point: str,
    n: int,
) -> None:
    """Collect in a process that is killed at a point."""
    here, there = nursery.Pipe(duplex=False)
    process = nursery.Process(target=collect, args=(folder, is_rows, point, n, there))
    process.start()
    there.close()
    try:
        assert here.poll(START_S), "it hangs"
        with pytest.raises(EOFError):
            here.recv()
        process.join(START_S)
        assert process.exitcode == -signal.SIGKILL, "it lived to the end"
    finally:
        process.kill()
        process.join(START_S)
        process.close()
        here.close()


async def assert_well(folder: Path, is_rows: bool) -> None:
    log = await open_log(f"sqlite:///{folder / 'agents.db'}")
    snapshots = stores_at(folder, log, is_rows)
    async with SleepMemory.of(
        lm=FakeSleepLM(WINDOW), log=log, snapshots=snapshots, max_tokens=4, min_tokens=4
    ) as memory:
        for name in ("ana", "bob"):
            assert (await (await memory.agent(name)).say("k0?")).text == "v0"
        for episode in (await log.history("ana")).episodes:
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
    await log.aclose()


@pytest.mark.parametrize(
    ("point", "n"),
    [
        pytest.param(
            *case, marks=[] if case in SOME else [pytest.mark.slow], id="{} {}".format(*case)
        )
        for case in ALL
    ],
)
async def test_killed_collection_leaves_a_valid_store(
    nursery: multiprocessing.context.ForkServerContext,
    template: Path,
    tmp_path: Path,
    point: str,
    n: int,
) -> None:
    is_rows = template.name.startswith("rows")
    if is_rows and point.endswith(("unlink", "fsync")):
        pytest.skip("rows are deleted by their database")
    folder = tmp_path / "home"
    shutil.copytree(template, folder)
    killed(nursery, folder, is_rows, point, n)
    await assert_well(folder, is_rows)
