"""Appends to the log: staged turns and their replies, any number of agents in one transaction.

What a call asks of the database does not grow with the appends it is given: one look at where they
go, then their rows. Everything that may refuse an append is known from that look, so one that is
refused leaves nothing behind and the others go on.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    update,
)

from sleepmem.errors import AgentNotFound, Conflict, LeaseLost, SleepmemError
from sleepmem.store import schema
from sleepmem.store.columns import JsonText
from sleepmem.store.rows import (
    AnyRow,
    closed_stop,
    counts,
    lookup,
    message_rows,
    stream_stop,
    unknown_thread,
)
from sleepmem.store.worked_out import insert_rows, rows_of
from sleepmem.types import FinishReason, LoggedMessage, Thread, Turn, TurnState

_ABANDONED, _STAGED, _DONE = (
    state.value for state in (TurnState.ABANDONED, TurnState.STAGED, TurnState.DONE)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A turn that is to be appended to a thread, see `EpisodeLog.stage`."""

    thread: Thread
    epoch: int
    messages: Sequence[LoggedMessage]
    request_id: str | None
    done: bool
    now: datetime

    @property
    def agent(self) -> str:
        return self.thread.agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """A reply that is to end a staged turn, see `EpisodeLog.finish`."""

    turn: Turn
    epoch: int
    reply: LoggedMessage
    finish_reason: FinishReason

    @property
    def agent(self) -> str:
        return self.turn.agent


Append = Staging | Finishing
Appended = Turn | SleepmemError | None  # None: not written, its agent being locked elsewhere


def write(
    connection: Connection, appends: Sequence[Append], *, waits: bool = False
) -> list[Appended]:
    """Append all that can be, and return for each the turn as it is now, or why it was refused.

    Args:
        waits: whether to wait for agents that another transaction has locked. Who appends for
            several must not: two that wait for each other's agents would wait for ever.
    """
    found: dict[int, Turn | SleepmemError] = {}
    for places in _one_of_each_agent(appends, _locked(connection, appends, waits)):
        some = [(n, appends[n]) for n in places]
        found |= _stage(connection, {n: one for n, one in some if isinstance(one, Staging)})
        found |= _finish(connection, {n: one for n, one in some if isinstance(one, Finishing)})
    return [found.get(n) for n in range(len(appends))]


def insert_turns(connection: Connection, turns: Sequence[tuple[int, Turn]]) -> None:
    """Insert turns with their messages, each under the row id of its agent; asks nothing."""
    rows = [
        {
            "agent_id": owner,
            "seq": turn.seq,
            "id": turn.id,
            "thread_id": turn.thread_id,
            "request_id": turn.request_id,
            "state": turn.state.value,
            "start": turn.start,
            "stop": turn.stop,
            "created_at": turn.created_at,
        }
        for owner, turn in turns
    ]
    insert_rows(connection, schema.turn, rows)
    messages = [
        row for owner, turn in turns for row in message_rows(owner, turn.seq, 0, turn.messages)
    ]
    insert_rows(connection, schema.message, messages)


def new_id(now: datetime) -> str:
    """Return an unguessable id of 32 hex digits: milliseconds since 1970, then 80 random bits.

    So most sort behind older ones, and the index of ids grows at its end. Nothing rests on that.
    """
    return f"{max(0, int(now.timestamp() * 1000)):012x}{secrets.token_hex(10)}"


def _locked(connection: Connection, appends: Sequence[Append], waits: bool) -> list[int]:
    """Lock the agents until the transaction ends; return the appends to those that are locked.

    What is read after it is what nobody else changes. SQLite locks the whole database by itself.
    """
    if connection.dialect.name == "sqlite":
        return list(range(len(appends)))
    names = {lookup(append.agent) for append in appends}
    rows = connection.scalars(
        _LOCK.with_for_update(key_share=True, skip_locked=not waits), {"names": sorted(names)}
    )
    locked = set(rows)
    return [n for n, append in enumerate(appends) if waits or append.agent in locked]


