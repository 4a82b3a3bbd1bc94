from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from weakref import ref

import pytest
from sqlalchemy import update

from sleepmem.store import SqlEpisodeLog, open_log, schema
from sleepmem.store.migrate import upgrade
from sleepmem.testing.life import Life
from sleepmem.testing.log_contract import EpisodeLogContract
from sleepmem.types import MAIN, Episode


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated database to copy; migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


class SqlLogContract(EpisodeLogContract):
    async def test_history_holds_a_page_of_a_life_at_a_time(
        self, log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sleepmem.store.history._SOME", 2)
        life = await Life.born(log)
        for _ in range(7):
            await life.stage(done=True)
            await life.sleep()
        shown: list[str] = []
        seen: list[ref[Episode]] = []
        most = 0

        def show(episode: Episode) -> None:
            nonlocal most
            shown.append(episode.id)
            seen.append(ref(episode))
            most = max(most, sum(known() is not None for known in seen))

        await log.history("ana", lambda heads: show)
        assert shown == [episode.id for episode in reversed(await log.lineage("ana", MAIN))]
        assert most <= 2

    async def test_history_shows_episodes_of_one_depth_once(
        self, log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sleepmem.store.history._SOME", 2)
        life = await Life.born(log)
        for _ in range(7):
            await life.stage(done=True)
            await life.sleep()
        at_one_depth = update(schema.episode).where(schema.episode.c.n > 2).values(n=2)
        await log.write(lambda connection: connection.execute(at_one_depth))
        shown: list[str] = []
        await log.history("ana", lambda heads: lambda episode: shown.append(episode.id))
        assert len(shown) == len(set(shown)) == 7


class TestSqliteEpisodeLog(SqlLogContract):
    @pytest.fixture
    async def log(self, migrated: Path, tmp_path: Path) -> AsyncIterator[SqlEpisodeLog]:
        path = shutil.copy(migrated, tmp_path / "agents.db")
        log = await open_log(f"sqlite:///{path}")
        yield log
        await log.aclose()


@pytest.mark.postgres
class TestPostgresEpisodeLog(SqlLogContract):
    @pytest.fixture
    async def log(self, postgres_url: str) -> AsyncIterator[SqlEpisodeLog]:
        log = await open_log(postgres_url)
        yield log
        await log.aclose()
