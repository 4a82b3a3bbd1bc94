"""SIGKILL at every change that turns and sleeps make: nothing acknowledged is lost or read twice.

Between two changes a process only reads and computes, so dying there leaves what the change before
left. The long form does not take that on trust: it kills at every call of a store, every token and
every step of a sleep, with files, with rows and on Postgres:

    pytest -m slow tests/integration/test_killed.py
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from killed_life import (
    NATIVELY_TOLD,
    OPTIONS,
    TOLD,
    WINDOW,
    is_any,
    is_change,
    live,
    live_natively,
)
from nursery import Life, Nursery

from sleepmem import SleepMemory
from sleepmem.errors import AgentNotFound
from sleepmem.protocols import SleepLM
from sleepmem.store import SnapshotFiles, SnapshotRows, SqlEpisodeLog, open_log
from sleepmem.store.migrate import upgrade
from sleepmem.testing import FakeSleepLM
from sleepmem.types import MAIN, TurnState

pytestmark = pytest.mark.timeout(600)  # the first process waits for imports, torch among them
N_SHARDS = 4
SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]
FORMS = [
    *(pytest.param(is_change, "files", n, id=f"changes-{n}") for n in range(N_SHARDS)),
    *(
        pytest.param(is_any, kind, n, id=f"{kind}-{n}", marks=[*SLOW, *marks])
        for kind, marks in (
            ("files", []),
            ("rows", []),
            ("postgres", [pytest.mark.postgres]),
        )
        for n in range(N_SHARDS)
    ),
]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@asynccontextmanager
async def opened(
    url: str, folder: Path | None, lm: SleepLM
) -> AsyncIterator[tuple[SqlEpisodeLog, SleepMemory]]:
    log = await open_log(url)
    snapshots = SnapshotFiles(folder) if folder else SnapshotRows(log)
    async with SleepMemory.of(lm=lm, log=log, snapshots=snapshots, **OPTIONS) as memory:
        yield log, memory
    await log.aclose()


async def assert_well(
    url: str, folder: Path | None, lm: SleepLM, told: dict[str, str], life: Life
) -> None:
    """Assert that a new process finds all that was acknowledged and lives each request once."""
    acknowledged = life.acknowledged
    async with opened(url, folder, lm) as (log, memory):
        if acknowledged:
            digests = [replayed.episode.snapshot.digest async for replayed in memory.replay("ana")]
            assert acknowledged.get("slept", "") in [*digests[-1:], ""]
        ana = await memory.agent("ana", create=not acknowledged)
        for request_id, text in told.items():
            reply = await ana.say(text, request_id=request_id)
            assert reply.text == acknowledged.get(request_id, reply.text)
        entries = [entry async for entry in memory.log("ana")]
        assert {entry.state for entry in entries} == {TurnState.DONE}
        assert [entry.content for entry in entries][::2] == list(told.values())
        await ana.sleep(force=True)
        assert [replayed.verified async for replayed in memory.replay("ana", verify=True)]
        [thread] = await log.threads("ana")
        turns = [await log.turn_of_request("ana", request_id) for request_id in told]
        ids = [i for turn in turns if turn for m in turn.messages for i in m.token_ids]
        assert await log.tokens(thread.id, 0, len(ids)) == ids, "the stream is what was said, once"
        edges = [(episode.start, episode.stop) for episode in await log.lineage("ana", MAIN)]
        assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
        assert edges[-1][1] == len(ids)
        if told is TOLD:
            for question, expected in (("pet", "rex"), ("car", "red"), ("fish", "joe")):
                assert (await ana.say(f"{question}?")).text == expected


async def forget(url: str) -> None:
    async with opened(url, None, FakeSleepLM(WINDOW)) as (_, memory):
        with suppress(AgentNotFound):
            await memory.delete_agent("ana")


@pytest.mark.parametrize(("counts", "kind", "shard"), FORMS)
async def test_killed_from_within(
    nursery: Nursery,
    migrated: Path,
    ram: Path,
    request: pytest.FixtureRequest,
    counts: Any,
    kind: str,
    shard: int,
) -> None:
    at, seen = shard + 1, set()
    while True:
        home = ram / str(at)
        home.mkdir()
        folder = home / "snapshots" if kind == "files" else None
        if kind == "postgres":
            url = request.getfixturevalue("postgres_url")
            await forget(url)
        else:
            url = f"sqlite:///{shutil.copy(migrated, home / 'agents.db')}"
        life = nursery.life(live, url, folder, at, counts)
        await assert_well(url, folder, FakeSleepLM(WINDOW), TOLD, life)
        if not life.killed:
            break
        seen.add(life.killed)
        at += N_SHARDS
    assert at > 18, seen


@pytest.mark.parametrize("n", [1, 3])
async def test_killed_from_outside_wherever_it_is(
    nursery: Nursery, migrated: Path, ram: Path, n: int
) -> None:
    url = f"sqlite:///{shutil.copy(migrated, ram / 'agents.db')}"
    life = nursery.life(live, url, ram / "snapshots", 0, is_any, at_most=n)
    await assert_well(url, ram / "snapshots", FakeSleepLM(WINDOW), TOLD, life)


async def test_native_model_killed_at_its_changes(
    nursery: Nursery, migrated: Path, ram: Path, native_checkpoints: list[str]
) -> None:
    from sleepmem.model.checkpoint import load_checkpoint

    lm = load_checkpoint(native_checkpoints[0])
    for at in (3, 6, 9, 10, 11, 12):
        home = ram / str(at)
        home.mkdir()
        url = f"sqlite:///{shutil.copy(migrated, home / 'agents.db')}"
        life = nursery.life(live_natively, native_checkpoints[0], url, home / "snapshots", at)
        await assert_well(url, home / "snapshots", lm, NATIVELY_TOLD, life)
        assert life.killed
