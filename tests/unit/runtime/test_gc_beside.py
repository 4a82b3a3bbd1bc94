"""A collection beside a sleep, at every call of either: no head ever loses its bytes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from home import Home, Hooked

from sleepmem.memory import SleepMemory
from sleepmem.store import (
    MemoryEpisodeLog,
    MemorySnapshotStore,
    SnapshotFiles,
    SnapshotRows,
    open_log,
)
from sleepmem.store.migrate import upgrade
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Outcome

NOTHING: dict[str, Any] = {"keep_last": 0, "keep_within": None}
OPTIONS: dict[str, Any] = {"max_tokens": 4, "min_tokens": 4, "passes": 1}
NEAR = ("before sweep", "before delete", "after put", "before has")
PATIENCE_S = 0.2  # what waits for a lock longer than this gets it later


@dataclass
class Stage:
    """Counts the calls of one process and lets another come on at one of them.

    Attributes:
        seen: the calls so far, each `before` and `after`.
    """

    at: int | None = None
    comes: Callable[[], Coroutine[Any, Any, None]] | None = None
    seen: list[str] = field(default_factory=list)
    other: asyncio.Task[Any] | None = None

    async def __call__(self, name: str, when: str) -> None:
        self.seen.append(f"{when} {name}")
        if len(self.seen) == self.at and self.comes is not None:
            # in a context of its own: what a transaction of ours awaits is a part of it
            self.other = asyncio.create_task(self.comes(), context=Context())
            # inside a transaction of ours it waits for us, and we do not wait for it
            await asyncio.wait([self.other], timeout=PATIENCE_S)


class Stores:
    """Gives each process of a test its own connection to the same stores."""

    def __init__(self, kind: str, url: str, data: Path, points: str) -> None:
        self.kind, self.url, self.data, self.points = kind, url, data, points
        self.shared = (MemoryEpisodeLog(), MemorySnapshotStore())

    @asynccontextmanager
    async def memory(self, stage: Stage) -> AsyncIterator[SleepMemory]:
        if self.kind == "memory":
            log, snapshots = self.shared
        else:
            log = await open_log(self.url)
            is_rows = self.kind.endswith("rows")
            snapshots = SnapshotRows(log) if is_rows else SnapshotFiles(self.data)
        async with SleepMemory.of(
            lm=FakeSleepLM(window=200),
            log=Hooked(log, stage),
            snapshots=Hooked(snapshots, stage),
            **OPTIONS,
        ) as memory:
            yield memory
        await log.aclose()

    async def collect(self, stage: Stage | None = None) -> None:
        async with self.memory(stage or Stage()) as memory:
            await memory.gc(**NOTHING)

    async def live(self, stage: Stage | None = None) -> None:
        """Say something and sleep on it."""
        async with self.memory(stage or Stage()) as memory:
            ana = await memory.agent("ana")
            await ana.say("car=red")
            assert (await ana.sleep(force=True)).outcome is Outcome.SLEPT

    async def derive(self, stage: Stage | None = None) -> None:
        async with self.memory(stage or Stage()) as memory:
            assert [r.verified async for r in memory.replay("ana", verify=True)]

    def is_asked(self, call: str, n: int, whole: Stage) -> bool:
        """Return whether the other process comes at this call."""
        return self.points == "every point" or (call in NEAR and whole.seen.index(call) == n - 1)

    async def assert_well(self) -> None:
        """Assert that the head wakes, that rows and bytes agree, and that all is derived again."""
        async with self.memory(Stage()) as memory:
            ana = await memory.agent("ana")
            assert (await ana.say("pet?")).text == "rex"
        await self.collect()
        async with self.memory(Stage()) as memory:
            assert await self._kept(memory) == await self._stored()
            assert [r.verified async for r in memory.replay("ana", verify=True)]
            assert await self._kept(memory) == await self._stored()

    async def _kept(self, memory: SleepMemory) -> set[str]:
        snapshots = [r.episode.snapshot async for r in memory.replay("ana")]
        return {snapshot.digest for snapshot in snapshots if snapshot.dropped_at is None}

    async def _stored(self) -> set[str]:
        if self.kind == "memory":
            return set(await self.shared[1].digests("ana"))
        if not self.kind.endswith("rows"):
            assert {path.name[0] for path in self.data.glob("ana/*")}.isdisjoint({"."})
            return {path.name for path in self.data.glob("ana/*")}
        log = await open_log(self.url)
        try:
            return set(await SnapshotRows(log).digests("ana"))
        finally:
            await log.aclose()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


SQL = ["sqlite files", "sqlite rows", "postgres files", "postgres rows"]
SLOW = [pytest.mark.slow, pytest.mark.timeout(900)]


def marked(kind: str, points: str, *marks: pytest.MarkDecorator) -> Any:
    """Return a parameter: which stores, and at how many of its points the other process comes."""
    postgres = [pytest.mark.postgres] if kind.startswith("postgres") else []
    return pytest.param((kind, points), marks=[*marks, *postgres], id=f"{kind}, {points}")


KINDS = [
    marked("memory", "every point"),
    *(marked(kind, "some points") for kind in SQL),
    *(marked(kind, "every point", *SLOW) for kind in SQL),
]


async def be_born(stores: Stores) -> None:
    """Let ana, who may have lived there before, be born and sleep twice."""
    async with stores.memory(Stage()) as memory:
        if await memory.agents():
            await memory.delete_agent("ana")
        ana = await memory.agent("ana")
        for text in ("pet=rex and more", "fish=joe and more"):
            await ana.say(text)
            await ana.sleep()


@pytest.fixture(params=KINDS)
async def fresh(
    request: pytest.FixtureRequest, migrated: Path, tmp_path: Path
) -> Callable[[], Awaitable[Stores]]:
    """Return what gives stores in which ana has slept twice, at each call new ones."""
    kind, points = request.param
    n_given = 0

    async def give() -> Stores:
        nonlocal n_given
        n_given += 1
        folder, lived = tmp_path / str(n_given), tmp_path / "lived"
        if not kind.startswith("sqlite"):
            is_postgres = kind.startswith("postgres")
            url = request.getfixturevalue("postgres_url") if is_postgres else ""
            stores = Stores(kind, url, folder, points)
            await be_born(stores)
            return stores
        if not lived.exists():
            lived.mkdir()
            shutil.copy(migrated, lived / "agents.db")
            await be_born(stores_in(lived))
        shutil.copytree(lived, folder)
        return stores_in(folder)

    def stores_in(folder: Path) -> Stores:
        return Stores(kind, f"sqlite:///{folder / 'agents.db'}", folder / "snapshots", points)

    return give


PAIRS = {
    "gc beside a sleep": (Stores.live, Stores.collect),
    "a sleep beside gc": (Stores.collect, Stores.live),
    "gc beside gc": (Stores.collect, Stores.collect),
    "gc beside replay": (Stores.derive, Stores.collect),
}


@pytest.mark.parametrize("pair", PAIRS)
async def test_no_head_loses_its_bytes(fresh: Callable[[], Awaitable[Stores]], pair: str) -> None:
    first, second = PAIRS[pair]
    whole = Stage()
    stores = await fresh()
    await first(stores, whole)
    await stores.assert_well()
    assert len(whole.seen) > 10
    for at in [n for n, call in enumerate(whole.seen, start=1) if stores.is_asked(call, n, whole)]:
        stores = await fresh()
        stage = Stage(at, lambda stores=stores: second(stores))  # type: ignore[misc]
        await first(stores, stage)
        assert stage.other is not None, "the calls differ from run to run"
        await stage.other
        await stores.assert_well()


async def test_same_bytes_that_come_again_are_kept(home: Home) -> None:
    """Slept, swept before the commit, claimed elsewhere, slept again to the very same bytes."""
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex and more")
    log, orphan = home.log, {}

    async def hook(name: str, when: str) -> None:
        if (name, when) == ("put", "after"):
            raise asyncio.CancelledError  # killed before its commit

    home.snapshots = Hooked(home.snapshots, hook)
    with pytest.raises(asyncio.CancelledError):
        async with home.memory() as memory:
            await (await memory.agent("ana")).sleep()
    home.snapshots = home.snapshots._inner
    orphan.update(home.snapshots.data)
    assert len(orphan) == 1

    async def slept_again(name: str, when: str) -> None:
        if (name, when) == ("history", "after"):
            async with home.memory() as other:
                await (await other.agent("ana")).sleep()

    async with SleepMemory.of(
        lm=home.lm, log=Hooked(log, slept_again), snapshots=home.snapshots
    ) as memory:
        assert (await memory.gc(**NOTHING)).removed == ()
    assert home.snapshots.data == orphan
    await home.check("ana")
