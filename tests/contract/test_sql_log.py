from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sleepmem.store import SqlEpisodeLog, open_log
from sleepmem.store.migrate import upgrade
from sleepmem.testing.log_contract import EpisodeLogContract


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated database to copy; migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


class TestSqliteEpisodeLog(EpisodeLogContract):
    @pytest.fixture
    async def log(self, migrated: Path, tmp_path: Path) -> AsyncIterator[SqlEpisodeLog]:
        path = shutil.copy(migrated, tmp_path / "agents.db")
        log = await open_log(f"sqlite:///{path}")
        yield log
        await log.aclose()


@pytest.mark.postgres
class TestPostgresEpisodeLog(EpisodeLogContract):
    @pytest.fixture
    async def log(self, postgres_url: str) -> AsyncIterator[SqlEpisodeLog]:
        log = await open_log(postgres_url)
        yield log
        await log.aclose()
