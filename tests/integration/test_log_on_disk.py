"""What only a log in a database can show: restarts, several writers, commits, cancellation."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from sleepmem.bench.runtime import wal
from sleepmem.errors import LeaseLost, NotOpen, StoreError, StoreUnavailable
from sleepmem.store import SqlEpisodeLog, open_log
from sleepmem.store import engine as engine_module
from sleepmem.testing.life import Life
from sleepmem.types import MAIN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqlEpisodeLog]:
    log = await open_log(f"sqlite:///{path}")
    yield log
    await log.aclose()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


async def test_restart_finds_the_life_as_it_was(log: SqlEpisodeLog, path: Path) -> None:
    life = await Life.born(log)
    await life.finish(await life.stage(request_id="r"))
    await life.sleep()
    staged = await life.stage(request_id="s")
    await life.fail_to_sleep("e", 5, 8)
    before = [await log.lineage("ana", MAIN), await log.open_episode(life.thread)]
    await log.aclose()

    again = await open_log(f"sqlite:///{path}")
    assert [await again.lineage("ana", MAIN), await again.open_episode(life.thread)] == before
    assert await again.turn_of_request("ana", "s") == staged
    reborn = await Life.born(again)
    assert reborn.thread == life.thread
    done = await reborn.finish(staged)
    assert (await again.open_episode(reborn.thread)).turns == (done,)
    assert (await again.open_episode(reborn.thread)).id == "e"
    await again.aclose()


async def test_closed_log_is_not_open(log: SqlEpisodeLog) -> None:
    await log.aclose()
    with pytest.raises(NotOpen):
        await log.agents()
    with pytest.raises(NotOpen):
        await Life.born(log)
    await log.aclose()


async def test_every_write_is_one_commit(log: SqlEpisodeLog, path: Path) -> None:
    async def n_commits(write: object) -> int:
        before = wal.n_commits(path)
        await write  # type: ignore[misc]
        return wal.n_commits(path) - before

    life = await Life.born(log)
    with wal.kept(path):
        assert await n_commits(life.stage(life.message(), life.message(), done=True)) == 1
        await life.stage()
        assert await n_commits(life.stage()) == 1
        turn = await life.stage()
        assert await n_commits(life.finish(turn)) == 1
        assert await n_commits(life.fail_to_sleep("e", 0, 3)) == 1
        assert await n_commits(life.log.summary("ana")) == 0


async def test_two_writers_of_many_agents_lose_nothing(log: SqlEpisodeLog, path: Path) -> None:
    other = await open_log(f"sqlite:///{path}")
    lives = [await Life.born((log, other)[n % 2], f"agent-{n}") for n in range(8)]

    async def live(life: Life) -> None:
        for _ in range(4):
            await life.finish(await life.stage(life.message(n_tokens=2)), n_tokens=1)
        await life.sleep()

    await asyncio.gather(*(live(life) for life in lives))
    for summary in await log.agents():
        assert (summary.n_turns, summary.n_episodes) == (4, 1)
    for life in lives:
        assert len(await log.tokens(life.thread.id, 0, 12)) == 12
    await other.aclose()


async def test_two_logs_on_one_agent_have_one_owner(log: SqlEpisodeLog, path: Path) -> None:
    other = await open_log(f"sqlite:///{path}")
    old, new = await Life.born(log), await Life.born(other)
    results = await asyncio.gather(
        *(life.stage(done=True) for life in (old, new) * 4), return_exceptions=True
    )
    assert all(isinstance(result, LeaseLost) for result in results[::2])
    assert [turn.seq for turn in results[1::2]] == [1, 2, 3, 4]  # type: ignore[union-attr]
    await other.aclose()


async def test_cancelled_write_happens_wholly_or_not_at_all(log: SqlEpisodeLog) -> None:
    life = await Life.born(log)
    for n_turns_of_loop in range(40):
        task = asyncio.create_task(life.stage(life.message(), life.message(), done=True))
        for _ in range(n_turns_of_loop):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    turn = await life.stage(done=True)
    opened = await log.open_episode(life.thread)
    assert all(len(turn.messages) == 2 for turn in opened.turns[:-1])
    assert [turn.seq for turn in opened.turns] == list(range(1, turn.seq + 1))
    assert len(opened.token_ids) == turn.stop


def n_checked_out(log: SqlEpisodeLog) -> int:
    pools = (log._engine.pool, log._reader.pool, log._appends._engine.pool)
    return sum(pool.checkedout() for pool in pools)  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_cancels", [1, 3])
async def test_write_cancelled_while_it_waits_for_the_lock_leaves_no_lock(
    log: SqlEpisodeLog, path: Path, n_cancels: int
) -> None:
    """The driver's thread got the lock after its caller was gone, and kept it."""
    life = await Life.born(log)
    intruder = sqlite3.connect(path, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(life.stage(done=True))
    for _ in range(50 + n_cancels):
        await asyncio.sleep(0)
    for _ in range(n_cancels):
        task.cancel()
        await asyncio.sleep(0)
    intruder.execute("ROLLBACK")
    intruder.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert n_checked_out(log) == 0
    last = await life.stage(done=True)
    assert [turn.seq for turn in (await log.open_episode(life.thread)).turns] == [1, 2]
    assert last.seq == 2


async def test_log_that_is_closed_lets_a_running_write_end(log: SqlEpisodeLog, path: Path) -> None:
    life = await Life.born(log)
    task = asyncio.create_task(life.stage(done=True))
    await asyncio.sleep(0)
    await log.aclose()
    assert (await task).seq == 1
    assert rows(path, "SELECT state FROM sleepmem_turn") == [("done",)]


async def test_log_that_is_closed_lets_a_cancelled_read_end(log: SqlEpisodeLog) -> None:
    began, may_end = threading.Event(), threading.Event()

    def slow(_: Connection) -> None:
        began.set()
        may_end.wait(timeout=60)

    task = asyncio.create_task(log.read(slow))
    await asyncio.to_thread(began.wait)
    task.cancel()
    closing = asyncio.create_task(log.aclose())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    assert not closing.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closing
    assert n_checked_out(log) == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("sleepmem-read")]


