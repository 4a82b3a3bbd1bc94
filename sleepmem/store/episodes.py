"""Episodes, sleeps and the lineage.

Every function takes a connection whose transaction is the caller's.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sleepmem.errors import Conflict, EpisodeNotFound, HeadMoved, MisuseError, StoreError
from sleepmem.store import schema
from sleepmem.store.agents import branch_row, head_of
from sleepmem.store.history import name_snapshot
from sleepmem.store.rows import (
    AnyRow,
    agent_id,
    closed_episodes,
    closed_stop,
    episode_of,
    is_thread_of,
    overlaps,
    owned_agent_id,
    stream_ids,
    stream_stop,
    turns_of,
    turns_with,
    unknown_thread,
)
from sleepmem.types import (
    Episode,
    Head,
    Measures,
    OpenEpisode,
    Outcome,
    SleepReport,
    Snapshot,
    Thread,
    TurnState,
)


def open_episode(connection: Connection, thread: Thread) -> OpenEpisode:
    owner = agent_id(connection, thread.agent)
    stream = _stream(connection, owner, thread)
    start = stream.closed or 0
    place = {"thread_id": thread.id, "start": start, "stop": stream.stop or 0}
    turns = turns_of(connection, thread.agent, _DONE_TURNS, place)
    ids = [i for turn in turns for i in stream_ids(turn)[max(0, start - turn.start) :]]
    if turns and len(ids) != turns[-1].stop - start:
        raise StoreError(
            f"the log holds {len(ids)} of the {turns[-1].stop - start} tokens that thread "
            f"{thread.name!r} of agent {thread.agent!r} lived through since its last sleep",
            hint="Restore the database from a backup.",
        )
    return OpenEpisode(
        id=stream.open_id or secrets.token_hex(8),
        head=head_of(branch_row(connection, owner, thread.agent, thread.branch)),
        start=start,
        token_ids=tuple(ids),
        turns=tuple(turns),
    )


async def commit_sleep(
    connection: AsyncConnection,
    thread: Thread,
    epoch: int,
    report: SleepReport,
    *,
    start: int,
    stop: int,
    expected: Head,
    woke_from: str | None,
    now: datetime,
    ensure_stored: Callable[[], Awaitable[None]],
) -> None:
    if report.outcome is not Outcome.SLEPT or not report.episode or not report.snapshot:
        raise MisuseError(f"a sleep that ended as {report.outcome} cannot be committed")
    owner = await connection.run_sync(owned_agent_id, thread.agent, epoch)
    stream = await connection.run_sync(_stream, owner, thread, report.episode)
    branch = await connection.run_sync(branch_row, owner, thread.agent, thread.branch)
    if head_of(branch) != expected:
        raise HeadMoved(thread.agent, thread.branch, expected.episode, branch.head)
    if not (stream.closed or 0) == start < stop <= (stream.stop or 0):
        raise Conflict(
            f"[{start}, {stop}) is not the open episode of thread {thread.name!r}, "
            f"which lies in [{stream.closed or 0}, {stream.stop or 0})"
        )
    await ensure_stored()
    await name_snapshot(connection, owner, report.snapshot, now)
    closed = {
        "start": start,
        "stop": stop,
        "n": (branch.n or 0) + 1,
        "parent": expected.episode,
        "woke_from": woke_from,
        "reason": report.reason.value,
        "snapshot": report.snapshot.digest,
        "closed_at": now,
    }
    await connection.run_sync(_put_episode, owner, thread, stream, report.episode, closed)
    await connection.execute(_PUT_SLEEP, _sleep_row(report.episode, report, now))
    heads = {"branch": branch.id, "before": expected.episode, "after": report.episode}
    moved = await connection.execute(_MOVE_HEAD, heads)
    if moved.rowcount != 1:
        raise HeadMoved(thread.agent, thread.branch, expected.episode, branch.head)


async def record_attempt(
    connection: AsyncConnection,
    thread: Thread,
    epoch: int,
    report: SleepReport,
    *,
    start: int,
    stop: int,
    now: datetime,
) -> None:
    if report.outcome is Outcome.SLEPT:
        raise MisuseError("a sleep that slept is committed, not recorded as an attempt")
    owner = await connection.run_sync(owned_agent_id, thread.agent, epoch)
    stream = await connection.run_sync(_stream, owner, thread, report.episode)
    episode = report.episode or stream.open_id or secrets.token_hex(8)
    opened = {"start": start, "stop": stop}
    await connection.run_sync(_put_episode, owner, thread, stream, episode, opened)
    await connection.execute(_PUT_SLEEP, _sleep_row(episode, report, now))


def sleeps(connection: Connection, agent: str, branch: str) -> list[SleepReport]:
    owner = agent_id(connection, agent)
    line = branch_row(connection, owner, agent, branch)
    sleep, episode, thread = schema.sleep.c, schema.episode.c, schema.thread.c
    snapshot = schema.snapshot.c
    has_slept = sleep.outcome == Outcome.SLEPT.value  # the attempts before it made no snapshot
    query = (
        select(schema.sleep, thread.name.label("thread"), snapshot.digest, snapshot.n_bytes)
        .join_from(schema.sleep, schema.episode, episode.id == sleep.episode_id)
        .join(schema.thread, thread.id == episode.thread_id)
        .outerjoin(
            schema.snapshot,
            (snapshot.agent_id == owner) & (snapshot.digest == episode.snapshot) & has_slept,
        )
        .where(episode.agent_id == owner, thread.branch_id == line.id)
        .order_by(sleep.id)
    )
    rows = connection.execute(query).all()
    return [_report_of(agent, branch, row) for row in rows]


def _report_of(agent: str, branch: str, row: AnyRow) -> SleepReport:
    return SleepReport(
        agent=agent,
        branch=branch,
        thread=row.thread,
        episode=row.episode_id,
        reason=row.reason,
        outcome=row.outcome,
        n_tokens=row.n_tokens,
        passes=row.passes,
        snapshot=Snapshot(digest=row.digest, n_bytes=row.n_bytes) if row.digest else None,
        measures=row.measures or None,
        sleep_s=row.sleep_s,
        measure_s=row.measure_s,
        problem=row.problem,
        numerics=row.numerics,
        recorded_at=row.recorded_at,
    )


def lineage(
    connection: Connection,
    agent: str,
    branch: str,
    *,
    until: str | None,
    at_most: int | None,
) -> list[Episode]:
    owner = agent_id(connection, agent)
    head = branch_row(connection, owner, agent, branch)
    if at_most is not None:
        return _places(connection, owner, agent, head, spread(head.n or 0, at_most))
    rows = connection.execute(_WALKED, {"head": head.head}).all()
    episodes = [episode_of(agent, row) for row in rows]
    if until is None:
        return episodes
    for episode in episodes:
        if episode.id == until:
            return episodes[: episode.index]
    raise EpisodeNotFound(agent, until)


def _places(
    connection: Connection, owner: int, agent: str, head: AnyRow, places: list[int]
) -> list[Episode]:
    """Return the episodes at these places of a lineage, oldest first."""
    rows = connection.execute(_AT_PLACES, {"owner": owner, "places": places}).all()
    if len(rows) > len(places):
        # the agent has branched: only the way from the head tells which of them is an ancestor
        walk = {"head": head.head, "places": places}
        rows = connection.execute(_WALKED_PLACES, walk).all()
    return [episode_of(agent, row) for row in rows]


def spread(n: int, at_most: int) -> list[int]:
    """Return at most so many numbers of 1 to `n`, evenly spaced, both ends among them."""
    return sorted({n - i * (n - 1) // max(1, at_most - 1) for i in range(at_most)}) if n else []


def _stream(
    connection: Connection, owner: int, thread: Thread, episode: str | None = None
) -> AnyRow:
    """Return `closed` and `stop` of a thread's stream and the id of its open episode, if tried.

    And whether there is an episode of the id `episode`, of whatever thread: `is_known`.
    """
    place = {"owner": owner, "thread_id": thread.id, "episode": episode}
    found = connection.execute(_STREAM, place).one()
    if not found.is_ours:
        raise unknown_thread(thread)
    return found


def _put_episode(
    connection: Connection,
    owner: int,
    thread: Thread,
    stream: AnyRow,
    episode: str,
    values: dict[str, Any],
) -> None:
    """Change the thread's open episode, or make it with the id `episode`."""
    if stream.open_id == episode:
        connection.execute(_CHANGE_EPISODE, {**values, "changed": episode})
        return
    if stream.open_id or stream.is_known:
        raise MisuseError(f"{episode} is not the open episode of thread {thread.name!r}")
    row = {**values, "id": episode, "agent_id": owner, "thread_id": thread.id}
    connection.execute(_PUT_EPISODE, row)


