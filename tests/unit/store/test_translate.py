from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sleepmem.errors import SchemaMismatch, StoreError, StoreUnavailable
from sleepmem.store import open_log
from sleepmem.store.translate import translated

SQLITE_FOR_NOW = {"BUSY", "LOCKED", "NOMEM", "INTERRUPT", "IOERR", "FULL", "CANTOPEN", "PROTOCOL"}
SQLITE_CODES = {
    name.removeprefix("SQLITE_"): getattr(sqlite3, name)
    for name in dir(sqlite3)
    if name.startswith("SQLITE_") and name.count("_") == 1 and name[7:].isupper()
}
POSTGRES_STATES = {
    "08006": StoreUnavailable,
    "53100": StoreUnavailable,
    "53300": StoreUnavailable,
    "57P01": StoreUnavailable,
    "40001": StoreUnavailable,
    "40P01": StoreUnavailable,
    "55P03": StoreUnavailable,
    "22021": StoreError,
    "23505": StoreError,
    "42P01": StoreError,
    "XX001": StoreError,
}


def wrapped(orig: Exception, base: type[Exception]) -> DBAPIError:
    return DBAPIError.instance("SELECT secret", {"text": "secret"}, orig, base)  # type: ignore[return-value]


def raised(exc: BaseException) -> StoreError:
    with pytest.raises(StoreError) as caught, translated("sqlite:///x.db"):
        raise exc
    assert caught.value.__cause__ is exc
    assert str(caught.value).startswith("sqlite:///x.db: ")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["BUSY", "LOCKED", "IOERR", "FULL", "CANTOPEN", "CORRUPT"])
def test_sqlite_codes(name: str) -> None:
    orig = sqlite3.OperationalError(f"{name}\nsecond line")
    # an extended code keeps the primary one in its low byte
    orig.sqlite_errorcode = SQLITE_CODES[name] | 0x500
    expected = StoreUnavailable if name in SQLITE_FOR_NOW else StoreError
    assert type(raised(wrapped(orig, sqlite3.Error))) is expected


@pytest.mark.parametrize(("state", "expected"), POSTGRES_STATES.items())
def test_postgres_states(state: str, expected: type[StoreError]) -> None:
    orig = psycopg.errors.lookup(state)("it happened")
    assert type(raised(wrapped(orig, psycopg.Error))) is expected


def test_only_a_commit_may_have_been_written() -> None:
    orig = sqlite3.OperationalError("disk I/O error")
    for commits, hint in ((False, "Nothing was changed"), (True, "may have been written or not")):
        with pytest.raises(StoreUnavailable) as caught, translated("x", commits=commits):
            raise wrapped(orig, sqlite3.Error)
        assert hint in caught.value.hint


def test_every_class_of_the_drivers_is_mapped() -> None:
    for module in (sqlite3, psycopg):
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, module.Error):
                expected = StoreUnavailable if cls.__name__ == "OperationalError" else StoreError
                assert type(raised(wrapped(cls("x"), module.Error))) is expected


def test_other_failures_of_the_store() -> None:
    assert type(raised(PoolTimeout())) is StoreUnavailable
    assert type(raised(InvalidRequestError("x"))) is StoreError
    assert type(raised(OverflowError("int too large"))) is StoreError


def test_our_own_errors_and_cancellation_pass() -> None:
    for exc in (SchemaMismatch(None, "1", newer=False), asyncio.CancelledError(), KeyError("x")):
        with pytest.raises(type(exc)) as caught, translated("x"):
            raise exc
        assert caught.value is exc


async def test_folder_that_does_not_exist_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        await open_log(f"sqlite:///{tmp_path / 'no' / 'x.db'}")


async def test_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, but long enough to look like one" * 99)
    with pytest.raises(StoreError, match="not a database"):
        await open_log(f"sqlite:///{path}")


@pytest.mark.parametrize("where", ["127.0.0.1:1/x", "/x?host=/nowhere"])
async def test_server_that_does_not_answer_is_unavailable(where: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await open_log(
            f"postgresql://me:secret@{where}" if "127" in where else f"postgresql://{where}"
        )
    assert "secret" not in str(caught.value)
