"""Statements and commits of a turn and a sleep fail, each in a life of its own; all end the same.

The failures come from where they come in earnest, below SQLAlchemy: as the codes of SQLite for a
lock, a full disk and a broken one, and as a socket to Postgres that is shut down.

The long form fails at every place, not at every fifth:

    pytest -m slow tests/integration/test_failing_database.py
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy.engine.default import DefaultDialect

from sleepmem import SleepMemory
from sleepmem.errors import StoreUnavailable
from sleepmem.runtime.agent import Agent
from sleepmem.store import SnapshotFiles, SnapshotRows, open_log
from sleepmem.store.migrate import upgrade
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Outcome, SleepReport, TurnState

T = TypeVar("T")
OPTIONS: dict[str, Any] = {"max_tokens": 4, "min_tokens": 4, "passes": 1}


def sqlite_error(code: int, words: str) -> Callable[[Any], None]:
    def fail(_connection: Any) -> None:
        error = sqlite3.OperationalError(words)
        error.sqlite_errorcode = code
        raise error

    return fail


def drop(connection: Any) -> None:
    """Shut the socket under a connection down; what is sent over it next fails by itself."""
    raw = socket.socket(fileno=connection.fileno())
    raw.shutdown(socket.SHUT_RDWR)
    raw.detach()


def drop_and_miss_the_answer(connection: Any) -> None:
    drop(connection)
    raise psycopg.OperationalError("server closed the connection unexpectedly")


def connection_of(cursor: Any) -> Any:
    """Return the driver's connection: appends have a driver without an event loop, the rest not."""
    adapted = getattr(cursor, "_adapt_connection", None)
    return adapted.driver_connection if adapted else cursor.connection


Fault = Callable[[Any], None]
SQLITE = [
    sqlite_error(sqlite3.SQLITE_BUSY, "database is locked"),
    sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full"),
    sqlite_error(sqlite3.SQLITE_IOERR, "disk I/O error"),
]


@dataclass
class Driver:
    """Counts what is asked of a database, and fails once."""

    at: int = 0
    fail: Callable[[Any], None] | None = None
    is_after: bool = False  # the failure of a commit comes when it is done
    n_seen: int = 0
    has_failed: bool = False
    is_watching: bool = False

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        execute, commit = DefaultDialect.do_execute, DefaultDialect.do_commit

        def do_execute(dialect: Any, cursor: Any, statement: str, *args: Any) -> None:
            if not self.is_after and self._comes(statement):
                self.fail(connection_of(cursor))  # type: ignore[misc]
            execute(dialect, cursor, statement, *args)

        def do_commit(dialect: Any, connection: Any) -> None:
            is_it = self._comes("COMMIT")
            if is_it and not self.is_after:
                self.fail(connection.driver_connection)  # type: ignore[misc]
            commit(dialect, connection)
            if is_it and self.is_after:
                self.fail(connection.driver_connection)  # type: ignore[misc]

        patch.setattr(DefaultDialect, "do_execute", do_execute)
        patch.setattr(DefaultDialect, "do_commit", do_commit)

    def fail_once(self, at: int, fail: Callable[[Any], None], *, is_after: bool = False) -> None:
        self.at, self.fail, self.is_after = at, fail, is_after
        self.n_seen, self.has_failed, self.is_watching = 0, False, True

    def _comes(self, what: str) -> bool:
        if not self.is_watching:
            return False
        self.n_seen += 1
        self.has_failed = self.has_failed or self.n_seen == self.at
        return self.n_seen == self.at


async def in_the_end(driver: Driver, what: Callable[[], Awaitable[T]]) -> T:
    """Return what came of it when it was tried again after it said that it had failed."""
    try:
        return await what()
    except StoreUnavailable:
        assert driver.has_failed
        return await what()


async def slept(ana: Agent) -> SleepReport:
    report = await ana.sleep()
    if report.outcome is Outcome.FAILED:
        raise StoreUnavailable(report.problem or "")
    return report


async def live(memory: SleepMemory, driver: Driver, name: str) -> list[Any]:
    """Return the reply, the snapshot and the log of a life that gets over every failure."""
    ana = await in_the_end(driver, lambda: memory.agent(name))
    reply = await in_the_end(driver, lambda: ana.say("pet=rex and more", request_id="r"))
    report = await in_the_end(driver, lambda: slept(ana))
    driver.is_watching = False
    [episode] = [replayed.episode async for replayed in memory.replay(name)]
    entries = [entry async for entry in memory.log(name) if entry.state is TurnState.DONE]
    told = [(entry.role, entry.content) for entry in entries]
    return [reply.text, report.outcome, report.snapshot, episode.snapshot, told]


async def fail_everywhere(
    memory: SleepMemory, driver: Driver, faults: list[Fault], *, stride: int = 1, **how: Any
) -> int:
    """Fail at each place in turn, each in the life of another agent; return how many there are."""
    expected = await live(memory, driver, "undisturbed")
    at = 1 - stride
    while True:
        at += stride
        driver.fail_once(at, faults[at % len(faults)], **how)
        assert await live(memory, driver, f"agent-{at}") == expected, f"at {at}"
        if not driver.has_failed:
            return at - stride


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    driver.watch(monkeypatch)
    return driver


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


STRIDES = [
    pytest.param(5, id="every fifth"),
    pytest.param(1, id="every one", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("stride", STRIDES)
async def test_failing_statement_of_sqlite(
    migrated: Path, ram: Path, driver: Driver, stride: int
) -> None:
    log = await open_log(f"sqlite:///{shutil.copy(migrated, ram / 'agents.db')}")
    async with SleepMemory.of(
        lm=FakeSleepLM(200), log=log, snapshots=SnapshotFiles(ram / "data"), **OPTIONS
    ) as memory:
        assert await fail_everywhere(memory, driver, SQLITE, stride=stride) > 30
    await log.aclose()


@pytest.mark.postgres
@pytest.mark.parametrize("stride", STRIDES)
async def test_connection_to_postgres_that_drops(
    postgres_url: str, driver: Driver, stride: int
) -> None:
    log = await open_log(postgres_url)
    async with SleepMemory.of(
        lm=FakeSleepLM(200), log=log, snapshots=SnapshotRows(log), **OPTIONS
    ) as memory:
        assert await fail_everywhere(memory, driver, [drop], stride=stride) > 30
    await log.aclose()


@pytest.mark.postgres
async def test_commit_whose_answer_is_lost_is_looked_up(postgres_url: str, driver: Driver) -> None:
    log = await open_log(postgres_url)
    async with SleepMemory.of(
        lm=FakeSleepLM(200), log=log, snapshots=SnapshotRows(log), **OPTIONS
    ) as memory:
        lost = [drop_and_miss_the_answer]
        assert await fail_everywhere(memory, driver, lost, is_after=True) > 8
    await log.aclose()
