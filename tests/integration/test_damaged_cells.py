"""Whatever a cell of the database holds, who reads it gets an error of ours that names the cell."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from sqlalchemy import Table

from sleepmem.errors import SleepmemError
from sleepmem.store import SnapshotRows, SqlEpisodeLog, open_log
from sleepmem.store.columns import Checked
from sleepmem.store.schema import metadata
from sleepmem.testing.life import FINGERPRINT, Life, history
from sleepmem.types import MAIN, LoggedMessage, Role, ToolCall

DATA = b"fast weights"
DIGEST = blake3(DATA).hexdigest()
SAID = "what nobody else may read"
DAMAGE: tuple[Any, ...] = (SAID, SAID.encode(), 2.5, "[" * 9_999)
# kept for people, or only looked up by
UNREAD = {"sleepmem_snapshot.created_at", "sleepmem_message.seq", "sleepmem_deletion.deleted_at"}


@pytest.fixture
def path(ram: Path) -> Path:
    return ram / "agents.db"


@pytest.fixture
async def life(path: Path) -> AsyncIterator[Life]:
    """Give an agent all of whose tables and columns hold something."""
    log = await open_log(f"sqlite:///{path}")
    life = await Life.born(log)
    await log.thread("ana", life.epoch, branch=MAIN, name=MAIN, system="be kind")
    await life.finish(await life.stage(request_id="r"))
    await life.sleep()
    call = ToolCall(id="c", name="n")
    calling = LoggedMessage(role=Role.ASSISTANT, content="", tool_calls=(call,), token_ids=(90, 91))
    told = LoggedMessage(role=Role.TOOL, content="it is", tool_call_id="c", token_ids=(92,))
    await life.stage(calling, told, done=True, request_id="s")
    await life.fail_to_sleep("e", 5, 8)
    await SnapshotRows(log).put("ana", DATA)
    await Life.born(log, "bob")
    await log.delete_agent("bob", now=life.now())
    yield life
    await log.aclose()


def looks(life: Life) -> list[Callable[[], Awaitable[Any]]]:
    """Return all that reads, and the writes that look first."""
    log, thread = life.log, life.thread
    assert isinstance(log, SqlEpisodeLog)

    async def entries() -> None:
        async for _ in log.entries("ana", search="it"):
            pass

    return [
        log.agents,
        log.deleted,
        entries,
        partial(log.summary, "ana"),
        partial(log.threads, "ana"),
        partial(log.head, "ana", MAIN),
        partial(history, log),
        partial(log.lineage, "ana", MAIN),
        partial(log.sleeps, "ana", MAIN),
        partial(log.open_episode, thread),
        partial(log.turn_of_request, "ana", "s"),
        partial(log.tokens, thread.id, 0, 8),
        partial(log.messages_between, thread.id, 0, 8),
        partial(log.ids_between, thread.id, 0, 8, frozenset(Role)),
        partial(log.thread, "ana", life.epoch, branch=MAIN, name=MAIN, system=None),
        partial(SnapshotRows(log).get, "ana", DIGEST),
        partial(life.stage, request_id="s"),
        life.sleep,
        partial(
            log.claim, "ana", fingerprint=FINGERPRINT, holder="me", create=False, now=life.now()
        ),
    ]


async def said_of(life: Life) -> list[str]:
    """Return the errors that are found; those that are none of ours are let through."""
    said = []
    for look in looks(life):
        try:
            await look()
        except SleepmemError as error:
            said.append(f"{error} · {error.hint}")
    return said


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
async def test_damaged_cell_is_named(path: Path, life: Life, table: Table) -> None:
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as database,
        closing(sqlite3.connect(":memory:")) as whole,
    ):
        database.execute("PRAGMA foreign_keys=OFF")
        database.backup(whole)
        for column in table.columns:
            said = []
            for value in DAMAGE:
                with suppress(sqlite3.IntegrityError):  # it takes no such value
                    database.execute(
                        f"UPDATE OR IGNORE {table.name} SET {column.name} = ?", [value]
                    )
                    said += await said_of(life)
                    whole.backup(database)
            assert not any(SAID in line for line in said if column.name != "name")
            if isinstance(column.type, Checked) and str(column) not in UNREAD:
                named = [line for line in said if f"never wrote: {column} · " in line]
                assert named, f"nobody says that {column} is damaged"
                assert all("Restore the database from a backup" in line for line in named)
