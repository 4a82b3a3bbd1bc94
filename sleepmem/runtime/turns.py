"""Turns: what comes in is committed, room is made, it is read and answered, all is committed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sleepmem.errors import (
    Conflict,
    LeaseLost,
    SleepmemError,
    SnapshotNotFound,
    StoreUnavailable,
)
from sleepmem.events import TurnDone
from sleepmem.protocols import SleepLM, WakeState
from sleepmem.runtime.awake import Standing
from sleepmem.runtime.lost_answers import last_done
from sleepmem.runtime.speech import Speech
from sleepmem.runtime.thread import LiveThread
from sleepmem.runtime.window import cut_before, cut_behind
from sleepmem.types import (
    EpisodeStats,
    FinishReason,
    LoggedMessage,
    Message,
    Reply,
    Role,
    Sampling,
    SleepReport,
    Thread,
    Turn,
    TurnState,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What comes in, and how it is to be answered."""

    messages: tuple[Message, ...]
    request_id: str | None
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]


async def answer(thread: LiveThread, ask: Ask) -> AsyncGenerator[str | Reply, None]:
    """Live one turn: yield the text of the reply piece by piece, then the reply.

    The last piece is yielded when the turn is durable. Whatever ends the turn before that leaves
    the turn staged in the log and no wake state behind.
    """
    async with thread.turn() as (row, epoch):
        turn = await _known_turn(thread, row, ask.request_id)
        prefix = await thread.parts.engine.run(thread.parts.lm.reply_prefix)
        if turn is not None and turn.state is TurnState.DONE:
            for piece in _told_again(thread, turn, len(prefix)):
                yield piece
            return
        reports: list[SleepReport] = []
        reserve = len(prefix) + ask.max_tokens + 1  # the id that closes a reply cut short
        if turn is None:
            messages = await _encoded(thread, ask.messages)
            coming = cut_before(_n_tokens(messages), reserve)
            await thread.make_room(row, reports, reserve, coming)
            turn = await _stage(thread, row, epoch, messages, request_id=ask.request_id)
        standing, ids, state = await _awake(thread, row, reports, turn, prefix, reserve)
        speech = Speech(thread.parts, state, ask.max_tokens, ask.sampling, ask.stop)
        held = ""
        async with aclosing(speech.deltas()) as deltas:
            async for delta in deltas:
                if held:
                    yield held
                held = delta
        reply_ids = (*prefix, *speech.token_ids)
        reply = LoggedMessage(role=Role.ASSISTANT, content=speech.text, token_ids=reply_ids)
        done = await _finish(thread, row, epoch, turn, reply, speech.finish_reason)
        thread.keep(row, standing, ids + reply_ids, state)
        stats = thread.stats_after(standing, done)
        thread.watch_clock(row, stats)
        _tell_done(thread, row, done)
        if held:
            yield held
    # the thread is free: what is said during the sleep is answered on the old fast weights
    reports += await _after(thread, row, standing.open.start, stats)
    yield Reply(
        agent=row.agent,
        thread=row.name,
        text=speech.text,
        finish_reason=speech.finish_reason,
        n_tokens=len(speech.token_ids),
        n_window=len(standing.before) + len(ids),
        node_id=done.id,
        sleeps=tuple(reports),
    )


async def _awake(
    thread: LiveThread,
    row: Thread,
    reports: list[SleepReport],
    turn: Turn,
    prefix: Sequence[int],
    reserve: int,
) -> tuple[Standing, tuple[int, ...], WakeState]:
    """Return where the thread stands, the ids it has lived since, and a state that has read them.

    The state has read the prefix of a reply too, and `reserve` tokens are free behind the turn.
    """
    while True:
        standing = await thread.make_room(row, reports, reserve, cut_behind(turn, reserve))
        ids = standing.open.token_ids + _unslept(turn, standing.open.start)
        try:
            return standing, ids, await thread.wake(row, standing, (*ids, *prefix))
        except SnapshotNotFound:
            # a sleep beside the turn may have moved the head, and gc dropped the one before
            if await thread.parts.log.head(row.agent, row.branch) == standing.head:
                raise


async def observe(thread: LiveThread, messages: tuple[Message, ...]) -> tuple[SleepReport, ...]:
    """Live through messages as they stand, in one commit; nothing is generated.

    Returns the sleeps that they caused. An error means that nothing was lived; once the messages
    are committed, a sleep that does not succeed is only told.
    """
    async with thread.turn() as (row, epoch):
        encoded = await _encoded(thread, messages)
        reports: list[SleepReport] = []
        standing = await thread.make_room(row, reports, 0, cut_before(_n_tokens(encoded), 0))
        turn = await _lived(thread, row, epoch, encoded, standing)
        _tell_done(thread, row, turn)
        try:
            standing = await thread.make_room(row, reports, 0, cut_behind(None, 0))
        except SleepmemError:
            log.warning("no room could be made", extra=_extra(row, turn), exc_info=True)
            return tuple(reports)
        stats = thread.stats(standing)
        thread.watch_clock(row, stats)
    return (*reports, *await _after(thread, row, standing.open.start, stats))