def _sleep_row(episode: str, report: SleepReport, now: datetime) -> dict[str, Any]:
    measures = report.measures
    problem = report.problem
    return {
        "episode_id": episode,
        "outcome": report.outcome.value,
        "reason": report.reason.value,
        "n_tokens": report.n_tokens,
        "passes": report.passes,
        "measures": measures.model_dump(include=set(Measures.model_fields)) if measures else None,
        "numerics": report.numerics,
        "sleep_s": report.sleep_s,
        "measure_s": report.measure_s,
        # a problem may quote a path that is not text
        "problem": problem.encode(errors="replace").decode() if problem else None,
        "recorded_at": now,
    }


_branch, _episode = schema.branch.c, schema.episode.c
_thread_id: BindParameter[int] = bindparam("thread_id")

_DONE_TURNS = turns_with(and_(overlaps, schema.turn.c.state == TurnState.DONE.value))

_STREAM = select(
    closed_stop(_thread_id).label("closed"),
    stream_stop(_thread_id).label("stop"),
    select(_episode.id)
    .where(_episode.thread_id == _thread_id, _episode.closed_at.is_(None))
    .scalar_subquery()
    .label("open_id"),
    exists().where(_episode.id == bindparam("episode")).label("is_known"),
    is_thread_of(bindparam("owner"), _thread_id).label("is_ours"),
)

_PUT_SLEEP, _PUT_EPISODE = insert(schema.sleep), insert(schema.episode)
_CHANGE_EPISODE = update(schema.episode).where(_episode.id == bindparam("changed"))
_MOVE_HEAD = (
    update(schema.branch)
    .where(_branch.id == bindparam("branch"))
    .where(_branch.head.is_not_distinct_from(bindparam("before")))
    .values(head=bindparam("after"))
)

# a lineage, oldest first
_newest = select(_episode.id, _episode.parent).where(_episode.id == bindparam("head"))
_chain = _newest.cte("chain", recursive=True)
_chain = _chain.union_all(
    select(_episode.id, _episode.parent).join_from(
        _chain, schema.episode, _episode.id == _chain.c.parent
    )
)
_WALKED = closed_episodes().join(_chain, _chain.c.id == _episode.id).order_by(_episode.n)

_is_placed = _episode.n.in_(bindparam("places", expanding=True))
_WALKED_PLACES = _WALKED.where(_is_placed)
_AT_PLACES = (
    closed_episodes()
    .where(_episode.agent_id == bindparam("owner"), _is_placed)
    .order_by(_episode.n)
)
