"""Turns as they are read: by request, as the stream of a thread, as the messages of a life.

Every function takes a connection whose transaction is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from sqlalchemy import Connection, and_, bindparam, func, select, tuple_

from sleepmem.errors import StoreError
from sleepmem.history import LogEntry
from sleepmem.store import schema
from sleepmem.store.rows import (
    AnyRow,
    agent_id,
    check_interval,
    counts,
    lookup,
    overlaps,
    turns_of,
    turns_with,
    with_messages,
)
from sleepmem.types import LoggedMessage, Role, Turn, checked_name

M = TypeVar("M", LoggedMessage, AnyRow)


def turn_of_request(connection: Connection, agent: str, request_id: str) -> Turn | None:
    checked_name("request id", request_id)
    asked = {"agent": lookup(agent), "request_id": request_id}
    found = turns_of(connection, agent, _OF_REQUEST, asked)
    return found[0] if found else None


def tokens(connection: Connection, thread_id: int, start: int, stop: int) -> list[int]:
    ids: list[int] = []
    for turn, messages in _ids_of_turns(connection, thread_id, start, stop):
        told = [token_id for message in messages for token_id in message.token_ids]
        # those of an abandoned turn are cut
        ids += told[max(0, start - turn.start) : min(stop, turn.stop) - turn.start]
    if len(ids) != stop - start:
        raise StoreError(
            f"the log holds {len(ids)} of the {stop - start} tokens [{start}, {stop}) "
            f"of thread {thread_id}",
            hint="Restore the database from a backup.",
        )
    return ids


def ids_between(
    connection: Connection, thread_id: int, start: int, stop: int, roles: frozenset[Role]
) -> list[tuple[int, ...]]:
    return [
        message.token_ids
        for turn, messages in _ids_of_turns(connection, thread_id, start, stop)
        for message in _inside(turn, messages, start, stop)
        if message.role in roles
    ]


def messages_between(
    connection: Connection, thread_id: int, start: int, stop: int
) -> list[LoggedMessage]:
    place = _place(thread_id, start, stop)
    # the name of the agent does not matter to the messages
    return [
        message
        for turn in turns_of(connection, "", _OVERLAPPING, place)
        for message in _inside(turn, turn.messages, start, stop)
    ]


def _inside(turn: Turn | AnyRow, messages: Sequence[M], start: int, stop: int) -> Iterator[M]:
    """Yield the messages of a turn that lie wholly in `[start, stop)`."""
    begin = turn.start
    for message in messages:
        end = begin + len(message.token_ids)
        if start <= begin < end <= min(stop, turn.stop):
            yield message
        begin = end


def _place(thread_id: int, start: int, stop: int) -> dict[str, int]:
    check_interval(start, stop)
    return {"thread_id": thread_id, "start": start, "stop": stop}


def _ids_of_turns(
    connection: Connection, thread_id: int, start: int, stop: int
) -> list[tuple[AnyRow, list[AnyRow]]]:
    """Return the turns that hold ids of `[start, stop)`, and `role` and `token_ids` of messages."""
    rows = connection.execute(_IDS, _place(thread_id, start, stop)).all()
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.seq)]
    return [(group[0], group) for group in groups]


_turn, _message, _agent = schema.turn.c, schema.message.c, schema.agent.c
_OVERLAPPING = turns_with(overlaps)
_IDS = with_messages(
    and_(overlaps, _message.n.is_not(None)),
    _turn.seq,
    _turn.start,
    _turn.stop,
    _message.role,
    _message.token_ids,
)
_owner = select(_agent.id).where(_agent.name == bindparam("agent")).scalar_subquery()
_OF_REQUEST = turns_with(
    and_(_turn.agent_id == _owner, _turn.request_id == bindparam("request_id"), counts)
)


def entries_after(
    connection: Connection,
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
    owner = agent_id(connection, agent)
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
    rows = connection.execute(query).all()
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
