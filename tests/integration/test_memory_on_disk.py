"""The runtime over the real stores: SQLite, snapshot files, restarts; the model is the fake."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sleepmem import SleepMemory
from sleepmem.errors import (
    CheckpointNotFound,
    LeaseLost,
    NotOpen,
    SleepmemError,
    SnapshotCorrupt,
    SnapshotNotFound,
)
from sleepmem.policy import TokenBudget
from sleepmem.testing import FakeSleepLM
from sleepmem.types import Message, Outcome, Reply, Role


def memory_at(folder: Path, **options: object) -> SleepMemory:
    options = {"model": FakeSleepLM(window=200), "max_tokens": 10, "min_tokens": 4} | options
    return SleepMemory(f"sqlite:///{folder / 'agents.db'}", **options)  # type: ignore[arg-type]


async def test_agent_sleeps_restarts_and_still_knows(tmp_path: Path) -> None:
    async with memory_at(tmp_path) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex and more", request_id="r1")
        report = await ana.sleep()
        assert report.outcome is Outcome.SLEPT
        assert report.snapshot is not None
        await ana.say("car=red")
    [file] = (tmp_path / "agents.db.snapshots").rglob(report.snapshot.digest)
    assert file.stat().st_size == report.snapshot.n_bytes
    async with memory_at(tmp_path) as memory:
        assert [(a.agent, a.n_turns, a.n_episodes) for a in await memory.agents()] == [
            ("ana", 2, 1)
        ]
        ana = await memory.agent("ana", create=False)
        assert (await ana.say("pet?")).text == "rex"
        assert (await ana.say("car?")).text == "red"
        again = await ana.say("pet=rex and more", request_id="r1")
        assert (await ana.stats()).n_turns == 3
        assert again.text
        entries = [entry async for entry in memory.log("ana", search="PET")]
        assert [entry.content for entry in entries] == ["pet=rex and more", "pet?"]
        async for replayed in memory.replay("ana", verify=True):
            assert replayed.verified


async def test_long_message_is_slept_in_pieces_on_disk(tmp_path: Path) -> None:
    async with memory_at(tmp_path) as memory:
        ana = await memory.agent("ana")
        await ana.say("before")
        stream = ana.stream("pet=rex " + "word " * 120, request_id="long")
        await anext(stream)
        await stream.aclose()
    async with memory_at(tmp_path) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex " + "word " * 120, request_id="long")
        assert (await ana.say("pet?")).text == "rex"
        life = [replayed.episode async for replayed in memory.replay("ana", verify=True)]
        assert len(life) > 3
        assert [e.start for e in life] == [0, *(e.stop for e in life[:-1])]
        # cut short in the middle of a message, then left for another one
        stream = ana.stream("fish=joe " + "word " * 120)
        await anext(stream)
        await stream.aclose()
        assert (await ana.say("fish?")).text == "joe", "what was slept of it was lived"
        assert (await ana.sleep(force=True)).outcome is Outcome.SLEPT
        async for replayed in memory.replay("ana", verify=True):
            assert replayed.verified


async def test_whole_book_is_observed_on_disk(tmp_path: Path) -> None:
    book = [Message(role=Role.USER, content=f"k{n}=v{n} " + "x" * 40) for n in range(20)]
    async with memory_at(tmp_path, policy=TokenBudget(0.75)) as memory:
        ana = await memory.agent("ana")
        reports = await ana.observe(book)
        assert {report.outcome for report in reports} == {Outcome.SLEPT}
        assert (await ana.say("k7?")).text == "v7"


async def test_threads_and_claims_on_disk(tmp_path: Path) -> None:
    async with memory_at(tmp_path) as one, memory_at(tmp_path) as two:
        ours = await one.agent("ana")
        await ours.thread("work", system="be brief").say("pet=rex")
        await ours.thread("work").sleep()
        theirs = await two.agent("ana", take_over=True)
        with pytest.raises(LeaseLost):
            await ours.say("pet?")
        assert (await theirs.say("pet?")).text == "rex"
        again = await one.agent("ana", take_over=True)
        assert (await again.say("pet?")).text == "rex"


@pytest.mark.parametrize("n_spins", [1, 40, 160])
async def test_close_while_turns_run_loses_nothing(tmp_path: Path, n_spins: int) -> None:
    memory = await memory_at(tmp_path, policy=TokenBudget(20)).open()
    threads = [(await memory.agent("ana")).thread(f"t{n}") for n in range(3)]
    turns = [
        asyncio.create_task(thread.say(f"k{n}=v{n} and more", request_id=f"r{n}"))
        for n, thread in enumerate(threads)
    ]
    for _ in range(n_spins):
        await asyncio.sleep(0)
    await memory.aclose()
    ended = await asyncio.gather(*turns, return_exceptions=True)
    assert all(isinstance(end, Reply | NotOpen) for end in ended)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with memory:
        ana = await memory.agent("ana")
        for n, end in enumerate(ended):
            reply = await ana.thread(f"t{n}").say(f"k{n}=v{n} and more", request_id=f"r{n}")
            assert not isinstance(end, Reply) or end.text == reply.text
        told = [entry.content async for entry in memory.log("ana", search="=")]
        assert sorted(told) == [f"k{n}=v{n} and more" for n in range(3)]
        assert [r.verified async for r in memory.replay("ana", verify=True)].count(False) == 0


async def test_corrupt_and_missing_snapshots_are_named(tmp_path: Path) -> None:
    async with memory_at(tmp_path) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        report = await ana.sleep()
    assert report.snapshot is not None
    [file] = (tmp_path / "agents.db.snapshots").rglob(report.snapshot.digest)
    data = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(data[:40] + b"?" + data[41:])
    async with memory_at(tmp_path) as memory:
        ana = await memory.agent("ana")
        with pytest.raises(SnapshotCorrupt, match=report.snapshot.digest):
            await ana.say("pet?")
        file.unlink()
        with pytest.raises(SnapshotNotFound, match=report.snapshot.digest):
            await ana.say("pet?")
        file.write_bytes(data)
        assert (await ana.say("pet?")).text == "rex"


async def test_disk_that_fails_keeps_the_episode_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "input/output error")

    async with memory_at(tmp_path) as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            report = await ana.sleep()
        assert report.outcome is Outcome.FAILED
        assert (await ana.say("pet?")).text == "rex"
        assert (await ana.sleep()).outcome is Outcome.SLEPT
        assert (await ana.say("pet?")).text == "rex"


async def test_snapshots_go_where_they_are_told(tmp_path: Path) -> None:
    async with memory_at(tmp_path, data=tmp_path / "elsewhere") as memory:
        ana = await memory.agent("ana")
        await ana.say("pet=rex")
        assert (await ana.sleep()).outcome is Outcome.SLEPT
    assert list((tmp_path / "elsewhere").rglob("*"))
    assert not (tmp_path / "agents.db.snapshots").exists()


async def test_settings_name_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPMEM_DB", str(tmp_path / "named.db"))
    async with SleepMemory(model=FakeSleepLM()) as memory:
        await (await memory.agent("ana")).say("hello")
    assert (tmp_path / "named.db").exists()


async def test_unknown_checkpoint_is_told_when_the_model_is_needed(tmp_path: Path) -> None:
    async with memory_at(tmp_path, model="no/such/model") as memory:
        assert await memory.agents() == []
        with pytest.raises(CheckpointNotFound):
            await memory.agent("ana")
        with pytest.raises(CheckpointNotFound):
            _ = memory.lm
        with pytest.raises(SleepmemError):
            [replayed async for replayed in memory.replay("ana", verify=True)]
    with pytest.raises(SleepmemError):
        await memory_at(tmp_path / "no folder here").open()
