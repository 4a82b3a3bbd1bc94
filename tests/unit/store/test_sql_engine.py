from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from sqlalchemy import event, text

from sleepmem.errors import ConfigError, MissingExtra
from sleepmem.store.engine import (
    append_engine,
    async_engine,
    database_name,
    normalised,
    reading,
    sqlite_file,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///x.db", "sqlite+aiosqlite:///x.db"),
        ("sqlite+aiosqlite:////a/x.db", "sqlite+aiosqlite:////a/x.db"),
        ("postgresql://h/n", "postgresql+psycopg://h/n"),
        ("postgres://h/n", "postgresql+psycopg://h/n"),
        ("postgresql+asyncpg://h/n", "postgresql+psycopg://h/n"),
    ],
)
def test_url_gets_its_driver(given: str, expected: str) -> None:
    assert str(normalised(given)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "agents.db",
        "mysql://h/n",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "postgresql://h:port/n",
        "postgresql://h",
        "postgresql:///?host=/run/postgresql",
        "sqlite:///a\0b",
        "postgresql://h/\ud800",
    ],
)
def test_url_that_cannot_work_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        normalised(url)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_postgres_without_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra) as caught:
        normalised("postgresql://h/n")
    assert caught.value.extra == "postgres"


def test_messages_name_the_database_without_password() -> None:
    name = database_name(normalised("postgresql://me:secret@h/n"))
    assert name == "postgresql://me:***@h/n"
    assert database_name(normalised("sqlite:///x.db")) == "sqlite:///x.db"


def test_only_sqlite_has_a_file() -> None:
    assert sqlite_file(normalised("sqlite:///a/x.db")) == Path("a/x.db")
    assert sqlite_file(normalised("postgresql://h/n")) is None


async def test_sqlite_is_set_up_to_be_durable(tmp_path: Path) -> None:
    engine = async_engine(normalised(f"sqlite:///{tmp_path / 'x.db'}"))
    async with reading(engine).begin() as connection:
        for pragma, expected in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 10_000),
        ):
            assert await connection.scalar(text(f"PRAGMA {pragma}")) == expected
    await engine.dispose()


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 0)])
def test_appends_are_as_durable_as_the_rest(
    tmp_path: Path, durable: bool, synchronous: int
) -> None:
    engine = append_engine(normalised(f"sqlite:///{tmp_path / 'x.db'}"), durable=durable)
    with engine.begin() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == synchronous
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    engine.dispose()


@pytest.mark.postgres
@pytest.mark.parametrize(("durable", "setting"), [(True, "on"), (False, "off")])
def test_appends_on_postgres_are_flushed_unless_told(
    postgres_url: str, durable: bool, setting: str
) -> None:
    engine = append_engine(normalised(postgres_url), durable=durable)
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == setting
    engine.dispose()


async def test_rush_waits_for_the_connections_that_there_are(tmp_path: Path) -> None:
    engine, opened = async_engine(normalised(f"sqlite:///{tmp_path / 'x.db'}")), []
    event.listen(engine.sync_engine, "connect", lambda *made: opened.append(made))

    async def look() -> int:
        async with reading(engine).begin() as connection:
            return int(await connection.scalar(text("SELECT 1")) or 0)

    for _ in range(3):
        assert await asyncio.gather(*(look() for _ in range(20))) == [1] * 20
    assert len(opened) == 5
    await engine.dispose()


async def test_readers_do_not_wait_for_a_writer_and_see_one_state(tmp_path: Path) -> None:
    engine = async_engine(normalised(f"sqlite:///{tmp_path / 'x.db'}"))
    count = text("SELECT count(*) FROM t")
    async with engine.begin() as writer:
        await writer.execute(text("CREATE TABLE t (n INTEGER)"))
    async with reading(engine).begin() as reader:
        assert await reader.scalar(count) == 0
        async with engine.begin() as writer:
            await writer.execute(text("INSERT INTO t VALUES (1)"))
        assert await reader.scalar(count) == 0
    async with reading(engine).begin() as reader:
        assert await reader.scalar(count) == 1
    await engine.dispose()
