"""Appends that share a commit: each is as good as alone, none is acknowledged before its flush."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import killed_batch
import pytest
from sqlalchemy.exc import DBAPIError

from sleepmem.bench.runtime import wal
from sleepmem.errors import LeaseLost, SleepmemError, StoreError, StoreUnavailable
from sleepmem.store import SnapshotRows, SqlEpisodeLog, open_log
from sleepmem.testing.life import Life


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqlEpisodeLog]:
    log = await open_log(f"sqlite:///{path}")
    yield log
    await log.aclose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def any_log(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[SqlEpisodeLog]:
    is_sqlite = request.param == "sqlite"
    log = await open_log(
        f"sqlite:///{path}" if is_sqlite else request.getfixturevalue("postgres_url")
    )
    yield log
    await log.aclose()


async def born(log: SqlEpisodeLog, n: int) -> list[Life]:
    return [await Life.born(log, f"agent-{k}") for k in range(n)]


async def run_alone(append: object) -> None:
    """Answer as `GroupCommit.commit` does for what cannot share a commit."""


async def together(lives: Sequence[Life]) -> list[Any]:
    appends = (life.stage(done=True) for life in lives)
    return await asyncio.gather(*appends, return_exceptions=True)


class Gate:
    """Holds the thread of a log between the rows of a commit and the commit.

    Attributes:
        sizes: of the batches that came to it.
    """

    def __init__(self, log: SqlEpisodeLog) -> None:
        self.sizes: list[int] = []
        self._run = log._appends._run
        self._may_go, self._loop = threading.Event(), asyncio.get_running_loop()
        self._came = asyncio.Event()
        log._appends._run = self  # type: ignore[assignment]

    def __call__(self, connection: Any, appends: Sequence[Any]) -> Any:
        found = self._run(connection, appends)
        self.sizes.append(len(appends))
        self._loop.call_soon_threadsafe(self._came.set)
        assert self._may_go.wait(30)
        return found

    async def reached(self) -> None:
        await self._came.wait()

    def open(self) -> None:
        self._may_go.set()


async def test_appends_at_once_are_one_commit(log: SqlEpisodeLog, path: Path) -> None:
    lives = await born(log, 16)
    before = wal.n_commits(path)
    with wal.kept(path):
        turns = await together(lives)
        assert wal.n_commits(path) - before == 1
        staged = await lives[0].stage()
        rest = (life.stage() for life in lives[1:])
        await asyncio.gather(lives[0].finish(staged), *rest)
        assert wal.n_commits(path) - before == 3
    assert [turn.seq for turn in turns] == [1] * 16


async def test_what_comes_while_a_commit_runs_shares_the_next(log: SqlEpisodeLog) -> None:
    lives = await born(log, 9)
    gate = Gate(log)
    first = asyncio.create_task(lives[0].stage(done=True))
    await gate.reached()
    rest = asyncio.create_task(together(lives[1:]))
    await asyncio.sleep(0)
    assert not first.done()
    gate.open()
    await asyncio.gather(first, rest)
    assert gate.sizes == [1, 8]


async def test_writers_that_answer_at_once_stay_together(log: SqlEpisodeLog) -> None:
    """Half of them, and then the other half, would be twice the flushes."""
    lives = await born(log, 8)
    gate = Gate(log)
    gate.open()

    async def live(life: Life) -> None:
        for _ in range(3):
            await life.finish(await life.stage())

    await asyncio.gather(*(live(life) for life in lives))
    assert gate.sizes == [8] * 6


async def test_a_commit_has_a_bound(log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sleepmem.store.commits.MOST", 4)
    lives = await born(log, 10)
    gate = Gate(log)
    gate.open()
    assert [turn.seq for turn in await together(lives)] == [1] * 10
    assert gate.sizes == [4, 4, 2]


async def test_appends_to_one_agent_follow_each_other(
    any_log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("sleepmem.store.transactions._alone")  # none is run alone
    life = await Life.born(any_log)
    lives = [life, await life.on("other")] * 5
    turns = await together(lives)
    assert [turn.seq for turn in turns] == list(range(1, 11))
    assert [turn.start for turn in turns[::2]] == [0, 3, 6, 9, 12]


async def test_append_that_no_database_can_hold_takes_none_with_it(
    any_log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = await born(any_log, 5)
    beyond_utc = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
    monkeypatch.setattr(lives[2], "now", lambda: beyond_utc)
    results = await together(lives)
    assert isinstance(results.pop(2), StoreError)
    assert [turn.seq for turn in results] == [1] * 4


async def test_thread_that_cannot_be_takes_none_with_it(any_log: SqlEpisodeLog) -> None:
    lives = await born(any_log, 3)
    lives[1].thread = lives[1].thread.model_copy(update={"id": 2**70})
    results = await together(lives)
    assert isinstance(results.pop(1), SleepmemError)
    assert [turn.seq for turn in results] == [1] * 2


async def test_lost_claim_takes_none_with_it(any_log: SqlEpisodeLog) -> None:
    lives = await born(any_log, 4)
    await Life.born(any_log, "agent-1")
    results = await together(lives)
    assert isinstance(results.pop(1), LeaseLost)
    assert [turn.seq for turn in results] == [1] * 3
    assert (await any_log.summary("agent-1")).n_turns == 0


@pytest.mark.parametrize("shares", [True, False], ids=["shared", "alone"])
async def test_commit_that_fails_acknowledges_nothing(
    any_log: SqlEpisodeLog, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    lives = await born(any_log, 4)
    dialect = (any_log._appends if shares else any_log)._engine.dialect
    if not shares:
        monkeypatch.setattr(any_log._appends, "commit", run_alone)

    def fail(connection: Any) -> None:
        raise dialect.dbapi.OperationalError("disk I/O error")  # type: ignore[union-attr]

    with monkeypatch.context() as patch:
        patch.setattr(dialect, "do_commit", fail)
        results = await together(lives)
    assert [type(result) for result in results] == [StoreUnavailable] * 4
    assert len({id(result) for result in results}) == 4, "each has its own, with its own traceback"
    assert all(isinstance(result.__cause__, DBAPIError) for result in results)
    assert all("may have been written or not" in result.hint for result in results)
    assert [turn.seq for turn in await together(lives)] == [1] * 4


async def test_cancelled_before_its_commit_it_is_not_written(log: SqlEpisodeLog) -> None:
    one, two = await born(log, 2)
    gate = Gate(log)
    first = asyncio.create_task(one.stage(done=True))
    await gate.reached()
    second = asyncio.create_task(two.stage(done=True))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open()
    await first
    assert gate.sizes == [1]
    assert (await log.summary("agent-1")).n_turns == 0


@pytest.mark.parametrize("n_cancels", [1, 2, 5])
async def test_cancelled_during_its_commit_it_ends_with_it(
    log: SqlEpisodeLog, n_cancels: int
) -> None:
    lives = await born(log, 3)
    gate = Gate(log)
    tasks = [asyncio.create_task(life.stage(done=True)) for life in lives]
    await gate.reached()
    for _ in range(n_cancels):
        tasks[1].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(1), asyncio.CancelledError)
    assert [turn.seq for turn in results] == [1, 1]
    # the log was written by the time that the caller was let go
    assert [turn.seq for turn in await together(lives)] == [2] * 3


async def test_log_that_is_closed_commits_what_waits(log: SqlEpisodeLog, path: Path) -> None:
    lives = await born(log, 3)
    gate = Gate(log)
    first = asyncio.create_task(lives[0].stage(done=True))
    await gate.reached()
    rest = asyncio.create_task(together(lives[1:]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(log.aclose())
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, rest, closing)
    assert [turn.seq for turn in rest.result()] == [1, 1]


async def test_rows_of_another_log_on_the_same_file_join_its_transaction(
    log: SqlEpisodeLog, path: Path
) -> None:
    """It waited for the lock that its own caller held."""
    life = await Life.born(log)
    await life.stage(done=True)
    (path.parent / "link").symlink_to(path.parent)
    other = await open_log(f"sqlite:///{path.parent / 'link' / path.name}")
    rows = SnapshotRows(other)

    async def put() -> None:
        await rows.put("ana", b"bytes")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await log.restore("ana", "0" * 64, put)
    assert await rows.digests("ana") == []
    await other.aclose()


async def test_rows_of_another_database_are_committed_there(log: SqlEpisodeLog, path: Path) -> None:
    await Life.born(log)
    other = await open_log(f"sqlite:///{path.with_name('other.db')}")
    await Life.born(other)
    rows = SnapshotRows(other)

    async def put() -> None:
        await rows.put("ana", b"bytes")

    await log.restore("ana", "0" * 64, put)
    assert len(await rows.digests("ana")) == 1
    assert await SnapshotRows(log).digests("ana") == []
    await other.aclose()


@pytest.mark.postgres
async def test_agent_that_is_locked_elsewhere_holds_up_nobody_else(postgres_url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    log = await open_log(postgres_url)
    lives = await born(log, 3)
    with psycopg.connect(postgres_url) as elsewhere:
        query = "SELECT id FROM sleepmem_agent WHERE name = 'agent-1' FOR NO KEY UPDATE"
        elsewhere.execute(query)
        tasks = [asyncio.create_task(life.stage(done=True)) for life in lives]
        await asyncio.gather(tasks[0], tasks[2])
        await lives[0].stage(done=True)
        assert not tasks[1].done()
    assert (await tasks[1]).seq == 1
    await log.aclose()


@pytest.mark.postgres
async def test_two_logs_never_wait_for_each_other(postgres_url: str) -> None:
    logs = [await open_log(postgres_url) for _ in range(2)]
    lives = await born(logs[0], 6)
    theirs = [Life(logs[1], life.thread, life.epoch, life._ids) for life in reversed(lives)]
    for _ in range(5):
        results = await asyncio.gather(together(lives), together(theirs))
        assert not [r for both in results for r in both if isinstance(r, BaseException)]
    for life in lives:
        turns = (await logs[0].open_episode(life.thread)).turns
        assert [turn.seq for turn in turns] == list(range(1, 11))
        assert [turn.start for turn in turns] == list(range(0, 30, 3))
    for log in logs:
        await log.aclose()


@pytest.mark.parametrize("point", ["before its commit", "after its commit"])
async def test_killed_in_a_shared_commit_it_keeps_what_was_acknowledged(
    path: Path, point: str
) -> None:
    command = [sys.executable, killed_batch.__file__, f"sqlite:///{path}", point]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    acknowledged = said.decode().split()
    assert len(acknowledged) == killed_batch.N_WRITERS * killed_batch.N_WHOLE
    n_each = killed_batch.N_WHOLE + (point == "after its commit")

    log = await open_log(f"sqlite:///{path}")
    found = []
    for n in range(killed_batch.N_WRITERS):
        life = await Life.born(log, f"agent-{n}")
        turns = (await log.open_episode(life.thread)).turns
        assert [turn.seq for turn in turns] == list(range(1, n_each + 1))
        assert all(len(turn.messages) == 2 for turn in turns)
        found += [turn.id for turn in turns]
        assert (await life.stage(done=True)).start == 6 * n_each
    assert set(acknowledged) <= set(found)
    await log.aclose()
