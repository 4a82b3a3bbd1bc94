from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from threading import current_thread

import pytest
from sqlalchemy import Connection, event, text

from sleepmem.errors import ConfigError, MissingExtra
from sleepmem.store.engine import (
    READERS,
    append_engine,
    async_engine,
    database_name,
    normalised,
    read_engine,
    sqlite_file,
)
from sleepmem.store.transactions import Transactions


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
    async with engine.begin() as connection:
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


async def test_rush_of_reads_waits_for_the_threads_that_there_are(tmp_path: Path) -> None:
    url, opened = f"sqlite:///{tmp_path / 'x.db'}", []
    database = Transactions(normalised(url))
    event.listen(database._reader, "connect", lambda *made: opened.append(made))

    def look(connection: Connection) -> str:
        assert connection.scalar(text("SELECT 1")) == 1
        return current_thread().name

    for _ in range(3):
        threads = await asyncio.gather(*(database.read(look) for _ in range(20)))
        assert all(name.startswith("sleepmem-read") for name in threads), "never the event loop's"
    assert 1 <= len(opened) <= READERS
    await database.aclose()


async def test_readers_do_not_wait_for_a_writer_and_see_one_state(tmp_path: Path) -> None:
    engine = async_engine(normalised(f"sqlite:///{tmp_path / 'x.db'}"))
    count = text("SELECT count(*) FROM t")
    async with engine.begin() as writer:
        await writer.execute(text("CREATE TABLE t (n INTEGER)"))
    reads = read_engine(normalised(f"sqlite:///{tmp_path / 'x.db'}"))
    with reads.begin() as reader:
        assert reader.scalar(count) == 0
        async with engine.begin() as writer:
            await writer.execute(text("INSERT INTO t VALUES (1)"))
        assert reader.scalar(count) == 0
    with reads.begin() as reader:
        assert reader.scalar(count) == 1
    reads.dispose()
    await engine.dispose()


@pytest.mark.postgres
async def test_postgres_is_asked_for_its_isolation_whatever_its_default(postgres_url: str) -> None:
    """Who waited for a lock would fail, or read what was, under a stricter default."""
    stricter = {"options": "-c default_transaction_isolation=serializable"}
    url = normalised(postgres_url).update_query_dict(stricter)
    isolation = text("SHOW transaction_isolation")
    found = {}
    for name, engine in (("append", append_engine(url)), ("read", read_engine(url))):
        with engine.begin() as connection:
            found[name] = connection.scalar(isolation)
        engine.dispose()
    writes = async_engine(url)
    async with writes.begin() as waiting:
        found["write"] = await waiting.scalar(isolation)
    await writes.dispose()
    assert found == {
        "append": "read committed",
        "write": "read committed",
        "read": "repeatable read",
    }
