"""Inserts that Core has no word for, or no fast one.

Of many rows, statement and types are worked out once: Core works out both again for every row,
which takes longer than SQLite takes to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect

_DIALECTS: dict[str, Dialect] = {
    "sqlite": SQLiteDialect_pysqlite(paramstyle="named"),
    "postgresql": PGDialect_psycopg(),  # type: ignore[no-untyped-call]
}

# by the name of a dialect: an insert that can be told what to do about a row that is there
INSERTS: dict[str, Callable[[Table], postgresql.Insert | sqlite.Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, all with the same columns; what they hold is changed to what is stored."""
    if not rows:
        return
    statement, to_stored = _worked_out(table, connection.dialect.name, tuple(rows[0]))
    for name, change in to_stored:
        for row in rows:
            row[name] = change(row[name])
    connection.exec_driver_sql(statement, rows)


@cache
def _worked_out(
    table: Table, database: str, names: tuple[str, ...]
) -> tuple[str, list[tuple[str, Callable[[Any], Any]]]]:
    """Return the statement, and what turns values of columns into what the driver takes."""
    dialect = _DIALECTS[database]
    statement = insert(table).compile(dialect=dialect, column_keys=names)
    changes = [
        (name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names
    ]
    return str(statement), [(name, change) for name, change in changes if change is not None]
