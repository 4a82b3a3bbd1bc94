"""Statements of appends that are worked out once, with the types of what goes in and comes out.

Of an insert Core works out the types again for every row, which takes longer than SQLite takes to
write it; of a query it looks up for every run what it worked out before.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect

_Change = Callable[[Any], Any]

_SQLITE = SQLiteDialect_pysqlite(paramstyle="named")
_DIALECTS: dict[str, Dialect] = {
    "sqlite": _SQLITE,
    "postgresql": PGDialect_psycopg(),  # type: ignore[no-untyped-call]
}


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, all with the same columns; what they hold is changed to what is stored."""
    if not rows:
        return
    statement, to_stored = _insert(table, connection.dialect.name, tuple(rows[0]))
    for name, change in to_stored:
        for row in rows:
            row[name] = change(row[name])
    connection.exec_driver_sql(statement, rows)


def rows_of(connection: Connection, query: Select[Any], given: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a query of SQLite, as named tuples.

    Args:
        query: made once; what is worked out of it is kept for as long as the process.
        given: the values of its parameters.
    """
    look = _look(query)
    stored = look.constants | {name: change(given[name]) for name, change in look.to_stored}
    rows = []
    for row in connection.exec_driver_sql(look.statement, stored).all():
        cells = list(row)
        for n, change in look.to_read:
            cells[n] = change(cells[n])
        rows.append(look.row(*cells))
    return rows


class _Look(NamedTuple):
    statement: str
    constants: dict[str, Any]
    to_stored: list[tuple[str, _Change]]
    to_read: list[tuple[int, _Change]]
    row: Callable[..., Any]


@cache
def _insert(
    table: Table, database: str, names: tuple[str, ...]
) -> tuple[str, list[tuple[str, _Change]]]:
    """Return the statement, and what turns values of columns into what the driver takes."""
    dialect = _DIALECTS[database]
    statement = insert(table).compile(dialect=dialect, column_keys=names)
    changes = [
        (name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names
    ]
    return str(statement), [(name, change) for name, change in changes if change is not None]


@cache
def _look(query: Select[Any]) -> _Look:
    statement, columns = query.compile(dialect=_SQLITE), query.selected_columns
    binds = {name: statement.binds[name] for name in statement.params}
    stored = {
        name: bind.type.dialect_impl(_SQLITE).bind_processor(_SQLITE) or _as_it_is
        for name, bind in binds.items()
    }
    read = [c.type.dialect_impl(_SQLITE).result_processor(_SQLITE, None) for c in columns]
    return _Look(
        str(statement),
        {name: stored[name](bind.value) for name, bind in binds.items() if not bind.required},
        [(name, stored[name]) for name, bind in binds.items() if bind.required],
        [(n, change) for n, change in enumerate(read) if change is not None],
        namedtuple("Found", columns.keys()),
    )


def _as_it_is(value: Any) -> Any:
    return value
