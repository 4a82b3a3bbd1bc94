"""Snapshots as rows under the whole runtime: whoever reaches the database can wake its agents."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from sqlalchemy import text

from sleepmem import SleepMemory
from sleepmem.errors import SnapshotNotFound
from sleepmem.store.engine import normalised, sync_engine
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Outcome

WAKE = """
import asyncio, sys
from sleepmem import SleepMemory
from sleepmem.testing import FakeSleepLM

async def main() -> None:
    async with SleepMemory(sys.argv[1], model=FakeSleepLM(window=200), data=sys.argv[2]) as memory:
        ana = await memory.agent("ana", create=False)
        print((await ana.say("pet?")).text)

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a database that keeps snapshots as rows: asked for, or by itself."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    monkeypatch.setenv("SLEEPMEM_SNAPSHOTS", "rows")
    return f"sqlite:///{tmp_path / 'agents.db'}"


def memory_at(url: str, data: Path) -> SleepMemory:
    model = FakeSleepLM(window=200)
    return SleepMemory(url, model=model, max_tokens=10, min_tokens=4, data=data)


def n_rows(url: str, table: str) -> int:
    with sync_engine(normalised(url)).connect() as connection:
        return connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0


async def slept(url: str, data: Path) -> None:
    """Let ana live up to a sleep and forget all but her snapshot."""
    async with memory_at(url, data) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex and more")
        assert (await ana.sleep()).outcome is Outcome.SLEPT


async def test_process_with_an_empty_data_folder_wakes_the_agent(url: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    await slept(url, here)
    command = [sys.executable, "-c", WAKE, url, str(there)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    assert await process.communicate() == (b"rex\n", b"")
    assert not here.exists()
    assert not there.exists()
    assert not (tmp_path / "agents.db.snapshots").exists()


async def test_life_is_derived_again_and_deleted_with_its_rows(url: str, tmp_path: Path) -> None:
    await slept(url, tmp_path)
    with sync_engine(normalised(url)).begin() as connection:
        connection.execute(text("DELETE FROM sleepmem_snapshot_chunk"))
    async with memory_at(url, tmp_path) as memory:
        with pytest.raises(SnapshotNotFound):
            await (await memory.agent("ana")).say("pet?")
        _ = [replayed async for replayed in memory.replay("ana", verify=True)]
        assert (await (await memory.agent("ana")).say("pet?")).text == "rex"
        assert n_rows(url, "sleepmem_snapshot_chunk") == 1
        await memory.delete_agent("ana")
    assert n_rows(url, "sleepmem_snapshot_chunk") == 0


@pytest.mark.postgres
async def test_snapshot_files_of_a_postgres_agent_are_found_when_asked_for(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("SLEEPMEM_SNAPSHOTS", "files")
        await slept(postgres_url, tmp_path / "files")
    async with memory_at(postgres_url, tmp_path / "files") as memory:
        ana = await memory.agent("ana")
        with pytest.raises(SnapshotNotFound) as caught:
            await ana.say("pet?")
    assert "SLEEPMEM_SNAPSHOTS=files" in caught.value.hint
    monkeypatch.setenv("SLEEPMEM_SNAPSHOTS", "files")
    async with memory_at(postgres_url, tmp_path / "files") as memory:
        assert (await (await memory.agent("ana")).say("pet?")).text == "rex"