async def test_locked_database_is_unavailable_and_comes_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_log(f"sqlite:///{path}")).aclose()
    monkeypatch.setattr(engine_module, "_BUSY_TIMEOUT_MS", 1)
    log = await open_log(f"sqlite:///{path}")
    life = await Life.born(log)
    intruder = sqlite3.connect(path, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await life.stage(done=True)
    assert (await log.summary("ana")).n_turns == 0
    intruder.execute("ROLLBACK")
    intruder.close()
    assert (await life.stage(done=True)).seq == 1
    await log.aclose()


async def test_long_lives_are_read_in_pages(
    log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sleepmem.store.log._PAGE", 3)
    life = await Life.born(log)
    for n in range(4):
        await life.stage(life.message(f"a{n}"), life.message(f"b{n}"), done=True)
    expected = [f"{letter}{n}" for n in range(4) for letter in "ab"]
    assert [entry.content async for entry in log.entries("ana")] == expected
    found = [entry.content async for entry in log.entries("ana", search="B")]
    assert found == ["b0", "b1", "b2", "b3"]
    # a reader that stops early leaves no transaction behind
    async for entry in log.entries("ana"):
        assert entry.content == "a0"
        break
    assert n_checked_out(log) == 0


async def test_ids_are_four_bytes_each_and_attempts_one_row(log: SqlEpisodeLog, path: Path) -> None:
    life = await Life.born(log)
    await life.stage(life.message(n_tokens=5), done=True)
    await life.fail_to_sleep("e", 0, 5)
    await life.sleep()
    assert rows(path, "SELECT length(token_ids) FROM sleepmem_message") == [(20,)]
    found = rows(path, "SELECT episode_id, outcome FROM sleepmem_sleep ORDER BY id")
    assert found == [("e", "failed"), ("e", "slept")]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sleepmem_message SET token_ids = x'0102'",
        "UPDATE sleepmem_message SET tool_calls = '{\"a\": 1}'",
        "UPDATE sleepmem_message SET tool_calls = '[{\"a\": 1}]'",
    ],
)
async def test_row_that_was_damaged_is_an_error_in_one_line(
    log: SqlEpisodeLog, path: Path, damage: str
) -> None:
    life = await Life.born(log)
    await life.stage(done=True)
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="never wrote") as caught:
        await log.open_episode(life.thread)
    assert "\n" not in str(caught.value)
    assert "backup" in caught.value.hint


async def test_task_that_outlives_the_write_it_was_made_in_writes_by_itself(
    log: SqlEpisodeLog,
) -> None:
    life = await Life.born(log)
    await life.stage(done=True)
    opened, over = await log.open_episode(life.thread), asyncio.Event()

    async def write_later() -> object:
        await over.wait()
        return await life.stage(done=True), await life.on("side"), await log.head("ana", MAIN)

    async def ensure_stored() -> None:
        tasks.append(asyncio.create_task(write_later()))

    tasks: list[asyncio.Task[object]] = []
    report = life.report(opened.id, 3)
    await log.commit_sleep(
        life.thread,
        life.epoch,
        report,
        start=0,
        stop=3,
        expected=opened.head,
        woke_from=None,
        now=life.now(),
        ensure_stored=ensure_stored,
    )
    over.set()
    turn, side, head = await tasks[0]  # type: ignore[misc]
    assert (await log.open_episode(life.thread)).turns == (turn,)
    assert side.thread in await log.threads("ana")
    assert head.episode == report.episode


async def test_part_of_a_lineage_keeps_to_its_branch(log: SqlEpisodeLog, path: Path) -> None:
    main = await Life.born(log)
    reports = []
    for _ in range(5):
        await main.stage(done=True)
        reports.append(await main.sleep())
    fork = "INSERT INTO sleepmem_branch (agent_id, name, head) VALUES (1, 'what-if', ?)"
    connection = sqlite3.connect(path)
    connection.execute(fork, [reports[1].episode])
    connection.commit()
    connection.close()
    thread = await log.thread("ana", main.epoch, branch="what-if", name="t", system=None)
    other = Life(log, thread, main.epoch, main._ids)
    for _ in range(4):
        await other.stage(done=True)
        await other.sleep()
    for branch, length in ((MAIN, 5), ("what-if", 6)):
        whole = await log.lineage("ana", branch)
        assert [episode.index for episode in whole] == list(range(1, length + 1))
        found = await log.lineage("ana", branch, at_most=3)
        assert found == [whole[0], whole[length // 2], whole[-1]]


async def test_head_needs_no_messages(log: SqlEpisodeLog, path: Path) -> None:
    life = await Life.born(log)
    await life.stage(done=True)
    report = await life.sleep()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE sleepmem_message SET content = '', token_ids = x''")
    connection.commit()
    connection.close()
    assert (await log.head("ana", MAIN)).episode == report.episode
    assert (await log.open_episode(life.thread)).token_ids == ()
    turn = await life.stage(done=True)
    assert (turn.start, (await log.open_episode(life.thread)).turns) == (3, (turn,))