async def _known_turn(thread: LiveThread, row: Thread, request_id: str | None) -> Turn | None:
    """Return the turn that this request began, if it did."""
    if request_id is None:
        return None
    turn = await thread.parts.log.turn_of_request(row.agent, request_id)
    if turn is not None and turn.thread_id != row.id:
        raise Conflict(
            f"request {request_id!r} of agent {row.agent!r} was made on another thread",
            hint="Give every request an id of its own.",
        )
    return turn


def _told_again(thread: LiveThread, turn: Turn, n_prefix: int) -> list[str | Reply]:
    """Return the stored reply of a done turn as its stream; nothing is read."""
    reply, finish_reason = turn.reply, turn.finish_reason
    assert reply is not None, "a request is only made by say, which is answered"
    assert finish_reason is not None
    told = Reply(
        agent=turn.agent,
        thread=thread.name,
        text=reply.content,
        finish_reason=finish_reason,
        n_tokens=len(reply.token_ids) - n_prefix,
        n_window=_n_tokens(turn.messages[:-1]),
        node_id=turn.id,
    )
    return [reply.content, told] if reply.content else [told]


async def _encoded(thread: LiveThread, messages: tuple[Message, ...]) -> list[LoggedMessage]:
    """Return the messages with their ids."""
    return await thread.parts.engine.run(_encode, thread.parts.lm, messages)


def _encode(lm: SleepLM, messages: tuple[Message, ...]) -> list[LoggedMessage]:
    return [
        LoggedMessage(**message.model_dump(), token_ids=tuple(lm.encode(message)))
        for message in messages
    ]


async def _stage(
    thread: LiveThread,
    row: Thread,
    epoch: int,
    messages: list[LoggedMessage],
    *,
    request_id: str | None = None,
    done: bool = False,
) -> Turn:
    turn = await thread.parts.log.stage(
        row,
        epoch,
        messages,
        request_id=request_id,
        done=done,
        now=thread.parts.clock.now(),
    )
    thread.heard()
    for message in messages:
        log.debug("%s: %s", message.role, message.content, extra=_extra(row, turn))
    return turn


async def _finish(
    thread: LiveThread,
    row: Thread,
    epoch: int,
    turn: Turn,
    reply: LoggedMessage,
    reason: FinishReason,
) -> Turn:
    """Commit the reply and return the done turn."""
    log = thread.parts.log
    try:
        return await log.finish(turn, epoch, reply, reason)
    except StoreUnavailable:
        found = await last_done(log, row, epoch)
        if found is None or found.id != turn.id:
            raise
        return found


async def _lived(
    thread: LiveThread,
    row: Thread,
    epoch: int,
    messages: list[LoggedMessage],
    standing: Standing,
) -> Turn:
    """Commit messages that want no reply, said where the thread stands, and return their turn."""
    try:
        return await _stage(thread, row, epoch, messages, done=True)
    except StoreUnavailable:
        found = await last_done(thread.parts.log, row, epoch)
        if found is None or found in standing.open.turns:
            raise
        return found


def _n_tokens(messages: tuple[LoggedMessage, ...] | list[LoggedMessage]) -> int:
    return sum(len(message.token_ids) for message in messages)


def _unslept(turn: Turn, start: int) -> tuple[int, ...]:
    """Return the ids of a staged turn that no episode holds yet."""
    ids = [token_id for message in turn.messages for token_id in message.token_ids]
    return tuple(ids[max(0, start - turn.start) :])


async def _after(
    thread: LiveThread, row: Thread, start: int, stats: EpisodeStats
) -> list[SleepReport]:
    """Ask the policy once the turn is durable; no trouble with its sleep may hide the turn."""
    if thread.is_asleep:
        # most of the episode is sealed: a wish would only hold the reply until that sleep ends
        return []
    wish = thread.wish_of_policy(start, stats)
    if wish is None:
        return []
    try:
        attempt = await thread.sleep_and_swap(row, wish)
    except LeaseLost:
        # the turn was committed under our claim; the next call says that the claim is gone
        return []
    except SleepmemError:
        # another sleep of the branch takes too long, or the memory is being closed
        log.warning("no sleep after the turn", extra={"agent": row.agent}, exc_info=True)
        return []
    return [] if attempt.is_late else [attempt.report]


def _tell_done(thread: LiveThread, row: Thread, turn: Turn) -> None:
    log.info("turn done", extra=_extra(row, turn))
    thread.parts.tell(
        TurnDone(
            agent=row.agent,
            branch=row.branch,
            thread=row.name,
            node_id=turn.id,
            n_tokens=turn.stop - turn.start,
        )
    )


def _extra(row: Thread, turn: Turn) -> dict[str, str | int]:
    return {
        "agent": row.agent,
        "branch": row.branch,
        "thread_name": row.name,
        "turn": turn.id,
        "n_tokens": turn.stop - turn.start,
    }
