"""Rows to values and back; what every part of the log needs of agents, turns and episodes.

Every function takes a connection whose transaction the caller owns. Statements are made once:
to make one takes the event loop longer than to run it, and the model waits for that meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Exists,
    Row,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)

from sleepmem.errors import AgentNotFound, ConfigError, LeaseLost, MisuseError
from sleepmem.store import schema
from sleepmem.types import (
    Episode,
    LoggedMessage,
    Outcome,
    Snapshot,
    Thread,
    Turn,
    TurnState,
    checked_name,
)

AnyRow = Row[*tuple[Any, ...]]


def agent_id(connection: Connection, agent: str) -> int:
    """Return the row id of an agent."""
    found = connection.scalar(_AGENT, {"agent": lookup(agent)})
    if found is None:
        raise AgentNotFound(agent)
    return int(found)


def owned_agent_id(connection: Connection, agent: str, epoch: int) -> int:
    """Lock the agent until the transaction ends and return its row id.

    Must be the first statement of a write: what is read after it is what nobody else changes.

    Raises:
        LeaseLost: `epoch` is not the agent's.
    """
    found = _locked(connection, agent)
    if found.epoch != epoch:
        raise LeaseLost(agent, epoch)
    return int(found.id)


def locked_agent_id(connection: Connection, agent: str) -> int:
    """Lock the agent as a writer does, whoever holds it, and return its row id."""
    return int(_locked(connection, agent).id)


def _locked(connection: Connection, agent: str) -> AnyRow:
    found = connection.execute(_LOCKED_AGENT, {"agent": lookup(agent)}).one_or_none()
    if found is None:
        raise AgentNotFound(agent)
    return found


def locked_deletions(connection: Connection, agent: str) -> bool:
    """Lock the deletions of agents of a name; return whether there are any.

    While they are locked, bytes are removed or somebody of that name is born, never both.
    """
    return bool(connection.scalars(_LOCKED_DELETIONS, {"agent": lookup(agent)}).all())


def lookup(name: str) -> str:
    """Return `name` in a form that no driver refuses: what can name nothing is not found."""
    try:
        return checked_name("name", name)
    except ConfigError:
        return ""


_NAMED = schema.agent.c.name == bindparam("agent")
_AGENT = select(schema.agent.c.id).where(_NAMED)
# its id stays as it is, so nobody waits for a snapshot that is being put under it
_LOCKED_AGENT = (
    select(schema.agent.c.id, schema.agent.c.epoch).where(_NAMED).with_for_update(key_share=True)
)

_LOCKED_DELETIONS = (
    select(schema.deletion.c.id)
    .where(schema.deletion.c.agent == bindparam("agent"))
    .order_by(schema.deletion.c.id)
    .with_for_update()
)


def is_thread_of(owner: BindParameter[int], thread_id: BindParameter[int]) -> Exists:
    """Select whether the agent of row id `owner` has this thread."""
    return (
        exists()
        .where(schema.thread.c.id == thread_id)
        .where(schema.thread.c.branch_id == schema.branch.c.id)
        .where(schema.branch.c.agent_id == owner)
    )


def unknown_thread(thread: Thread) -> MisuseError:
    return MisuseError(f"thread {thread.id} is not one of agent {thread.agent!r}")


# as a literal, since SQLite uses a partial index only if the query spells out its condition
counts = schema.turn.c.state != literal_column(f"'{TurnState.ABANDONED.value}'")


def closed_stop(thread_id: ColumnElement[int]) -> ScalarSelect[int | None]:
    """Select where the last closed episode of a thread ends; null before the first."""
    episode = schema.episode.c
    return (
        select(func.max(episode.stop))
        .where(episode.thread_id == thread_id, episode.closed_at.is_not(None))
        .scalar_subquery()
    )


def stream_stop(thread_id: ColumnElement[int]) -> ScalarSelect[int]:
    """Select where the last turn of a thread ends; null before the first."""
    turn = schema.turn.c
    # starts never fall along a thread, so the last turn is the one that the index ends with
    return (
        select(turn.stop)
        .where(turn.thread_id == thread_id)
        .order_by(turn.start.desc(), turn.stop.desc())
        .limit(1)
        .scalar_subquery()
    )


def check_interval(start: int, stop: int) -> None:
    """Raise ConfigError unless `[start, stop)` is an interval of a stream."""
    if not 0 <= start <= stop:
        raise ConfigError(f"[{start}, {stop}) is no interval of a stream")


_turn = schema.turn.c
_before = schema.turn.alias("before").c
# starts never fall along a thread: the last turn that begins at or before `start` comes first
_first = (
    select(func.max(_before.start))
    .where(_before.thread_id == bindparam("thread_id"), _before.start <= bindparam("start"))
    .scalar_subquery()
)
# turns of a thread that hold ids of `[start, stop)`; cost: those turns
overlaps = and_(
    _turn.thread_id == bindparam("thread_id"),
    _turn.start >= _first,
    _turn.start < bindparam("stop"),
    _turn.stop > bindparam("start"),
    _turn.stop > _turn.start,
)


_MESSAGE = ("n", "role", "content", "tool_calls", "tool_call_id", "token_ids")


def with_messages(condition: ColumnElement[bool], *columns: ColumnElement[Any]) -> Select[Any]:
    """Select columns of the turns that meet a condition and of their messages, oldest first."""
    turn, message = schema.turn, schema.message
    is_its = (message.c.agent_id == turn.c.agent_id) & (message.c.seq == turn.c.seq)
    return (
        select(*columns)
        .outerjoin_from(turn, message, is_its)
        .where(condition)
        .order_by(turn.c.agent_id, turn.c.seq, message.c.n)
    )


def turns_with(condition: ColumnElement[bool]) -> Select[Any]:
    """Select what `turns_of` needs of the turns that meet a condition."""
    messages = (schema.message.c[name] for name in _MESSAGE)
    return with_messages(condition, *schema.turn.c, *messages)


def turns_of(
    connection: Connection, agent: str, query: Select[Any], parameters: Mapping[str, Any]
) -> list[Turn]:
    """Return the turns of one agent that a query of `turns_with` selects, oldest first."""
    rows = connection.execute(query, parameters).all()
    return [
        _turn_of(agent, list(group))
        for _, group in groupby(rows, key=lambda row: (row.agent_id, row.seq))
    ]


def stream_ids(turn: Turn) -> list[int]:
    """Return the ids of a turn that belong to the stream; an abandoned one's are cut."""
    ids = [token_id for message in turn.messages for token_id in message.token_ids]
    return ids[: turn.stop - turn.start]