def _one_of_each_agent(appends: Sequence[Append], places: list[int]) -> Iterator[list[int]]:
    """Split into rounds, since an append goes where the one before it of that agent ends."""
    while places:
        first: dict[str, int] = {}
        for place in places:
            first.setdefault(appends[place].agent, place)
        yield list(first.values())
        taken = set(first.values())
        places = [place for place in places if place not in taken]


def _stage(
    connection: Connection, stagings: Mapping[int, Staging]
) -> dict[int, Turn | SleepmemError]:
    if not stagings:
        return {}
    threads = {"threads": [staging.thread.id for staging in stagings.values()]}
    ends = {row.thread_id: row for row in _all(connection, _ENDS, threads)}
    known = _known_requests(connection, stagings.values(), ends)
    found: dict[int, Turn | SleepmemError] = {}
    staged: list[tuple[int, Turn]] = []
    abandoned: list[dict[str, int]] = []
    for n, staging in stagings.items():
        end = ends.get(staging.thread.id)
        if end is None or (end.name, end.epoch) != (staging.agent, staging.epoch):
            found[n] = _disowned(connection, staging) or unknown_thread(staging.thread)
            continue
        if (end.owner, staging.request_id) in known:
            request = f"request {staging.request_id!r} of agent {staging.agent!r}"
            found[n] = Conflict(f"{request} is in the log already")
            continue
        closed, stop = end.closed or 0, end.stop or 0
        if end.staged_seq is not None:
            stop = max(end.staged_start, min(stop, closed))
            abandoned.append({"owner": end.owner, "place": end.staged_seq, "cut": stop})
        found[n] = turn = _turn(staging, (end.last_seq or 0) + 1, max(stop, closed))
        staged.append((end.owner, turn))
    if abandoned:
        connection.execute(_ABANDON, abandoned)
    if staged:
        insert_turns(connection, staged)
    return found


def _turn(staging: Staging, seq: int, start: int) -> Turn:
    return Turn(
        id=new_id(staging.now),
        agent=staging.agent,
        thread_id=staging.thread.id,
        seq=seq,
        request_id=staging.request_id,
        state=TurnState.DONE if staging.done else TurnState.STAGED,
        start=start,
        stop=start + sum(len(message.token_ids) for message in staging.messages),
        messages=tuple(staging.messages),
        created_at=staging.now,
    )


def _known_requests(
    connection: Connection, stagings: Iterable[Staging], ends: Mapping[int, AnyRow]
) -> set[tuple[int, str]]:
    """Return the requests, by row id of their agent, that are in the log already."""
    asked = [
        (ends[staging.thread.id].owner, staging.request_id)
        for staging in stagings
        if staging.request_id is not None and staging.thread.id in ends
    ]
    if not asked:
        return set()
    found = _all(connection, _KNOWN, {"asked": asked})
    return {(row.agent_id, row.request_id) for row in found}


def _finish(
    connection: Connection, finishings: Mapping[int, Finishing]
) -> dict[int, Turn | SleepmemError]:
    if not finishings:
        return {}
    asked = {"ids": [lookup(finishing.turn.id) for finishing in finishings.values()]}
    turns = {row.id: row for row in _all(connection, _TURNS, asked)}
    found: dict[int, Turn | SleepmemError] = {}
    done: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for n, finishing in finishings.items():
        given, reply = finishing.turn, finishing.reply
        row = turns.get(given.id)
        is_it = row is not None and (row.name, row.seq) == (given.agent, given.seq)
        if row is None or not is_it or (row.epoch, row.state) != (finishing.epoch, _STAGED):
            state = row.state if row is not None and is_it else "unknown"
            refused = Conflict(f"turn {given.id} is {state}, not staged")
            found[n] = _disowned(connection, finishing) or refused
            continue
        found[n] = turn = given.model_copy(
            update={
                "state": TurnState.DONE,
                "start": row.start,
                "stop": row.stop + len(reply.token_ids),
                "messages": (*given.messages, reply),
                "finish_reason": finishing.finish_reason,
            }
        )
        why = finishing.finish_reason.value
        done.append({"owner": row.owner, "place": row.seq, "end": turn.stop, "why": why})
        messages += message_rows(row.owner, row.seq, len(given.messages), [reply])
    if done:
        connection.execute(_DO, done)
        insert_rows(connection, schema.message, messages)
    return found


