"""Whatever happens in whatever order, the SQL log and the one in memory tell the same life."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleepmem.errors import AgentNotFound, SleepmemError
from sleepmem.protocols import EpisodeLog
from sleepmem.store import MemoryEpisodeLog, open_log
from sleepmem.testing.life import BIRTH, Life, history, stored
from sleepmem.types import MAIN, Head, Turn, TurnState

THREADS = ("main", "side")
threads = st.sampled_from(THREADS)
sizes = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("say"), threads, st.lists(sizes, max_size=3), st.booleans()),
    st.tuples(st.just("finish"), threads, sizes),
    # how far an episode ends from where it begins, and how far that is from where it should
    st.tuples(st.just("sleep"), threads, st.integers(0, 12), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("stale"), threads, st.integers(1, 4)),
    st.tuples(st.just("attempt"), threads, sizes),
    st.tuples(st.just("claim"), threads),
    st.tuples(st.just("drop"), threads, st.sets(st.integers(0, 3))),
    st.tuples(st.just("pin"), threads, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("sweep"), threads),
    st.tuples(st.just("restore"), threads, st.integers(0, 3)),
)


class Player:
    """Plays one list of steps on one log; ids of turns and episodes are left out of what it saw."""

    def __init__(self, lives: dict[str, Life]) -> None:
        self.lives = lives
        self.turns: dict[str, Turn] = {}
        self.n_episodes = 0

    async def play(self, step: tuple[Any, ...]) -> object:
        verb, thread, *given = step
        try:
            return await getattr(self, verb)(self.lives[thread], *given)
        except SleepmemError as exc:
            return type(exc).__name__

    async def say(self, life: Life, sizes: list[int], done: bool) -> object:
        messages = [life.message(f"{n} tokens", n) for n in sizes]
        request_id = f"r{sum(sizes)}" if sizes else None
        turn = await life.log.stage(
            life.thread, life.epoch, messages, request_id=request_id, done=done, now=life.now()
        )
        self.turns[life.thread.name] = turn
        return seen(turn)

    async def finish(self, life: Life, size: int) -> object:
        turn = self.turns.get(life.thread.name)
        return seen(await life.finish(turn, size)) if turn else None

    async def sleep(self, life: Life, length: int, shift: int) -> object:
        return await self._commit(life, length, shift, await life.log.head("ana", MAIN))

    async def stale(self, life: Life, length: int) -> object:
        return await self._commit(life, length, 0, Head(episode="gone", snapshot=None))

    async def _commit(self, life: Life, length: int, shift: int, expected: Head) -> object:
        opened = await life.log.open_episode(life.thread)
        start = opened.start + shift
        await life.log.commit_sleep(
            life.thread,
            life.epoch,
            life.report(await self._episode(life), length),
            start=start,
            stop=start + length,
            expected=expected,
            woke_from=None,
            now=life.now(),
            ensure_stored=stored,
        )
        return await life.log.tokens(life.thread.id, start, start + length)

    async def attempt(self, life: Life, length: int) -> object:
        opened = await life.log.open_episode(life.thread)
        await life.fail_to_sleep(await self._episode(life), opened.start, opened.start + length)
        return None

    async def claim(self, life: Life) -> object:
        epoch = await life.log.claim(
            "ana", fingerprint="f" * 64, holder="h", create=False, now=life.now()
        )
        before, life.epoch = life.epoch, epoch
        return epoch - before

    async def drop(self, life: Life, places: set[int]) -> object:
        return await life.log.drop("ana", await self._digests(life, places), life.now())

    async def pin(self, life: Life, place: int, pinned: bool) -> object:
        episodes = (await history(life.log, "ana")).episodes[place:]
        return await life.log.pin("ana", episodes[0].id if episodes else "unknown", pinned)

    async def sweep(self, life: Life) -> object:
        swept = 0

        async def delete(agent: str, digest: str) -> None:
            nonlocal swept
            swept += 1

        digests = await self._digests(life, set(range(99)))
        return [await life.log.sweep("ana", digest, delete) for digest in digests], swept

    async def restore(self, life: Life, place: int) -> object:
        for digest in await self._digests(life, {place}):
            await life.log.restore("ana", digest, stored)
        return None

    async def _digests(self, life: Life, places: set[int]) -> list[str]:
        episodes = (await history(life.log, "ana")).episodes
        return [episode.snapshot.digest for episode in episodes if episode.index - 1 in places]

    async def _episode(self, life: Life) -> str:
        """Return the open episode's id if it is fixed, else one that both logs are given."""
        first, second = [(await life.log.open_episode(life.thread)).id for _ in range(2)]
        self.n_episodes += 1
        return first if first == second else f"{life.thread.id}-{self.n_episodes}"


