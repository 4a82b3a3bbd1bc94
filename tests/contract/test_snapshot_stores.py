from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sleepmem.store import (
    MemorySnapshotStore,
    SnapshotFiles,
    SnapshotRows,
    SqlEpisodeLog,
    open_log,
)
from sleepmem.testing.life import Life
from sleepmem.testing.snapshot_contract import NAMES, SnapshotStoreContract


async def with_agents(url: str) -> SqlEpisodeLog:
    """Return the log at `url` with every agent of the contract."""
    log = await open_log(url)
    await asyncio.gather(*(Life.born(log, name) for name in NAMES))
    return log


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database to copy; filling one takes longer than most tests."""
    path = tmp_path_factory.mktemp("peopled") / "agents.db"

    async def fill() -> None:
        await (await with_agents(f"sqlite:///{path}")).aclose()

    asyncio.run(fill())
    return path


class TestMemorySnapshotStore(SnapshotStoreContract):
    @pytest.fixture
    def store(self) -> MemorySnapshotStore:
        return MemorySnapshotStore()


class TestSnapshotFiles(SnapshotStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SnapshotFiles:
        return SnapshotFiles(tmp_path / "not" / "yet" / "there")


class TestSqliteSnapshotRows(SnapshotStoreContract):
    @pytest.fixture
    async def store(self, peopled: Path, tmp_path: Path) -> AsyncIterator[SnapshotRows]:
        log = await open_log(f"sqlite:///{shutil.copy(peopled, tmp_path / 'agents.db')}")
        yield SnapshotRows(log)
        await log.aclose()


@pytest.mark.postgres
class TestPostgresSnapshotRows(SnapshotStoreContract):
    @pytest.fixture
    async def store(self, postgres_url: str) -> AsyncIterator[SnapshotRows]:
        log = await with_agents(postgres_url)
        yield SnapshotRows(log)
        await log.aclose()
