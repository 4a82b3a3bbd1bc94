"""The power goes at any moment of puts, sleeps and collections: heads are valid, nothing is lost.

A process that is killed leaves its writes to the kernel, so killing finds no missing flush; this
does, and is shown to find each one that is taken away.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from crash_states import RecordingDisk, State, Step, states_after_power_loss

from sleepmem import SleepMemory
from sleepmem.errors import SleepmemError
from sleepmem.store import MemoryEpisodeLog, SnapshotFiles
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Outcome, TurnState

OPTIONS: dict[str, Any] = {"max_tokens": 4, "min_tokens": 4, "passes": 1}
NOTHING: dict[str, Any] = {"keep_last": 0, "keep_within": None}
WRITES = {"claim", "thread", "stage", "finish", "commit_sleep", "record_attempt", "drop"}
WRITES |= {"restore", "pin", "delete_agent"}


class CommittedLog:
    """A log in memory, each of whose writes is one commit, kept as it then was."""

    def __init__(self, disk: RecordingDisk) -> None:
        self._inner, self._disk = MemoryEpisodeLog(), disk

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in WRITES:
            return found

        async def call(*args: Any, **options: Any) -> Any:
            value = await found(*args, **options)
            self._disk.tell("commit", deepcopy(self._inner))
            return value

        return call


def memory_on(log: Any, data: Path, disk: Any) -> SleepMemory:
    snapshots = SnapshotFiles(data, disk=disk)
    return SleepMemory.of(lm=FakeSleepLM(200), log=log, snapshots=snapshots, **OPTIONS)


async def live(memory: SleepMemory, disk: RecordingDisk, agent: str, *texts: str) -> None:
    """Say and sleep until it succeeds, and acknowledge."""
    ana = await memory.agent(agent)
    for text in texts:
        reply = await ana.say(text, request_id=text)
        disk.tell("reply", (agent, text, reply.text))
        while (report := await ana.sleep()).outcome is Outcome.FAILED:
            pass
        assert report.snapshot
        disk.tell("slept", (agent, report.episode, report.snapshot.digest))


async def whole_life(root: Path) -> list[Step]:
    """Return the steps of puts into new and known folders, a collection and a deletion."""
    disk = RecordingDisk(root)
    async with memory_on(CommittedLog(disk), root / "data", disk) as memory:
        await live(memory, disk, "ana", "pet=rex", "car=red", "fish=joe")
        disk.make_folder(root / "data" / "bob")  # by another process, which has not flushed it
        await live(memory, disk, "bob", "tree=oak")
        disk.close(disk.create(root / "data" / "ana" / f".{'0' * 16}.tmp"))
        await memory.gc(
            "ana", **NOTHING, on_removed=lambda removed: disk.tell("removed", removed.digest)
        )
        disk.tell("collected", "ana")
        disk.tell("to be deleted", "bob")
        await memory.delete_agent("bob")
        disk.tell("deleted", "bob")
    return disk.steps


@contextmanager
def laid_out(state: State, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    state.lay_out(folder)
    yield folder / "data"
    shutil.rmtree(folder)


async def fault(
    states: Iterable[State], tmp_path: Path, known: Container[object] = frozenset()
) -> str | None:
    """Return what is first found broken in the states that are not known to be well."""
    for n, state in enumerate(states):
        if state.key not in known:
            with laid_out(state, tmp_path / f"after-{n}") as data:
                try:
                    await assert_well(state, data)
                except (AssertionError, SleepmemError) as error:
                    return f"{type(error).__name__}: {error}"
    return None


async def assert_well(state: State, data: Path) -> None:
    told = state.told
    log = deepcopy(told["commit"][-1]) if "commit" in told else MemoryEpisodeLog()
    for digest in told.get("removed", []):
        assert digest is None or not (data / "ana" / digest).exists(), "it came back"
    if "collected" in told:
        assert [path.name for path in (data / "ana").iterdir()] == [told["slept"][2][2]]
    if "deleted" in told:
        assert not (data / "bob").exists() or not list((data / "bob").iterdir())
    async with memory_on(log, data, RecordingDisk(data.parent)) as memory:
        born = {summary.agent for summary in await memory.agents()}
        for agent in born:
            slept = [which[1:] for which in told.get("slept", []) if which[0] == agent]
            lineage = [r.episode async for r in memory.replay(agent)]
            known = [(episode.id, episode.snapshot.digest) for episode in lineage]
            assert known[: len(slept)] == slept, "a sleep is lost"
            replies = {e.content async for e in memory.log(agent) if e.state is TurnState.DONE}
            for who, text, reply in told.get("reply", []):
                assert who != agent or {text, reply} <= replies, "a turn is lost"
            # the head wakes, or this raises
            await (await memory.agent(agent, take_over=True)).say("pet?")
            await memory.gc(agent, **NOTHING)
            kept = [episode.snapshot.digest for episode in lineage[-1:]]
            there = [path.name for path in (data / agent).glob("*")]
            assert there == kept, "leftovers were not collected"
            assert [r.verified async for r in memory.replay(agent, verify=True)] == [True] * len(
                lineage
            )
        assert {who for who, *_ in told.get("reply", [])} <= born | set(
            told.get("to be deleted", [])
        )


@pytest.fixture
async def steps(tmp_path: Path) -> list[Step]:
    (tmp_path / "before").mkdir()
    return await whole_life(tmp_path / "before")


async def test_every_state_is_well(steps: list[Step], tmp_path: Path) -> None:
    states = list(states_after_power_loss(steps))
    assert len(states) > 60
    assert await fault(states, tmp_path) is None


async def test_every_flush_that_is_taken_away_is_missed(steps: list[Step], tmp_path: Path) -> None:
    known = {state.key for state in states_after_power_loss(steps)}
    runs = [list(run) for _, run in groupby(range(len(steps)), key=lambda n: steps[n])]
    flushes = [run for run in runs if steps[run[0]].kind.startswith("flush")]
    assert len(flushes) > 12
    for first, *more in flushes:  # what a flush only repeats goes with it
        without = states_after_power_loss(steps[:first] + steps[first + 1 + len(more) :])
        assert await fault(without, tmp_path, known), f"nobody misses {steps[first]}"


async def test_commit_before_its_bytes_is_found(steps: list[Step], tmp_path: Path) -> None:
    known = {state.key for state in states_after_power_loss(steps)}
    creations = [n for n, step in enumerate(steps) if step.kind == "create"][:4]
    for n in creations:
        commit = next(i for i in range(n, len(steps)) if steps[i].kind == "commit")
        swapped = [*steps[:n], steps[commit], *steps[n:commit], *steps[commit + 1 :]]
        assert await fault(states_after_power_loss(swapped), tmp_path, known)


async def test_failed_flush_is_never_taken_for_one(tmp_path: Path) -> None:
    """The kernel drops what it could not write, and reports success to whoever flushes again."""
    n_failed = 0
    while True:
        root = tmp_path / str(n_failed)
        root.mkdir()
        left = n_failed

        def flush() -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(errno.EIO, "input/output error")

        disk = RecordingDisk(root, flush)
        async with memory_on(CommittedLog(disk), root / "data", disk) as memory:
            await live(memory, disk, "ana", "pet=rex")
        assert not await fault(states_after_power_loss(disk.steps), tmp_path)
        if left >= 0:
            break
        n_failed += 1
    assert n_failed == 5
