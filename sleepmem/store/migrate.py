"""Bring a database to the tables that this sleepmem needs, and say where it stands.

A new database is migrated when it is first opened, an older one only on request. Migrations run
in a thread of their own on one connection and in one transaction, one at a time in the process
and, by a lock in the database, one at a time in the world.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL

from sleepmem.errors import SchemaMismatch, StoreError
from sleepmem.store.engine import database_name, normalised, reading, sqlite_file, sync_engine
from sleepmem.store.schema import metadata
from sleepmem.store.translate import translated

log = logging.getLogger(__name__)

_PREFIX = "sleepmem_"
_LOCK_KEY = 0x736C6565706D  # "sleepm"; any constant that no other program on the server uses
_alembic_turn = threading.Lock()  # alembic keeps its context in module globals


def _is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Leave the tables of a host application alone."""
    return kind != "table" or (name or "").startswith(_PREFIX)


MIGRATION_OPTIONS: dict[str, Any] = {
    "version_table": "sleepmem_schema_version",
    "include_name": _is_ours,
    "render_as_batch": True,  # SQLite cannot alter most of a table
    "compare_type": True,
}


def script_location() -> Path:
    """Return the folder of the migrations: inside an installed package, else in the repository."""
    package = Path(__file__).parents[1]
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("the migrations are missing", hint="Install sleepmem again.")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return the configuration with which alembic's commands run on `connection`."""
    config = Config()
    # alembic interpolates options, so a % in the path is doubled
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """Return the revision that this sleepmem needs."""
    return str(_scripts().get_current_head())


async def current(url: str | URL) -> str | None:
    """Return the revision of a database, None for a new one; creates nothing."""
    return await asyncio.to_thread(_current, normalised(url))


async def upgrade(url: str | URL) -> str:
    """Bring a database to `head()` in one transaction and return that revision.

    Raises:
        SchemaMismatch: a newer sleepmem made it.
    """
    return await asyncio.to_thread(_upgrade, normalised(url))


async def check(url: str | URL) -> str:
    """Return the revision of a database that is what this sleepmem needs.

    Raises:
        SchemaMismatch: its revision is older, newer or none.
        StoreError: its tables were changed by hand.
    """
    return await asyncio.to_thread(_check, normalised(url))


async def make_ready(url: str | URL) -> None:
    """Migrate a new database, accept one at `head()`, refuse every other.

    Raises:
        SchemaMismatch: made by an older or a newer sleepmem.
    """
    await asyncio.to_thread(_make_ready, normalised(url))


def _current(url: URL) -> str | None:
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return None
    with _connected(url, reads=True) as connection:
        return _revision(connection)


def _upgrade(url: URL) -> str:
    with _alembic_turn, _connected(url) as connection:
        if connection.dialect.name == "postgresql":
            # SQLite's BEGIN IMMEDIATE keeps other processes out by itself
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        found = _revision(connection)
        if found is not None and not _is_known(found):
            raise _mismatch(found)
        command.upgrade(alembic_config(connection), "head")
        if connection.dialect.name == "sqlite":
            dangling = connection.execute(text("PRAGMA foreign_key_check")).first()
            if dangling is not None:
                raise StoreError(
                    f"{database_name(url)}: a row of {dangling[0]} refers to one that is missing",
                    hint="Nothing was changed; restore the database from a backup.",
                )
    log.info("database upgraded", extra={"found": found, "revision": head()})
    return head()


def _check(url: URL) -> str:
    found = _current(url)
    if found != head():
        raise _mismatch(found)
    with _connected(url, reads=True) as connection:
        context = MigrationContext.configure(connection, opts=MIGRATION_OPTIONS)
        drift = compare_metadata(context, metadata)
    if drift:
        raise StoreError(
            f"{database_name(url)}: the tables differ from revision {found}: {drift[0]}",
            hint="They were changed by hand; restore them from a backup.",
        )
    return found


def _make_ready(url: URL) -> None:
    with _connected(url, reads=True) as connection:
        found = _revision(connection)
        is_new = found is None and not _our_tables(connection)
    if is_new:
        # other processes may have seen it new too: the first one migrates, the others find it done
        found = _upgrade(url)
    if found != head():
        raise _mismatch(found)


@contextmanager
def _connected(url: URL, *, reads: bool = False) -> Iterator[Connection]:
    """Open one connection with one transaction."""
    engine = sync_engine(url)
    engine = reading(engine) if reads else engine
    with translated(database_name(url)), engine.begin() as connection:
        yield connection


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts=MIGRATION_OPTIONS)
    return context.get_current_revision()


def _our_tables(connection: Connection) -> list[str]:
    return [name for name in inspect(connection).get_table_names() if name.startswith(_PREFIX)]


def _mismatch(found: str | None) -> SchemaMismatch:
    return SchemaMismatch(found, head(), newer=found is not None and not _is_known(found))


def _is_known(revision: str) -> bool:
    try:
        return _scripts().get_revision(revision) is not None
    except CommandError:
        return False


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())
