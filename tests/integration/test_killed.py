"""SIGKILL in the middle of turns and sleeps: nothing acknowledged is lost or read twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest
from killed_life import OPTIONS, TOLD, WINDOW, live

from sleepmem import SleepMemory
from sleepmem.store import open_log
from sleepmem.store.migrate import upgrade
from sleepmem.testing import FakeSleepLM
from sleepmem.types import MAIN, TurnState

POINTS = [
    ("after stage", 2),
    ("token", 3),
    ("before finish", 3),
    ("after finish", 2),
    ("step of a sleep", 3),
    ("before rename", 2),
    ("after rename", 1),
    ("before commit_sleep", 3),
    ("after commit_sleep", 2),
]
START_S = 60.0  # seconds; a process that needs longer to get there has hung


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "agents.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="module")
def nursery() -> multiprocessing.context.ForkServerContext:
    """Return where processes are born quickly, with everything imported and nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_life"])
    return context


def killed(
    nursery: multiprocessing.context.ForkServerContext, folder: Path, point: str, n: int
) -> dict[str, str]:
    """Let a process live until it is killed and return what it acknowledged.

    The points kill from within; "" kills from here, after the n-th acknowledgement.
    """
    here, there = nursery.Pipe(duplex=False)
    process = nursery.Process(target=live, args=(folder, point, n, there))
    process.start()
    there.close()
    acknowledged: dict[str, str] = {}
    try:
        while point or len(acknowledged) < n:
            assert here.poll(START_S), "it hangs"
            name, value = here.recv()
            acknowledged[name] = value
        process.kill()
    except EOFError:
        process.join(START_S)
        assert process.exitcode == -signal.SIGKILL, "it lived to the end"
    finally:
        process.kill()
        process.join(START_S)
        process.close()
        here.close()
    return acknowledged


async def assert_well(folder: Path, acknowledged: dict[str, str]) -> None:
    """Assert that a new process finds all that was acknowledged and lives each request once."""
    url, lm = f"sqlite:///{folder / 'agents.db'}", FakeSleepLM(WINDOW)
    async with SleepMemory(url, model=lm, **OPTIONS) as memory:
        digests = [replayed.episode.snapshot.digest async for replayed in memory.replay("ana")]
        assert "slept" not in acknowledged or acknowledged["slept"] == digests[-1]
        ana = await memory.agent("ana", create=False)
        for request_id, text in TOLD.items():
            reply = await ana.say(text, request_id=request_id)
            assert reply.text == acknowledged.get(request_id, reply.text)
        entries = [entry async for entry in memory.log("ana")]
        assert {entry.state for entry in entries} == {TurnState.DONE}
        assert [entry.content for entry in entries][::2] == list(TOLD.values())
        for question, expected in (("pet", "rex"), ("car", "red"), ("fish", "joe")):
            assert (await ana.say(f"{question}?")).text == expected
        assert [replayed.verified async for replayed in memory.replay("ana", verify=True)]
    log = await open_log(url)
    [thread] = await log.threads("ana")
    turns = [await log.turn_of_request("ana", request_id) for request_id in TOLD]
    ids = [i for turn in turns if turn for m in turn.messages for i in m.token_ids]
    assert await log.tokens(thread.id, 0, len(ids)) == ids, "the stream is what was said, once"
    edges = [(episode.start, episode.stop) for episode in await log.lineage("ana", MAIN)]
    assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
    await log.aclose()


@pytest.mark.parametrize(("point", "n"), POINTS)
async def test_killed_from_within(
    nursery: multiprocessing.context.ForkServerContext,
    migrated: Path,
    tmp_path: Path,
    point: str,
    n: int,
) -> None:
    shutil.copy(migrated, tmp_path / "agents.db")
    await assert_well(tmp_path, killed(nursery, tmp_path, point, n))


@pytest.mark.parametrize("n", [1, 3])
async def test_killed_from_outside_wherever_it_is(
    nursery: multiprocessing.context.ForkServerContext, migrated: Path, tmp_path: Path, n: int
) -> None:
    shutil.copy(migrated, tmp_path / "agents.db")
    await assert_well(tmp_path, killed(nursery, tmp_path, "", n))
