"""Turns, the stream of a thread, and the messages of a life.

Every function takes a connection whose transaction is the caller's.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import exists, func, insert, literal, literal_column, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import Conflict, StoreError
from sleepmem.store import schema
from sleepmem.store.rows import (
    agent_id,
    check_interval,
    closed_stop,
    is_thread_of,
    lookup,
    message_rows,
    overlapping,
    owned_agent_id,
    stream_ids,
    stream_stop,
    turns_where,
    unknown_thread,
)
from sleepmem.types import (
    FinishReason,
    LogEntry,
    LoggedMessage,
    Role,
    Thread,
    Turn,
    TurnState,
    checked_message,
    checked_name,
)

_ABANDONED = TurnState.ABANDONED.value
_STAGED = TurnState.STAGED.value
# as literals, since SQLite uses a partial index only if the query spells out its condition
_is_staged = schema.turn.c.state == literal_column(f"'{_STAGED}'")
_counts = schema.turn.c.state != literal_column(f"'{_ABANDONED}'")


async def turn_of_request(connection: AsyncConnection, agent: str, request_id: str) -> Turn | None:
    checked_name("request id", request_id)
    turn, owner = schema.turn.c, schema.agent.c
    owner_id = select(owner.id).where(owner.name == lookup(agent)).scalar_subquery()
    found = await turns_where(
        connection,
        agent,
        turn.agent_id == owner_id,
        turn.request_id == request_id,
        _counts,
    )
    return found[0] if found else None


async def stage(
    connection: AsyncConnection,
    thread: Thread,
    epoch: int,
    messages: Sequence[LoggedMessage],
    *,
    request_id: str | None,
    done: bool,
    now: datetime,
) -> Turn:
    if request_id is not None:
        checked_name("request id", request_id)
    for message in messages:
        checked_message(message)
    owner = await owned_agent_id(connection, thread.agent, epoch)
    seq, start = await _next_place(connection, owner, thread, request_id)
    turn = Turn(
        id=secrets.token_hex(16),
        agent=thread.agent,
        thread_id=thread.id,
        seq=seq,
        request_id=request_id,
        state=TurnState.DONE if done else TurnState.STAGED,
        start=start,
        stop=start + sum(len(message.token_ids) for message in messages),
        messages=tuple(messages),
        created_at=now,
    )
    row = turn.model_dump(include={"id", "thread_id", "seq", "request_id", "start", "stop"})
    row |= {"agent_id": owner, "state": turn.state.value, "created_at": now}
    await connection.execute(insert(schema.turn).values(row))
    if messages:
        await connection.execute(insert(schema.message), message_rows(owner, seq, 0, messages))
    return turn


async def _next_place(
    connection: AsyncConnection, owner: int, thread: Thread, request_id: str | None
) -> tuple[int, int]:
    """Abandon the thread's staged turn and return the next turn's seq and start."""
    turn = schema.turn.c
    staged = [turn.thread_id == thread.id, _is_staged]
    known = exists().where(turn.agent_id == owner, turn.request_id == request_id, _counts)
    found = (
        await connection.execute(
            select(
                select(func.max(turn.seq)).where(turn.agent_id == owner).scalar_subquery(),
                closed_stop(thread.id),
                stream_stop(thread.id),
                select(turn.start).where(*staged).scalar_subquery(),
                known if request_id is not None else literal(False),
                is_thread_of(owner, thread),
            )
        )
    ).one()
    last_seq, closed, stop, staged_start, is_known, is_ours = found
    if not is_ours:
        raise unknown_thread(thread)
    if is_known:
        raise Conflict(f"request {request_id!r} of agent {thread.agent!r} is in the log already")
    closed, stop = closed or 0, stop or 0
    if staged_start is not None:
        stop = max(staged_start, min(stop, closed))
        await connection.execute(
            update(schema.turn).where(*staged).values(state=_ABANDONED, stop=stop)
        )
    return (last_seq or 0) + 1, max(stop, closed)


async def finish(
    connection: AsyncConnection,
    turn: Turn,
    epoch: int,
    reply: LoggedMessage,
    finish_reason: FinishReason,
) -> Turn:
    checked_message(reply)
    table = schema.turn
    owner = await owned_agent_id(connection, turn.agent, epoch)
    of_turn = [table.c.agent_id == owner, table.c.seq == turn.seq]
    query = select(table.c.id, table.c.state, table.c.start, table.c.stop).where(*of_turn)
    found = (await connection.execute(query)).one_or_none()
    state = found.state if found and found.id == turn.id else "unknown"
    if found is None or state != _STAGED:
        raise Conflict(f"turn {turn.id} is {state}, not staged")
    finished = turn.model_copy(
        update={
            "state": TurnState.DONE,
            "start": found.start,
            "stop": found.stop + len(reply.token_ids),
            "messages": (*turn.messages, reply),
            "finish_reason": finish_reason,
        }
    )
    await connection.execute(
        update(table)
        .where(*of_turn)
        .values(state=TurnState.DONE.value, stop=finished.stop, finish_reason=finish_reason.value)
    )
    rows = message_rows(owner, turn.seq, len(turn.messages), [reply])
    await connection.execute(insert(schema.message), rows)
    return finished


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
            state=TurnState(row.state),
            role=Role(row.role),
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
