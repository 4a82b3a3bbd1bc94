"""What appends ask of SQLite, worked out once, is what Core makes of it, and reads no table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Select

from sleepmem.store import appends, open_log
from sleepmem.store.columns import Damaged
from sleepmem.store.engine import append_engine, normalised
from sleepmem.store.worked_out import rows_of
from sleepmem.testing.life import Life

EPOCH = datetime(1970, 1, 2)
QUERIES = {"ends": appends._ENDS, "turns": appends._TURNS, "known": appends._KNOWN}
FOUND_BY = {
    "ends": ["uq_sleepmem_turn_staged", "ix_sleepmem_turn_thread_id_start_stop", "autoindex"],
    "turns": ["(id=?)"],
    "known": ["uq_sleepmem_turn_agent_id_request_id (agent_id=? AND request_id=?)"],
}


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
    # a value of another type may be equal
    assert [repr(row._asdict()) for row in found] == [repr(row._asdict()) for row in of_core]


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
    for index in FOUND_BY[name]:
        assert any(index in step for step in plan), plan
    assert [step for step in plan if step.startswith("SCAN")] == [
        "SCAN anon_1 VIRTUAL TABLE INDEX 1:"  # of what is asked
    ]


def test_a_parameter_that_is_not_given_is_missed(connection: Connection) -> None:
    with pytest.raises(KeyError, match="threads"):
        rows_of(connection, appends._ENDS["sqlite"], {"thread": [1]})


@given(time=st.datetimes(timezones=st.just(UTC)))
def test_ids_of_turns_have_one_form_at_any_time(time: datetime) -> None:
    assert re.fullmatch("[0-9a-f]{32}", appends.new_id(time))
    assert appends.new_id(time) != appends.new_id(time)


@given(time=st.datetimes(EPOCH, timezones=st.just(UTC)))
def test_the_id_of_a_turn_sorts_behind_that_of_two_milliseconds_ago(time: datetime) -> None:
    assert appends.new_id(time - timedelta(milliseconds=2)) < appends.new_id(time)
