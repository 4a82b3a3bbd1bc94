"""Turn the errors of drivers into ours; the only place that knows their classes and codes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sleepmem.errors import StoreError, StoreUnavailable
from sleepmem.store.columns import Damaged

# primary result codes of SQLite that another try, or a little room, can cure
_SQLITE_FOR_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
# SQLSTATE classes: connection lost, resources short, stopped by the operator; then serialisation
# failure, deadlock, lock not available
_POSTGRES_FOR_NOW = ("08", "53", "57", "40001", "40P01", "55P03")


_UNCHANGED = "Nothing was changed."
_UNKNOWN = "It may have been written or not: look, or ask again with the same request_id."


@contextmanager
def translated(database: str, *, commits: bool = False) -> Iterator[None]:
    """Raise StoreUnavailable or StoreError, `from` the driver's error, for what fails inside.

    Args:
        commits: whether what fails is a commit, of which nobody knows how far it got.
    """
    outcome = _UNKNOWN if commits else _UNCHANGED
    try:
        yield
    except PoolTimeout as exc:
        raise StoreUnavailable(
            f"{database}: every connection is in use", hint="Try again, or use fewer writers."
        ) from exc
    except DBAPIError as exc:
        problem = f"{database}: {_first_line(exc.orig)}"
        if _is_for_now(exc):
            raise StoreUnavailable(
                problem,
                hint=f"{outcome} See that the database, and its folder, can be reached; "
                "then try again.",
            ) from exc
        raise StoreError(problem, hint=outcome) from exc
    except (Damaged, ValidationError) as exc:
        raise StoreError(
            f"{database}: a row holds what sleepmem never wrote: {_damage(exc)}",
            hint=f"{outcome} Restore the database from a backup.",
        ) from exc
    except (SQLAlchemyError, OverflowError) as exc:
        raise StoreError(f"{database}: {_first_line(exc)}", hint=outcome) from exc


def _is_for_now(exc: DBAPIError) -> bool:
    if exc.connection_invalidated:
        return True
    code = getattr(exc.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_FOR_NOW
    state = getattr(exc.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_POSTGRES_FOR_NOW)
    # without a code a driver never got as far as the database
    return type(exc.orig).__name__ == "OperationalError"


def _damage(exc: Damaged | ValidationError) -> str:
    """Return what is damaged; what a cell holds may be what somebody said, so it is not quoted."""
    if isinstance(exc, Damaged):
        return str(exc)
    first = exc.errors(include_input=False)[0]
    place = ".".join(map(str, (exc.title, *first["loc"])))
    return f"{place}: {first['msg']}"


def _first_line(exc: BaseException | None) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
