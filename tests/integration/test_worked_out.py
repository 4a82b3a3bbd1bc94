"""What appends ask of SQLite, worked out once, is what Core makes of it, and reads no table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Select

from sleepmem.store import appends, open_log
from sleepmem.store.columns import Damaged
from sleepmem.store.engine import append_engine, normalised
from sleepmem.store.worked_out import rows_of
from sleepmem.testing.life import Life

QUERIES = {"ends": appends._ENDS, "turns": appends._TURNS, "known": appends._KNOWN}
FOUND_BY = {"ends": "(thread_id=?)", "turns": "(id=?)", "known": "(agent_id=? AND request_id=?)"}


@pytest.fixture
async def lived(tmp_path: Path) -> dict[str, Any]:
    """Two agents, a staged turn and a slept episode among what they lived; what may be asked."""
    log = await open_log(f"sqlite:///{tmp_path}/agents.db")
    ana, ben = [await Life.born(log, name) for name in ("ana", "ben")]
    first = await ana.stage(done=True)
    await ana.sleep()
    named = await ana.finish(await ana.stage(request_id="r"))
    staged = await ben.stage(request_id="r")
    await log.aclose()
    return {
        "ends": {"threads": [ana.thread.id, ben.thread.id, 99]},
        "turns": {"ids": [first.id, named.id, staged.id, "nobody"]},
        "known": {"asked": [[1, "r"], [2, "r"], [2, "other"]]},
    }


@pytest.fixture
def connection(lived: dict[str, Any], tmp_path: Path) -> Iterator[Connection]:
    engine = append_engine(normalised(f"sqlite:///{tmp_path}/agents.db"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("name", QUERIES)
def test_rows_are_those_of_core(connection: Connection, lived: dict[str, Any], name: str) -> None:
    query: Select[Any] = QUERIES[name]["sqlite"]
    of_core = connection.execute(query, lived[name]).all()
    found = rows_of(connection, query, lived[name])
    assert len(found) >= 2
    assert [row._asdict() for row in found] == [row._asdict() for row in of_core]


def test_a_cell_that_holds_no_such_value_is_named(
    connection: Connection, lived: dict[str, Any]
) -> None:
    connection.exec_driver_sql("UPDATE sleepmem_turn SET stop = 'what she said'")
    with pytest.raises(Damaged, match=r"sleepmem_turn\.stop"):
        rows_of(connection, appends._TURNS["sqlite"], lived["turns"])


@pytest.mark.parametrize("name", QUERIES)
def test_no_table_is_read_from_its_start(
    connection: Connection, lived: dict[str, Any], name: str
) -> None:
    asked: list[str] = []
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.set_trace_callback(asked.append)
    rows_of(connection, QUERIES[name]["sqlite"], lived[name])
    raw.set_trace_callback(None)
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert any("INDEX" in step and step.endswith(FOUND_BY[name]) for step in plan), plan
    assert not [step for step in plan if step.startswith("SCAN") and "sleepmem_" in step]


async def test_ids_of_turns_sort_by_the_time_they_were_told(tmp_path: Path) -> None:
    log = await open_log(f"sqlite:///{tmp_path}/agents.db")
    life = await Life.born(log)
    ids = [(await life.stage(done=True)).id for _ in range(20)]
    await log.aclose()
    assert ids == sorted(ids)
    assert len(set(ids)) == 20
