from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from sleepmem.store import SqlEpisodeLog, open_log, schema
from sleepmem.store.migrate import upgrade
from sleepmem.testing.life import Life
from sleepmem.testing.log_contract import EpisodeLogContract
from sleepmem.types import MAIN


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated database to copy; migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


async def lived_by_pages_of_two(log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live seven episodes, to be shown two at a time."""
    monkeypatch.setattr("sleepmem.store.history._SOME", 2)
    life = await Life.born(log)
    for _ in range(7):
        await life.stage(done=True)
        await life.sleep()


class SqlLogContract(EpisodeLogContract):
    async def test_history_holds_a_page_of_a_life_at_a_time(
        self, log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await lived_by_pages_of_two(log, monkeypatch)
        shown: list[str] = []
        n_rows: list[int] = []

        def pages(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if "sleepmem_episode" in statement:
                n_rows.append(statement.count("LIMIT"))

        event.listen(log._reader, "before_cursor_execute", pages)
        await log.history("ana", lambda heads: lambda episode: shown.append(episode.id))
        event.remove(log._reader, "before_cursor_execute", pages)
        assert shown == [episode.id for episode in reversed(await log.lineage("ana", MAIN))]
        assert n_rows == [1] * 5  # of seven episodes by two, and the look that finds no more

    async def test_history_shows_episodes_of_one_depth_once(
        self, log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await lived_by_pages_of_two(log, monkeypatch)
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
