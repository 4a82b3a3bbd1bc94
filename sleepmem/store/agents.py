"""Agents and their leases, branches and threads.

Every function takes a connection whose transaction is the caller's.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import AgentHeld, AgentNotFound, BranchNotFound, FingerprintMismatch
from sleepmem.leases import LEASE
from sleepmem.store import schema
from sleepmem.store.inserts import INSERTS
from sleepmem.store.rows import AnyRow, agent_id, locked_deletions, lookup, owned_agent_id
from sleepmem.types import (
    MAIN,
    AgentSummary,
    Head,
    LoggedMessage,
    Role,
    Thread,
    TurnState,
    checked_message,
    checked_name,
)


async def claim(
    connection: AsyncConnection,
    agent: str,
    *,
    fingerprint: str,
    holder: str,
    create: bool,
    now: datetime,
    over: int | None,
) -> int:
    table = schema.agent
    checked_name("agent name", agent)
    checked_name("holder", holder)
    if create:
        newborn = {"name": agent, "fingerprint": fingerprint, "epoch": 0, "created_at": now}
        await _insert_if_new(connection, table, newborn)
    query = select(table).where(table.c.name == agent).with_for_update(key_share=True)
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        raise AgentNotFound(agent)
    if found.fingerprint != fingerprint:
        raise FingerprintMismatch(f"agent {agent!r}", found.fingerprint, fingerprint)
    is_held = found.holder not in (None, holder) and found.expires_at and now < found.expires_at
    if is_held and found.epoch != over:
        raise AgentHeld(agent, found.holder, found.epoch, found.expires_at)
    if found.epoch == 0:
        await connection.run_sync(locked_deletions, agent)
        await _insert_if_new(connection, schema.branch, {"agent_id": found.id, "name": MAIN})
    # a life begins at an epoch of its own: who held a deleted agent of that name holds nothing
    epoch = found.epoch + 1 if found.epoch else 1 + secrets.randbits(32)
    await connection.execute(
        update(table)
        .where(table.c.id == found.id)
        .values(epoch=epoch, holder=holder, claimed_at=now, expires_at=now + LEASE)
    )
    return epoch


async def renew(connection: AsyncConnection, holder: str, *, now: datetime) -> int:
    table = schema.agent
    is_held = table.c.holder == lookup(holder)
    # an agent that is being written for is left to the next heartbeat: a writer of several would
    # wait for this one while this one waits for it
    free = select(table.c.id).where(is_held).with_for_update(key_share=True, skip_locked=True)
    await connection.execute(
        update(table).where(table.c.id.in_(free)).values(expires_at=now + LEASE)
    )
    # to Postgres a sum of whole numbers is a decimal, which the column would refuse
    epochs = func.sum(table.c.epoch, type_=BigInteger)
    return int(await connection.scalar(select(epochs).where(is_held)) or 0)


def held(connection: Connection, holder: str) -> frozenset[str]:
    table = schema.agent
    query = select(table.c.name).where(table.c.holder == lookup(holder))
    return frozenset(connection.scalars(query).all())


async def release(connection: AsyncConnection, holder: str) -> None:
    await connection.execute(
        update(schema.agent)
        .where(schema.agent.c.holder == lookup(holder))
        .values(holder=None, expires_at=None)
    )


async def _insert_if_new(connection: AsyncConnection, table: Table, row: dict[str, Any]) -> None:
    insert_new = INSERTS[connection.dialect.name](table)
    await connection.execute(insert_new.values(row).on_conflict_do_nothing())


def agents(connection: Connection) -> list[AgentSummary]:
    rows = connection.execute(_summaries()).all()
    branches: dict[int, list[str]] = defaultdict(list)
    names = select(schema.branch.c.agent_id, schema.branch.c.name)
    for owner, name in connection.execute(names).all():
        branches[owner].append(name)
    summaries = [_summary(row, branches[row.id]) for row in rows]
    # in Python, because databases differ in how they order text
    return sorted(summaries, key=lambda summary: summary.agent)


async def delete_agent(connection: AsyncConnection, agent: str, *, now: datetime) -> None:
    owner = await connection.run_sync(agent_id, agent)
    # a writer that waits for this row finds it gone
    await connection.execute(
        select(schema.agent.c.id).where(schema.agent.c.id == owner).with_for_update()
    )
    branch, episode = schema.branch, schema.episode
    await connection.execute(update(branch).where(branch.c.agent_id == owner).values(head=None))
    episodes = select(episode.c.id).where(episode.c.agent_id == owner)
    branches = select(branch.c.id).where(branch.c.agent_id == owner)
    for table, is_its in (
        (schema.sleep, schema.sleep.c.episode_id.in_(episodes)),
        (episode, episode.c.agent_id == owner),
        (schema.message, schema.message.c.agent_id == owner),
        (schema.turn, schema.turn.c.agent_id == owner),
        (schema.thread, schema.thread.c.branch_id.in_(branches)),
        (branch, branch.c.agent_id == owner),
        (schema.snapshot, schema.snapshot.c.agent_id == owner),
        (schema.snapshot_chunk, schema.snapshot_chunk.c.agent_id == owner),
        (schema.agent, schema.agent.c.id == owner),
    ):
        await connection.execute(delete(table).where(is_its))
    deletion = {"agent": agent, "deleted_at": now}
    await connection.execute(insert(schema.deletion).values(deletion))


def deleted(connection: Connection) -> list[str]:
    return sorted(connection.scalars(select(schema.deletion.c.agent).distinct()).all())


async def forget_deletions(connection: AsyncConnection, before: datetime) -> None:
    table = schema.deletion
    await connection.execute(delete(table).where(table.c.deleted_at < before))


def summary(connection: Connection, agent: str) -> AgentSummary:
    owner = agent_id(connection, agent)
    row = connection.execute(_summaries().where(schema.agent.c.id == owner)).one()
    names = select(schema.branch.c.name).where(schema.branch.c.agent_id == owner)
    return _summary(row, connection.scalars(names).all())


def _summaries() -> Select[Any]:
    agent, turn, episode = schema.agent.c, schema.turn.c, schema.episode.c
    done = (turn.agent_id == agent.id) & (turn.state == TurnState.DONE.value)
    closed = (episode.agent_id == agent.id) & episode.closed_at.is_not(None)
    last = select(turn.created_at).where(done).order_by(turn.seq.desc()).limit(1)
    return select(
        agent.id,
        agent.name,
        agent.fingerprint,
        select(func.count()).select_from(schema.turn).where(done).scalar_subquery().label("turns"),
        select(func.count())
        .select_from(schema.episode)
        .where(closed)
        .scalar_subquery()
        .label("episodes"),
        last.scalar_subquery().label("last_turn_at"),
    )


def _summary(row: AnyRow, branches: Sequence[str]) -> AgentSummary:
    return AgentSummary(
        agent=row.name,
        fingerprint=row.fingerprint,
        branches=tuple(sorted(branches)),
        n_turns=row.turns,
        n_episodes=row.episodes,
        last_turn_at=row.last_turn_at,
    )


async def thread(
    connection: AsyncConnection,
    agent: str,
    epoch: int,
    *,
    branch: str,
    name: str,
    system: str | None,
) -> Thread:
    table = schema.thread
    checked_name("thread name", name)
    if system is not None:
        checked_message(LoggedMessage(role=Role.SYSTEM, content=system, token_ids=()))
    owner = await connection.run_sync(owned_agent_id, agent, epoch)
    branch_id = (await connection.run_sync(branch_row, owner, agent, branch)).id
    query = select(table.c.id, table.c.system).where(
        table.c.branch_id == branch_id, table.c.name == name
    )
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        row = {"branch_id": branch_id, "name": name, "system": system}
        key = (await connection.execute(insert(table).values(row))).inserted_primary_key
        assert key is not None
        return Thread(id=key[0], agent=agent, branch=branch, name=name, system=system)
    if system is not None and system != found.system:
        await connection.execute(update(table).where(table.c.id == found.id).values(system=system))
    return Thread(
        id=found.id,
        agent=agent,
        branch=branch,
        name=name,
        system=found.system if system is None else system,
    )


def threads(connection: Connection, agent: str) -> list[Thread]:
    owner = agent_id(connection, agent)
    query = (
        select(schema.thread, schema.branch.c.name.label("branch"))
        .join(schema.branch)
        .where(schema.branch.c.agent_id == owner)
        .order_by(schema.thread.c.id)
    )
    return [
        Thread(id=row.id, agent=agent, branch=row.branch, name=row.name, system=row.system)
        for row in connection.execute(query).all()
    ]


def head(connection: Connection, agent: str, branch: str) -> Head:
    owner = agent_id(connection, agent)
    return head_of(branch_row(connection, owner, agent, branch))


def head_of(branch: AnyRow) -> Head:
    return Head(episode=branch.head, snapshot=branch.snapshot)


def branch_row(connection: Connection, owner: int, agent: str, branch: str) -> AnyRow:
    """Return `id`, `head` and the head's `snapshot` and `n` of a branch."""
    place = {"owner": owner, "branch": lookup(branch)}
    found = connection.execute(_BRANCH, place).one_or_none()
    if found is None:
        raise BranchNotFound(agent, branch)
    return found


_BRANCH = (
    select(schema.branch.c.id, schema.branch.c.head, schema.episode.c.snapshot, schema.episode.c.n)
    .outerjoin_from(schema.branch, schema.episode, schema.branch.c.head == schema.episode.c.id)
    .where(
        schema.branch.c.agent_id == bindparam("owner"), schema.branch.c.name == bindparam("branch")
    )
)
