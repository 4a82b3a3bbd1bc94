"""What it costs to make a message durable: commits, and milliseconds beside the bare least.

Each function makes a database of its own in `folder`. What it is compared with is measured in
turns with it, so that a slow moment of the machine hits both; of each the median counts.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from sleepmem.bench import Report, Row
from sleepmem.bench.runtime import wal
from sleepmem.bench.runtime.measured import in_turns
from sleepmem.store import SqlEpisodeLog, open_log
from sleepmem.store.appends import insert_turns, new_id
from sleepmem.store.commits import GroupCommit
from sleepmem.store.engine import append_engine, normalised
from sleepmem.types import MAIN, FinishReason, LoggedMessage, Role, Thread, Turn, TurnState

N_WRITERS = 64
N_ROUNDS = 60  # interleaved with what they are compared with
TEXT = "a message of the length that people write to each other, more or less " * 4
IDS = tuple(range(64))


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Writer:
    """One agent that says things to its log."""

    log: SqlEpisodeLog
    thread: Thread
    epoch: int

    async def stage(self, *, done: bool = False) -> Turn:
        message = LoggedMessage(role=Role.USER, content=TEXT, token_ids=IDS)
        return await self.log.stage(
            self.thread, self.epoch, [message], request_id=None, done=done, now=_now()
        )

    async def turn(self) -> None:
        """Live a turn: a message that comes in, and the reply to it."""
        reply = LoggedMessage(role=Role.ASSISTANT, content=TEXT, token_ids=IDS)
        await self.log.finish(await self.stage(), self.epoch, reply, FinishReason.STOP)


@asynccontextmanager
async def writers(database: Path, n: int, *, durable: bool = True) -> AsyncIterator[list[Writer]]:
    """Give so many newborn agents on a new log."""
    log = await open_log(f"sqlite:///{database}", durable=durable)
    try:
        found = []
        for name in (f"agent-{k}" for k in range(n)):
            epoch = await log.claim(
                name, fingerprint="f" * 64, holder="bench", create=True, now=_now()
            )
            thread = await log.thread(name, epoch, branch=MAIN, name=MAIN, system=None)
            found.append(Writer(log, thread, epoch))
        yield found
    finally:
        await log.aclose()


@asynccontextmanager
async def plain(database: Path, writer: Writer) -> AsyncIterator[Callable[[], Awaitable[Turn]]]:
    """Give what appends one more message by the same path, but asks nothing of the database."""
    with closing(sqlite3.connect(database)) as reader:
        query = "SELECT id FROM sleepmem_agent WHERE name = ?"
        [owner] = reader.execute(query, [writer.thread.agent]).fetchone()
    message = LoggedMessage(role=Role.USER, content=TEXT, token_ids=IDS)
    seqs = count(1)

    def run(connection: Any, seqs: Sequence[int]) -> list[Turn]:
        now = _now()
        turns = [
            Turn(
                id=new_id(now),
                agent=writer.thread.agent,
                thread_id=writer.thread.id,
                seq=seq,
                request_id=None,
                state=TurnState.DONE,
                start=(seq - 1) * len(IDS),
                stop=seq * len(IDS),
                messages=(message,),
                created_at=now,
            )
            for seq in seqs
        ]
        insert_turns(connection, [(owner, turn) for turn in turns])
        return turns

    engine = append_engine(normalised(f"sqlite:///{database}"), durable=False)
    commits: GroupCommit[int, Turn] = GroupCommit(engine, run, nullcontext())

    async def put() -> Turn:
        turn = await commits.commit(next(seqs))
        assert turn is not None
        return turn

    try:
        yield put
    finally:
        await commits.aclose()


async def commits_per_message(folder: Path, report: Report, n_rounds: int = N_ROUNDS) -> Row:
    """Return the commits for each message of one writer, a reply being one too."""
    database = folder / "one.db"
    async with writers(database, 1) as [one]:
        n_before = wal.n_commits(database)
        with wal.kept(database):
            for n in range(n_rounds):
                await one.turn()
                report("one writer", n / n_rounds)
            n_commits = wal.n_commits(database) - n_before
    value = n_commits / (2 * n_rounds)
    return Row("commits_per_message", value, "commits", goal=1, holds=value == 1)


async def messages_per_commit(folder: Path, report: Report, n_rounds: int = N_ROUNDS) -> Row:
    """Return the messages that a commit makes durable when many writers live at once."""
    database = folder / "many.db"
    n_turns = max(1, n_rounds // 10)

    async def live(writer: Writer) -> None:
        for _ in range(n_turns):
            await writer.turn()

    async with writers(database, N_WRITERS) as all_:
        n_before = wal.n_commits(database)
        with wal.kept(database):
            report(f"{N_WRITERS} writers", 0)
            await asyncio.gather(*(live(writer) for writer in all_))
            n_commits = wal.n_commits(database) - n_before
    value = 2 * n_turns * N_WRITERS / n_commits
    goal = N_WRITERS // 2
    return Row("messages_per_commit", value, "messages", goal=goal, holds=value >= goal)


async def durable_message_minus_flush(
    folder: Path, report: Report, n_rounds: int = N_ROUNDS
) -> Row:
    """Compare a durable message with as many bytes that are appended to a file and flushed."""
    data = TEXT.encode() + bytes(4 * len(IDS))
    async with writers(folder / "durable.db", 1) as [one]:
        file = os.open(folder / "bytes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:

            async def flush() -> None:
                os.write(file, data)
                os.fsync(file)

            say = partial(one.stage, done=True)
            times = await in_turns("durable messages", report, n_rounds, [say, flush])
        finally:
            os.close(file)
    return _difference("durable_message_minus_flush", times, 3)


async def batch64_minus_executemany(folder: Path, report: Report, n_rounds: int = N_ROUNDS) -> Row:
    """Compare messages of many writers at once with as many rows of one raw statement."""
    row = (TEXT, b"".join(i.to_bytes(4, "little") for i in IDS))
    async with writers(folder / "batch.db", N_WRITERS) as all_:
        with closing(sqlite3.connect(folder / "raw.db", isolation_level=None)) as raw:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute("CREATE TABLE message (agent, seq, content, ids, UNIQUE (agent, seq))")
            seq = count(1)

            async def executemany() -> None:
                place = next(seq)
                raw.execute("BEGIN IMMEDIATE")
                statement = "INSERT INTO message VALUES (?, ?, ?, ?)"
                raw.executemany(statement, [(n, place, *row) for n in range(N_WRITERS)])
                raw.execute("COMMIT")

            async def say() -> None:
                await asyncio.gather(*(writer.stage(done=True) for writer in all_))

            times = await in_turns("batches", report, n_rounds, [say, executemany])
    return _difference("batch64_minus_executemany", times, 4)


async def fenced_minus_plain_append(folder: Path, report: Report, n_rounds: int = N_ROUNDS) -> Row:
    """Compare an append, nothing being flushed, with one that writes the same rows unasked.

    What is between them is the whole look before the write: whose the thread is, the epoch, where
    its stream ends.
    """
    database = folder / "fenced.db"
    async with writers(database, 2, durable=False) as (one, other), plain(database, other) as put:
        say = partial(one.stage, done=True)
        times = await in_turns("fenced appends", report, 4 * n_rounds, [say, put])
    return _difference("fenced_minus_plain_append", times, 0.2)


def _difference(name: str, times: Sequence[Sequence[float]], goal: float) -> Row:
    """Return the medians in milliseconds of what took these seconds, and what is between them."""
    ours, least = (median(seconds) * 1000 for seconds in times)
    added = ours - least
    return Row(name, ours, "ms", least, difference=added, goal=goal, holds=added <= goal)