def _all(
    connection: Connection, of: Mapping[str, Select[Any]], asked: Mapping[str, Any]
) -> Sequence[Any]:
    """Return the rows, by name, of a statement that each database has its own form of."""
    if connection.dialect.name == _SQLITE:
        return rows_of(connection, of[_SQLITE], asked)
    return connection.execute(of[connection.dialect.name], asked).all()


def _disowned(connection: Connection, append: Append) -> SleepmemError | None:
    """Return why whoever appends cannot write to the agent, None if it can."""
    epoch = connection.scalar(_EPOCH, {"agent": lookup(append.agent)})
    if epoch is None:
        return AgentNotFound(append.agent)
    return LeaseLost(append.agent, append.epoch) if epoch != append.epoch else None


_agent, _branch, _thread, _row = schema.agent.c, schema.branch.c, schema.thread.c, schema.turn.c

_EPOCH = select(_agent.epoch).where(_agent.name == bindparam("agent"))

# in one order everywhere
_LOCK = (
    select(_agent.name)
    .where(_agent.name.in_(bindparam("names", expanding=True)))
    .order_by(_agent.id)
)

_staged = schema.turn.alias("staged")
_is_staged = _staged.c.state == literal_column(f"'{_STAGED}'")  # as its partial index says it

# where the streams end and the next turns begin, and whose they are
_ends = (
    select(
        _thread.id.label("thread_id"),
        _agent.id.label("owner"),
        _agent.name,
        _agent.epoch,
        select(func.max(_row.seq))
        .where(_row.agent_id == _agent.id)
        .scalar_subquery()
        .label("last_seq"),
        closed_stop(_thread.id).label("closed"),
        stream_stop(_thread.id).label("stop"),
        _staged.c.seq.label("staged_seq"),
        _staged.c.start.label("staged_start"),
    )
    .select_from(schema.thread)
    .join(schema.branch, _branch.id == _thread.branch_id)
    .join(schema.agent, _agent.id == _branch.agent_id)
    .outerjoin(_staged, (_staged.c.thread_id == _thread.id) & _is_staged)
)
_requests = select(_row.agent_id, _row.request_id).where(counts)
_turns = select(
    _row.agent_id.label("owner"),
    _row.id,
    _row.seq,
    _row.state,
    _row.start,
    _row.stop,
    _agent.name,
    _agent.epoch,
).join_from(schema.turn, schema.agent, _agent.id == _row.agent_id)


def _listed(name: str) -> ColumnElement[Any]:
    """Select what a list holds, which SQLite is given as one text of JSON.

    A parameter for each, as other databases take them, makes a new statement for each length.
    """
    return func.json_each(bindparam(name, type_=JsonText())).table_valued("value").c.value


_asked = _listed("asked")
_SQLITE, _POSTGRES = "sqlite", "postgresql"
_ENDS = {
    _SQLITE: _ends.where(_thread.id.in_(select(_listed("threads")))),
    _POSTGRES: _ends.where(_thread.id.in_(bindparam("threads", expanding=True))),
}
_TURNS = {
    _SQLITE: _turns.where(_row.id.in_(select(_listed("ids")))),
    _POSTGRES: _turns.where(_row.id.in_(bindparam("ids", expanding=True))),
}
_KNOWN = {
    # its whole index would be read for a tuple in a list
    _SQLITE: _requests.where(
        _row.agent_id == func.json_extract(_asked, "$[0]"),
        _row.request_id == func.json_extract(_asked, "$[1]"),
    ),
    _POSTGRES: _requests.where(
        tuple_(_row.agent_id, _row.request_id).in_(bindparam("asked", expanding=True))
    ),
}

_is_place = (_row.agent_id == bindparam("owner")) & (_row.seq == bindparam("place"))
_ABANDON = update(schema.turn).where(_is_place).values(state=_ABANDONED, stop=bindparam("cut"))
_DO = (
    update(schema.turn)
    .where(_is_place)
    .values(state=_DONE, stop=bindparam("end"), finish_reason=bindparam("why"))
)
