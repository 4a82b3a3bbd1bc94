"""Engines for SQLite and Postgres, with the settings that make a commit durable.

SQLite's driver is kept out of transactions: a writer begins with BEGIN IMMEDIATE, because a
deferred transaction that turns into a writer fails at once, whatever the busy timeout. A reader
begins with BEGIN and sees one state of the database.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sleepmem.errors import ConfigError, MissingExtra

_READS = "sleepmem_reads"  # the execution option of a connection that only reads
_BUSY_TIMEOUT_MS = 10_000  # far longer than a commit; a writer that waits longer is stuck
READERS = 5  # reads at a time; more wait, which is cheaper than connections for a rush
# of each connection; SQLite takes 2,000, and a pool of them outweighed the agents. The one that
# appends writes to more pages at once than the others hold: it read them all again each time
_CACHE_KIB, _APPENDS_CACHE_KIB = 256, 1_000


def normalised(url: str | URL) -> URL:
    """Return the URL with the driver that is used: aiosqlite or psycopg.

    Raises:
        ConfigError: not a URL, another kind of database, or one without a file or a name.
        MissingExtra: Postgres without its driver.
    """
    try:
        if isinstance(url, str) and b"\0" in url.encode():
            raise ValueError("a URL holds no NUL")
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        raise ConfigError(
            "the database URL cannot be read", hint="Use sqlite:///FILE or postgresql://HOST/NAME."
        ) from exc
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:") or "mode" in parsed.query:
            raise ConfigError(
                "a database in memory would forget", hint="Name a file: sqlite:///agents.db"
            )
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        if importlib.util.find_spec("psycopg") is None:
            raise MissingExtra("a Postgres database", "postgres")
        if not parsed.database:  # Postgres would take the one that is called like the user
            raise ConfigError(
                "the Postgres URL names no database", hint="Use postgresql://HOST/NAME."
            )
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(
        f"{backend!r} is not a database that sleepmem knows",
        hint="Use sqlite:///FILE or postgresql://HOST/NAME.",
    )


def database_name(url: URL) -> str:
    """Return how messages name the database: without password and driver."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite URL, None for other databases."""
    is_file = url.get_backend_name() == "sqlite" and url.database
    return Path(url.database or "") if is_file else None


def async_engine(url: URL, *, durable: bool = True) -> AsyncEngine:
    """Return the engine of a log's writes; the caller disposes of it.

    Args:
        durable: false lets a commit return before it is flushed, to measure what it costs beside.
    """
    # readers have connections of their own; with them a process opens as many as it did without
    overflow = {} if url.get_backend_name() == "sqlite" else {"max_overflow": READERS}
    engine = create_async_engine(url, **overflow, **_settings(url, durable))
    _prepare(engine.sync_engine, foreign_keys=True, durable=durable)
    return engine


def append_engine(url: URL, *, durable: bool = True) -> Engine:
    """Return the engine of the one thread that appends; it keeps one connection."""
    engine = create_engine(_sync(url), pool_size=1, max_overflow=0, **_settings(url, durable))
    _prepare(engine, foreign_keys=True, durable=durable, cache_kib=_APPENDS_CACHE_KIB)
    return engine


def read_engine(url: URL) -> Engine:
    """Return the engine of the threads that read, `READERS` at most: a connection for each."""
    engine = create_engine(_sync(url), pool_size=READERS, max_overflow=0, **_settings(url))
    _prepare(engine, foreign_keys=True)
    return reading(engine)


def sync_engine(url: URL) -> Engine:
    """Return an engine for migrations, which keeps no connection.

    SQLite alters a table by copying and dropping it, so foreign keys are not enforced meanwhile.
    """
    engine = create_engine(_sync(url), poolclass=NullPool, **_settings(url, pooled=False))
    _prepare(engine, foreign_keys=False)
    return engine


def reading(engine: Engine) -> Engine:
    """Return a view of `engine` whose transactions see one state and write nothing."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_READS: True})
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _sync(url: URL) -> URL:
    """Return `url` with the driver that no event loop is needed for."""
    return url.set(drivername=url.drivername.replace("+aiosqlite", ""))


def _settings(url: URL, durable: bool = True, *, pooled: bool = True) -> dict[str, Any]:
    settings: dict[str, Any] = {"hide_parameters": True}  # errors are logged, messages are not
    if url.get_backend_name() == "sqlite":
        # isolation_level None: the driver begins no transaction of its own
        return settings | {"connect_args": {"isolation_level": None}}
    # who waited for a lock must see what was committed meanwhile, whatever the server's default is
    settings["isolation_level"] = "READ COMMITTED"
    if not durable:
        settings["connect_args"] = {"options": "-c synchronous_commit=off"}
    # a connection that died in the pool is replaced before it is used
    return settings | ({"pool_pre_ping": True} if pooled else {})


def _prepare(
    engine: Engine, *, foreign_keys: bool, durable: bool = True, cache_kib: int = _CACHE_KIB
) -> None:
    if engine.dialect.name != "sqlite":
        return

    def set_pragmas(dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute(f"PRAGMA cache_size=-{cache_kib}")
        # the log is the truth: a commit survives power loss
        cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        # switching does not wait for a lock; who holds it is switching, or the next connection will
        with suppress(OperationalError):
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

    event.listen(engine, "connect", set_pragmas)
    event.listen(engine, "begin", _begin)


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