def seen(turn: Turn) -> object:
    return turn.model_dump(exclude={"id", "thread_id", "agent", "created_at"})


async def told(player: Player) -> object:
    """Return all that a log tells, checked against what must hold in any order of events."""
    log = player.lives["main"].log
    lives = []
    for life in player.lives.values():
        opened = await log.open_episode(life.thread)
        stop = opened.start + len(opened.token_ids)
        stream = await log.tokens(life.thread.id, 0, stop)
        assert stream[opened.start :] == list(opened.token_ids)
        for turn in opened.turns:
            assert turn.state is TurnState.DONE
            ids = [i for message in turn.messages for i in message.token_ids]
            assert await log.tokens(life.thread.id, turn.start, turn.stop) == ids
        # every split of the stream gives the same ids
        for cut in range(0, stop, 3):
            halves = await asyncio.gather(
                log.tokens(life.thread.id, 0, cut), log.tokens(life.thread.id, cut, stop)
            )
            assert [*halves[0], *halves[1]] == stream
        told = await log.messages_between(life.thread.id, 1, stop) if stop else []
        lives.append((opened.start, stream, [seen(turn) for turn in opened.turns], told))
    episodes = [
        episode.model_dump(exclude={"thread_id", "closed_at"})
        for episode in await log.lineage("ana", MAIN)
    ]
    for name in THREADS:
        mine = [episode for episode in episodes if episode["thread"] == name]
        borders = [0, *(episode["stop"] for episode in mine)]
        assert borders[:-1] == [episode["start"] for episode in mine]
    entries = [
        entry.model_dump(exclude={"turn", "created_at"}) async for entry in log.entries("ana")
    ]
    summary = (await log.summary("ana")).model_dump(exclude={"last_turn_at"})
    tried = [report.model_dump(exclude={"recorded_at"}) for report in await log.sleeps("ana", MAIN)]
    return lives, episodes, entries, summary, tried, await log.head("ana", MAIN)


async def play(log: EpisodeLog, script: list[tuple[Any, ...]]) -> list[object]:
    main = await Life.born(log)
    player = Player({"main": main, "side": await main.on("side")})
    results = [await player.play(step) for step in script]
    return [*results, await told(player)]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def log(runner: asyncio.Runner, tmp_path: Path) -> Iterator[EpisodeLog]:
    """Return one log for all examples, each of which deletes the agent of the one before."""
    log = runner.run(open_log(f"sqlite:///{tmp_path / 'agents.db'}"))
    yield log
    runner.run(log.aclose())


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(script=st.lists(steps, min_size=4, max_size=24))
def test_any_life_is_told_alike(
    runner: asyncio.Runner, log: EpisodeLog, script: list[tuple[Any, ...]]
) -> None:
    async def both() -> tuple[list[object], list[object]]:
        with suppress(AgentNotFound):
            await log.delete_agent("ana", now=BIRTH)
        return await play(log, script), await play(MemoryEpisodeLog(), script)

    ours, twin = runner.run(both())
    for step, mine, other in zip([*script, "in the end"], ours, twin, strict=True):
        assert mine == other, step
