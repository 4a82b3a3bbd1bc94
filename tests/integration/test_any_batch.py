"""Whatever is appended at once, SQLite's log tells what the one in memory tells one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepmem.errors import SleepmemError
from sleepmem.protocols import EpisodeLog
from sleepmem.store import MemoryEpisodeLog, open_log
from sleepmem.testing.life import Life
from sleepmem.types import MAIN, Turn

AGENTS, THREADS = ("ana", "bob", "eve"), (MAIN, "side")
lives = st.tuples(st.sampled_from(AGENTS), st.sampled_from(THREADS))
requests = st.sampled_from([None, None, "r1", "r2"])
appends = st.one_of(
    st.tuples(st.just("stage"), lives, requests, st.booleans()),
    st.tuples(st.just("finish"), lives),
    st.tuples(st.just("finish unknown"), lives),
    st.tuples(st.just("stale"), lives),
    st.tuples(st.just("forged"), lives),
    st.tuples(st.just("of nobody"), lives),
)
batches = st.lists(st.lists(appends, min_size=1, max_size=9), min_size=1, max_size=5)


class Village:
    """Some agents on one log, and the turns that each thread staged last."""

    def __init__(self, born: dict[tuple[str, str], Life]) -> None:
        self.lives = born
        self.staged: dict[tuple[str, str], Turn] = {}

    @classmethod
    async def on(cls, log: EpisodeLog, run: int) -> Village:
        born = {}
        for name in AGENTS:
            life = await Life.born(log, f"{name}-{run}")
            born |= {(name, MAIN): life, (name, "side"): await life.on("side")}
        return cls(born)

    def call(self, append: tuple[Any, ...]) -> Awaitable[Turn]:
        """Return the call that makes an append; nothing of it has run yet."""
        what, who, *given = append
        life = self.lives[who]
        message = life.message(what, 2)
        if what == "stage":
            request_id, done = given
            return life.stage(message, request_id=request_id, done=done)
        if what.startswith("finish"):
            turn = self.staged.get(who)
            if turn is None or what == "finish unknown":
                turn = _turn_of_nobody(life)
            return life.finish(turn)
        thread = life.thread
        if what == "forged":  # the row id of another agent's thread
            other = self.lives["eve" if who[0] == "ana" else "ana", MAIN]
            thread = thread.model_copy(update={"id": other.thread.id})
        if what == "of nobody":
            thread = thread.model_copy(update={"agent": "nobody"})
        epoch = life.epoch - (what == "stale")
        return Life(life.log, thread, epoch, life._ids).stage(message)

    def saw(self, append: tuple[Any, ...], result: object) -> object:
        """Keep a turn that was staged, and return what both logs must agree on."""
        if isinstance(result, Turn):
            if append[0] == "stage":
                self.staged[append[1]] = result
            return result.model_dump(exclude={"id", "agent", "thread_id"})
        assert isinstance(result, SleepmemError), result
        return type(result).__name__

    async def told(self) -> object:
        found = []
        for life in self.lives.values():
            opened = await life.log.open_episode(life.thread)
            entries = [
                entry.model_dump(exclude={"turn"})
                async for entry in life.log.entries(life.thread.agent)
            ]
            found.append((opened.token_ids, entries, await life.stream()))
        return found


def _turn_of_nobody(life: Life) -> Turn:
    return Turn(
        id="f" * 32,
        agent=life.thread.agent,
        thread_id=life.thread.id,
        seq=99,
        request_id=None,
        state="staged",  # type: ignore[arg-type]
        start=0,
        stop=0,
        messages=(),
        created_at=life.now(),
    )


async def at_once(village: Village, batch: list[tuple[Any, ...]]) -> list[object]:
    calls = [village.call(append) for append in batch]
    return await asyncio.gather(*calls, return_exceptions=True)


async def one_by_one(village: Village, batch: list[tuple[Any, ...]]) -> list[object]:
    results: list[object] = []
    for call in [village.call(append) for append in batch]:
        try:
            results.append(await call)
        except SleepmemError as refused:
            results.append(refused)
    return results


How = Callable[[Village, list[tuple[Any, ...]]], Awaitable[list[object]]]


async def lived(log: EpisodeLog, run: int, how: How, script: list[Any]) -> list[object]:
    village = await Village.on(log, run)
    saw: list[object] = []
    for batch in script:
        results = await how(village, batch)
        saw += [village.saw(*pair) for pair in zip(batch, results, strict=True)]
    return [*saw, await village.told()]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'agents.db'}"


def check(url: str, n_examples: int) -> None:
    n_runs = 0
    with asyncio.Runner() as runner:
        log = runner.run(open_log(url))

        @settings(max_examples=n_examples, deadline=None)
        @given(script=batches)
        def alike(script: list[Any]) -> None:
            nonlocal n_runs
            n_runs += 1
            ours = runner.run(lived(log, n_runs, at_once, script))
            assert ours == runner.run(lived(MemoryEpisodeLog(), n_runs, one_by_one, script))

        try:
            alike()
        finally:
            runner.run(log.aclose())


def test_any_batch_is_told_as_one_by_one(url: str) -> None:
    check(url, 15)


@pytest.mark.postgres
def test_any_batch_on_postgres_is_told_as_one_by_one(postgres_url: str) -> None:
    check(postgres_url, 6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_of_many_batches_is_told_as_one_by_one(url: str) -> None:
    """pytest -m slow tests/integration/test_any_batch.py"""
    check(url, 1000)
