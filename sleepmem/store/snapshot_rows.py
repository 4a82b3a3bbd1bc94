"""Snapshots as rows: `sleepmem_snapshot_chunk`, in chunks of at most 1 MiB.

Whoever reaches the database can wake its agents. A snapshot is there whole or not at all: its
chunks are written in one transaction, in their order, and are locked in that order before they
are deleted, so that two writers of one snapshot take turns and never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, ScalarSelect, delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import AgentNotFound, SnapshotCorrupt, SnapshotNotFound
from sleepmem.protocols import SnapshotBytes
from sleepmem.store import schema
from sleepmem.store.files import MAX_BYTES, check_size, checked_digest, loaded
from sleepmem.store.inserts import INSERTS
from sleepmem.store.reading import hashed
from sleepmem.store.transactions import Transactions
from sleepmem.types import Snapshot, checked_name

CHUNK_BYTES = 1 << 20

T = TypeVar("T")

_chunk = schema.snapshot_chunk


class SnapshotRows:
    """`SnapshotStore` in the database of a log, whose agents alone can have snapshots.

    As with files, bytes are stored before `commit_sleep` names them, in a transaction of their
    own: after a crash between the two they belong to no episode, cost room and harm nothing.
    They go with their agent.

    Args:
        database: runs the transactions; who made it closes it.
        max_bytes: larger snapshots are neither written nor read.
    """

    def __init__(self, database: Transactions, *, max_bytes: int = MAX_BYTES) -> None:
        self._database = database
        self._max_bytes = max_bytes

    async def put(self, agent: str, data: bytes) -> Snapshot:
        """Store durably before returning; what was there of this snapshot is written anew.

        Raises:
            AgentNotFound: the log has no such agent.
        """
        checked_name("agent name", agent)
        check_size(data, self._max_bytes)
        digest = (await asyncio.to_thread(hashed, data)).hexdigest()
        await self._database.write(_put, agent, digest, data)
        return Snapshot(digest=digest, n_bytes=len(data))

    async def get(self, agent: str, digest: str) -> bytes:
        return await self.restore(agent, digest, bytes)  # of bytes no copy

    async def restore(self, agent: str, digest: str, load: Callable[[SnapshotBytes], T]) -> T:
        checked_name("agent name", agent)
        checked_digest(digest)
        data = await self._database.read(_get, agent, digest, self._max_bytes)

        def checked() -> T:
            return loaded(data, hashed(data), digest, load, partial(_corrupt, agent, digest))

        return await asyncio.to_thread(checked)

    async def digests(self, agent: str) -> list[str]:
        return await self._database.read(_digests, checked_name("agent name", agent))

    async def sizes(self, agent: str) -> dict[str, int]:
        return await self._database.read(_sizes, checked_name("agent name", agent))

    async def has(self, agent: str, digest: str) -> bool:
        checked_name("agent name", agent)
        return await self._database.read(_has, agent, checked_digest(digest))

    async def leftovers(self, agent: str, *, remove: bool = False) -> list[int]:
        checked_name("agent name", agent)
        return []  # a write is there whole or not at all

    async def delete(self, agent: str, digest: str) -> None:
        checked_name("agent name", agent)
        await self._database.write(_delete, agent, checked_digest(digest))


async def _put(connection: AsyncConnection, agent: str, digest: str, data: bytes) -> None:
    owner = schema.agent.c
    # the agent cannot be deleted meanwhile, but it can go on writing
    query = select(owner.id).where(owner.name == agent)
    agent_id = await connection.scalar(query.with_for_update(read=True, key_share=True))
    if agent_id is None:
        raise AgentNotFound(agent)
    statement = INSERTS[connection.dialect.name](_chunk)
    statement = statement.on_conflict_do_update(
        index_elements=list(_chunk.primary_key), set_={"data": statement.excluded.data}
    )
    starts = range(0, len(data), CHUNK_BYTES) or range(1)  # no bytes are one empty chunk
    for n, start in enumerate(starts):
        chunk = data[start : start + CHUNK_BYTES]
        row = {"agent_id": agent_id, "digest": digest, "n": n, "data": chunk}
        await connection.execute(statement, row)
    of_snapshot = (_chunk.c.agent_id == agent_id) & (_chunk.c.digest == digest)
    await connection.execute(delete(_chunk).where(of_snapshot, _chunk.c.n >= len(starts)))


def _get(connection: Connection, agent: str, digest: str, max_bytes: int) -> bytes:
    owner = _owner(agent)
    of_snapshot = (_chunk.c.agent_id == owner) & (_chunk.c.digest == digest)
    # the sizes come without the bytes, in either database
    sizes = select(func.count(), func.sum(func.length(_chunk.c.data))).where(of_snapshot)
    n_chunks, n_bytes = connection.execute(sizes).one()
    if not n_chunks:
        raise _not_found(agent, digest)
    if n_bytes > max_bytes:
        raise _corrupt(agent, digest, f"{n_bytes} bytes are more than the limit of {max_bytes}")
    chunks: list[bytes] = []
    for n in range(n_chunks):
        chunk = connection.scalar(select(_chunk.c.data).where(of_snapshot, _chunk.c.n == n))
        if chunk is None:
            raise _corrupt(agent, digest, f"chunk {n} is missing, though there are {n_chunks}")
        chunks.append(chunk)
    return b"".join(chunks)


def _digests(connection: Connection, agent: str) -> list[str]:
    query = select(_chunk.c.digest).distinct().where(_chunk.c.agent_id == _owner(agent))
    return sorted(connection.scalars(query).all())


def _sizes(connection: Connection, agent: str) -> dict[str, int]:
    n_bytes = func.sum(func.length(_chunk.c.data))
    query = select(_chunk.c.digest, n_bytes).where(_chunk.c.agent_id == _owner(agent))
    rows = connection.execute(query.group_by(_chunk.c.digest)).all()
    return {digest: int(size) for digest, size in rows}


def _has(connection: Connection, agent: str, digest: str) -> bool:
    of_snapshot = (_chunk.c.agent_id == _owner(agent)) & (_chunk.c.digest == digest)
    return bool(connection.scalar(select(exists().where(of_snapshot))))


async def _delete(connection: AsyncConnection, agent: str, digest: str) -> None:
    of_snapshot = (_chunk.c.agent_id == _owner(agent)) & (_chunk.c.digest == digest)
    places = select(_chunk.c.n).where(of_snapshot).order_by(_chunk.c.n).with_for_update()
    # if there are none, what somebody else puts from here on is not ours to delete
    if (await connection.scalars(places)).all():
        await connection.execute(delete(_chunk).where(of_snapshot))


def _owner(agent: str) -> ScalarSelect[int]:
    return select(schema.agent.c.id).where(schema.agent.c.name == agent).scalar_subquery()


def _not_found(agent: str, digest: str) -> SnapshotNotFound:
    problem = SnapshotNotFound(agent, digest)
    problem.hint = f"If it lies in a file, set SLEEPMEM_SNAPSHOTS=files. {problem.hint}"
    return problem


def _corrupt(agent: str, digest: str, problem: str) -> SnapshotCorrupt:
    # another agent may have bytes of the same name, which are sound
    name = agent.replace("'", "''")
    owner = f"(SELECT id FROM {schema.agent.name} WHERE name = '{name}')"
    remedy = f"DELETE FROM {_chunk.name} WHERE digest = '{digest}' AND agent_id = {owner}"
    return SnapshotCorrupt(digest, problem, agent=agent, remedy=remedy)
