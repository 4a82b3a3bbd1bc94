"""What is kept of the snapshots of an agent.

Every function takes a connection whose transaction is the caller's. The agent is locked as a writer
locks it, so nothing of it is committed between a look at its snapshots and what is done with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, Select, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import AgentNotFound, EpisodeNotFound
from sleepmem.history import Look
from sleepmem.store import schema
from sleepmem.store.inserts import INSERTS
from sleepmem.store.rows import (
    agent_id,
    closed_episodes,
    episode_of,
    locked_agent_id,
    locked_deletions,
    lookup,
)
from sleepmem.types import Snapshot

_SOME = 500  # values, or rows, of one statement; SQLite allows no more than 32,766 values


def history(connection: Connection, agent: str, look: Look) -> None:
    """Show a life, newest first; of all the episodes one page is held at a time."""
    owner = agent_id(connection, agent)
    branch, episode = schema.branch.c, schema.episode.c
    heads = select(branch.name, branch.head).where(branch.agent_id == owner)
    show = look({row.name: row.head for row in connection.execute(heads).all()})
    closed = (
        closed_episodes()
        .where(episode.agent_id == owner, episode.closed_at.is_not(None))
        .order_by(episode.n.desc(), episode.id.desc())
        .limit(_SOME)
    )
    page = closed
    while rows := connection.execute(page).all():
        for row in rows:
            show(episode_of(agent, row))
        last = rows[-1]
        is_older = (episode.n < last.n) | ((episode.n == last.n) & (episode.id < last.id))
        # the first condition finds its place in the index
        page = closed.where(episode.n <= last.n, is_older)


async def pin(connection: AsyncConnection, agent: str, episode: str, pinned: bool) -> None:
    owner = await connection.run_sync(locked_agent_id, agent)
    table = schema.episode
    done = await connection.execute(
        update(table)
        .where(table.c.agent_id == owner, table.c.id == lookup(episode))
        .where(table.c.closed_at.is_not(None))
        .values(pinned=pinned)
    )
    if done.rowcount != 1:
        raise EpisodeNotFound(agent, episode)


async def drop(
    connection: AsyncConnection, agent: str, digests: Sequence[str], now: datetime
) -> None:
    owner = await connection.run_sync(locked_agent_id, agent)
    table = schema.snapshot
    for first in range(0, len(digests), _SOME):
        await connection.execute(
            update(table)
            .where(table.c.agent_id == owner, table.c.dropped_at.is_(None))
            .where(table.c.digest.in_(digests[first : first + _SOME]))
            .where(table.c.digest.not_in(_spared(owner)))
            .values(dropped_at=now)
        )


async def sweep(
    connection: AsyncConnection,
    agent: str,
    digest: str,
    delete: Callable[[str, str], Awaitable[None]],
) -> bool:
    try:
        is_kept = await connection.run_sync(_is_kept, agent, digest)
    except AgentNotFound:
        if not await connection.run_sync(locked_deletions, agent):
            raise
        # one of that name may have been born while this waited
        is_born = await connection.scalar(select(exists().where(schema.agent.c.name == agent)))
        is_kept = bool(is_born) and await connection.run_sync(_is_kept, agent, digest)
    if is_kept:
        return False
    await delete(agent, digest)
    return True


def _is_kept(connection: Connection, agent: str, digest: str) -> bool:
    """Lock the agent and return whether a snapshot of it is not dropped."""
    owner = locked_agent_id(connection, agent)
    table = schema.snapshot.c
    is_kept = exists().where(
        table.agent_id == owner,
        table.digest == digest,
        or_(table.dropped_at.is_(None), table.digest.in_(_spared(owner))),
    )
    return bool(connection.scalar(select(is_kept)))


async def restore(
    connection: AsyncConnection,
    agent: str,
    digest: str,
    ensure_stored: Callable[[], Awaitable[None]],
) -> None:
    owner = await connection.run_sync(locked_agent_id, agent)
    await ensure_stored()
    table = schema.snapshot
    await connection.execute(
        update(table)
        .where(table.c.agent_id == owner, table.c.digest == digest)
        .values(dropped_at=None)
    )


async def name_snapshot(
    connection: AsyncConnection, owner: int, snapshot: Snapshot, now: datetime
) -> None:
    """Make the row of a snapshot whose bytes are stored, or take its mark away."""
    row = {"digest": snapshot.digest, "n_bytes": snapshot.n_bytes}
    statement = _NAME[connection.dialect.name]
    await connection.execute(statement, {**row, "agent_id": owner, "created_at": now})


_NAME = {
    dialect: insert(schema.snapshot).on_conflict_do_update(
        index_elements=list(schema.snapshot.primary_key), set_={"dropped_at": None}
    )
    for dialect, insert in INSERTS.items()
}


def _spared(owner: int) -> Select[tuple[str]]:
    """Select the digests that are never dropped: those of heads and of pinned episodes."""
    episode, branch = schema.episode.c, schema.branch.c
    heads = select(branch.head).where(branch.agent_id == owner, branch.head.is_not(None))
    return select(episode.snapshot).where(
        episode.agent_id == owner,
        episode.snapshot.is_not(None),
        or_(episode.pinned, episode.id.in_(heads)),
    )