def message_rows(
    owner: int, seq: int, first: int, messages: Sequence[LoggedMessage]
) -> list[dict[str, Any]]:
    """Return the rows of messages numbered from `first` in the turn."""
    return [
        {
            "agent_id": owner,
            "seq": seq,
            "n": n,
            "role": message.role.value,
            "content": message.content,
            "tool_calls": [call.model_dump() for call in message.tool_calls] or None,
            "tool_call_id": message.tool_call_id,
            "token_ids": message.token_ids,
        }
        for n, message in enumerate(messages, first)
    ]


def _message(row: AnyRow) -> LoggedMessage:
    return LoggedMessage(
        role=row.role,
        content=row.content,
        tool_calls=row.tool_calls or (),
        tool_call_id=row.tool_call_id,
        token_ids=row.token_ids,
    )


def _turn_of(agent: str, rows: Sequence[AnyRow]) -> Turn:
    first = rows[0]
    return Turn(
        id=first.id,
        agent=agent,
        thread_id=first.thread_id,
        seq=first.seq,
        request_id=first.request_id,
        state=first.state,
        start=first.start,
        stop=first.stop,
        messages=tuple(_message(row) for row in rows if row.n is not None),
        finish_reason=first.finish_reason,
        created_at=first.created_at,
    )


def closed_episodes() -> Select[Any]:
    """Select what `episode_of` needs of episodes that a sleep has closed."""
    table, sleep = schema.episode, schema.sleep
    return (
        select(
            table,
            sleep.c.passes,
            sleep.c.measures,
            sleep.c.numerics,
            schema.thread.c.name.label("thread"),
            schema.snapshot.c.n_bytes,
            schema.snapshot.c.dropped_at,
        )
        .select_from(table)
        .join(sleep, (sleep.c.episode_id == table.c.id) & (sleep.c.outcome == Outcome.SLEPT.value))
        .join(schema.thread, schema.thread.c.id == table.c.thread_id)
        .join(
            schema.snapshot,
            (schema.snapshot.c.agent_id == table.c.agent_id)
            & (schema.snapshot.c.digest == table.c.snapshot),
        )
    )


def episode_of(agent: str, row: AnyRow) -> Episode:
    return Episode(
        id=row.id,
        index=row.n,
        agent=agent,
        thread_id=row.thread_id,
        thread=row.thread,
        start=row.start,
        stop=row.stop,
        parent=row.parent,
        woke_from=row.woke_from,
        reason=row.reason,
        passes=row.passes,
        snapshot=Snapshot(digest=row.snapshot, n_bytes=row.n_bytes, dropped_at=row.dropped_at),
        measures=row.measures or None,
        numerics=row.numerics,
        closed_at=row.closed_at,
        pinned=row.pinned,
    )
