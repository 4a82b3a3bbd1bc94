from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from sqlalchemy import delete, func, insert, select, text, update

from sleepmem.errors import AgentNotFound, ConfigError, SnapshotCorrupt, SnapshotNotFound
from sleepmem.protocols import SnapshotBytes
from sleepmem.store import SnapshotRows, SqlEpisodeLog, open_log, schema
from sleepmem.store import snapshot_rows as rows
from sleepmem.testing.life import BIRTH, Life

MIB = 1 << 20
chunk = schema.snapshot_chunk


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlEpisodeLog]:
    is_postgres = request.param == "postgres"
    url = request.getfixturevalue("postgres_url") if is_postgres else f"sqlite:///{tmp_path}/a.db"
    log = await open_log(url)
    yield log
    await log.aclose()


@pytest.fixture
async def life(log: SqlEpisodeLog) -> Life:
    return await Life.born(log)


@pytest.fixture
def store(log: SqlEpisodeLog, life: Life) -> SnapshotRows:
    return SnapshotRows(log)


async def execute(log: SqlEpisodeLog, statement: Any) -> None:
    async def run(connection: Any) -> None:
        await connection.execute(statement)

    await log.write(run)


async def sizes(log: SqlEpisodeLog) -> list[tuple[int, int]]:
    def run(connection: Any) -> list[tuple[int, int]]:
        query = select(chunk.c.n, func.length(chunk.c.data)).order_by(chunk.c.n)
        return [tuple(row) for row in connection.execute(query).all()]

    return await log.read(run)


async def test_chunks_hold_at_most_a_mebibyte(log: SqlEpisodeLog, store: SnapshotRows) -> None:
    await store.put("ana", b"x" * (2 * MIB + 5))
    assert await sizes(log) == [(0, MIB), (1, MIB), (2, 5)]


async def test_put_again_mends_what_is_there(log: SqlEpisodeLog, store: SnapshotRows) -> None:
    data = b"x" * (MIB + 5)
    snapshot = await store.put("ana", data)
    await execute(log, update(chunk).where(chunk.c.n == 0).values(data=b"?"))
    await execute(log, delete(chunk).where(chunk.c.n == 1))
    row = {"digest": snapshot.digest, "n": 7, "data": b"!"}
    agent_id = select(schema.agent.c.id).scalar_subquery()
    await execute(log, insert(chunk).values(agent_id=agent_id, **row))
    await store.put("ana", data)
    assert await store.get("ana", snapshot.digest) == data
    assert await sizes(log) == [(0, MIB), (1, 5)]


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (update(chunk).where(chunk.c.n == 1).values(data=b"?"), "another digest"),
        (delete(chunk).where(chunk.c.n == 1), "another digest"),
        (delete(chunk).where(chunk.c.n == 0), "chunk 0 is missing"),
        (update(chunk).values(data=b"x" * MIB), "more than the limit of"),
    ],
)
async def test_rows_changed_by_hand_are_refused(
    log: SqlEpisodeLog, life: Life, harm: Any, problem: str
) -> None:
    store = SnapshotRows(log, max_bytes=MIB + 5)
    snapshot = await store.put("ana", b"x" * (MIB + 5))
    await execute(log, harm)
    with pytest.raises(SnapshotCorrupt, match=problem) as caught:
        await store.get("ana", snapshot.digest)
    loaded: list[SnapshotBytes] = []
    with pytest.raises(SnapshotCorrupt, match=problem):
        await store.restore("ana", snapshot.digest, loaded.append)
    assert loaded == []
    assert f"DELETE FROM sleepmem_snapshot_chunk WHERE digest = '{snapshot.digest}'" in (
        caught.value.hint
    )
    await store.delete("ana", snapshot.digest)
    assert await sizes(log) == []


async def test_hint_of_corrupt_rows_removes_those_of_the_agent_alone(
    log: SqlEpisodeLog, life: Life
) -> None:
    def refuse(data: SnapshotBytes) -> None:
        raise SnapshotCorrupt("of 4 bytes", "a value is not finite")

    store = SnapshotRows(log)
    await Life.born(log, "it's bob")
    for agent in ("ana", "it's bob"):
        snapshot = await store.put(agent, b"same")
    with pytest.raises(SnapshotCorrupt, match=f"{snapshot.digest} .* not finite") as caught:
        await store.restore("it's bob", snapshot.digest, refuse)
    [remedy] = re.findall("DELETE .*(?=, then)", caught.value.hint)
    await execute(log, text(remedy))
    assert await store.has("ana", snapshot.digest)
    assert not await store.has("it's bob", snapshot.digest)


async def test_put_over_the_limit_is_refused(log: SqlEpisodeLog, life: Life) -> None:
    with pytest.raises(ConfigError, match="larger than the limit of 3"):
        await SnapshotRows(log, max_bytes=3).put("ana", b"four")
    assert await sizes(log) == []


async def test_snapshot_that_is_missing_may_lie_in_a_file(store: SnapshotRows) -> None:
    with pytest.raises(SnapshotNotFound) as caught:
        await store.get("ana", "0" * 64)
    assert "SLEEPMEM_SNAPSHOTS=files" in caught.value.hint
    assert "sleepmem replay --agent ana --verify" in caught.value.hint


async def test_agent_that_is_not_born_or_is_deleted_has_none(
    log: SqlEpisodeLog, store: SnapshotRows
) -> None:
    bob = await Life.born(log, "bob")
    kept = await store.put("bob", b"bob's")
    await bob.stage()
    snapshot = await store.put("ana", b"ana's")
    await log.delete_agent("ana", now=BIRTH)
    assert await sizes(log) == [(0, 5)]
    with pytest.raises(AgentNotFound):
        await store.put("ana", b"ana's")
    assert await store.digests("ana") == []
    with pytest.raises(SnapshotNotFound):
        await store.get("ana", snapshot.digest)
    await store.delete("ana", snapshot.digest)
    assert await store.get("bob", kept.digest) == b"bob's"


async def test_put_that_is_cut_short_leaves_nothing(
    log: SqlEpisodeLog, store: SnapshotRows
) -> None:
    async def cut_short(connection: Any) -> None:
        await rows._put(connection, "ana", "0" * 64, b"x" * (MIB + 5))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await log.write(cut_short)
    assert await sizes(log) == []


@pytest.mark.postgres
async def test_agent_talks_on_while_a_snapshot_is_put(postgres_url: str) -> None:
    log = await open_log(postgres_url)
    life = await Life.born(log)
    has_put, has_talked = asyncio.Event(), asyncio.Event()
    data, digest = b"fast weights", blake3(b"fast weights").hexdigest()

    async def put_slowly(connection: Any) -> None:
        await rows._put(connection, "ana", digest, data)
        has_put.set()
        await has_talked.wait()

    put = asyncio.create_task(log.write(put_slowly))
    await has_put.wait()
    async with asyncio.timeout(60):
        await life.finish(await life.stage())
        assert (await Life.born(log)).epoch == life.epoch + 1
    deletion = asyncio.create_task(log.delete_agent("ana", now=BIRTH))
    await asyncio.wait([deletion], timeout=0.2)
    assert not deletion.done(), "it waits for the snapshot, to delete that too"
    has_talked.set()
    await asyncio.gather(put, deletion)
    assert await sizes(log) == []
    await log.aclose()
