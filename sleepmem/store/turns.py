"""Turns as they are read: by request, as the stream of a thread, as the messages of a life.

Every function takes a connection whose transaction is the caller's.
"""

from __future__ import annotations

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import StoreError
from sleepmem.history import LogEntry
from sleepmem.store import schema
from sleepmem.store.rows import (
    agent_id,
    check_interval,
    counts,
    lookup,
    overlapping,
    stream_ids,
    turns_where,
)
from sleepmem.types import LoggedMessage, Turn, checked_name


async def turn_of_request(connection: AsyncConnection, agent: str, request_id: str) -> Turn | None:
    checked_name("request id", request_id)
    turn, owner = schema.turn.c, schema.agent.c
    owner_id = select(owner.id).where(owner.name == lookup(agent)).scalar_subquery()
    found = await turns_where(
        connection,
        agent,
        turn.agent_id == owner_id,
        turn.request_id == request_id,
        counts,
    )
    return found[0] if found else None


async def tokens(connection: AsyncConnection, thread_id: int, start: int, stop: int) -> list[int]:
    turns = await _overlapping_turns(connection, thread_id, start, stop)
    ids = [
        token_id
        for turn in turns
        for token_id in stream_ids(turn)[max(0, start - turn.start) : stop - turn.start]
    ]
    if len(ids) != stop - start:
        raise StoreError(
            f"the log holds {len(ids)} of the {stop - start} tokens [{start}, {stop}) "
            f"of thread {thread_id}",
            hint="Restore the database from a backup.",
        )
    return ids


async def messages_between(
    connection: AsyncConnection, thread_id: int, start: int, stop: int
) -> list[LoggedMessage]:
    messages = []
    for turn in await _overlapping_turns(connection, thread_id, start, stop):
        begin = turn.start
        for message in turn.messages:
            end = begin + len(message.token_ids)
            if start <= begin < end <= min(stop, turn.stop):
                messages.append(message)
            begin = end
    return messages


async def _overlapping_turns(
    connection: AsyncConnection, thread_id: int, start: int, stop: int
) -> list[Turn]:
    check_interval(start, stop)
    # the name of the agent does not matter to the ids
    return await turns_where(connection, "", *overlapping(thread_id, start, stop))


async def entries_after(
    connection: AsyncConnection,
    agent: str,
    place: tuple[int, int],
    *,
    search: str | None,
    limit: int,
) -> tuple[list[LogEntry], tuple[int, int] | None]:
    """Return entries after message `n` of turn `seq`, `place`, and where to go on; None at the end.

    Reads at most `limit` candidates, of which the entries may be fewer.
    """
    turn, message = schema.turn, schema.message
    owner = await agent_id(connection, agent)
    query = (
        select(
            message.c.seq,
            message.c.n,
            message.c.role,
            message.c.content,
            func.length(message.c.token_ids).label("n_bytes"),
            turn.c.id,
            turn.c.state,
            turn.c.created_at,
            schema.thread.c.name,
        )
        .join_from(message, turn)
        .join(schema.thread, schema.thread.c.id == turn.c.thread_id)
        .where(message.c.agent_id == owner, tuple_(message.c.seq, message.c.n) > tuple_(*place))
        .order_by(message.c.seq, message.c.n)
        .limit(limit)
    )
    needle = (search or "").lower()
    if needle:
        query = query.where(message.c.content.ilike(_pattern(needle), escape="\\"))
    rows = (await connection.execute(query)).all()
    found = [
        LogEntry(
            seq=row.seq,
            turn=row.id,
            thread=row.name,
            state=row.state,
            role=row.role,
            content=row.content,
            n_tokens=row.n_bytes // 4,
            created_at=row.created_at,
        )
        for row in rows
        if needle in row.content.lower()
    ]
    return found, (rows[-1].seq, rows[-1].n) if len(rows) == limit else None


def _pattern(needle: str) -> str:
    """Return a LIKE pattern that everything with `needle` in it matches.

    Databases differ in the case of letters beyond ASCII, so these match anything here, and in how
    long a pattern may be, so its beginning must do; the rows are looked at again.
    """
    kept = (
        "%" if not char.isascii() else f"\\{char}" if char in "\\%_" else char
        for char in needle[:1000]
    )
    return f"%{''.join(kept)}%"
