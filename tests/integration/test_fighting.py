"""Two processes and one agent: one writes at a time, whoever is killed, stopped or robbed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from fighting_lives import fight, hold, memory_at, stall

from sleepmem.errors import AgentHeld
from sleepmem.store import open_log
from sleepmem.types import MAIN, TurnState

START_S = 60.0  # seconds; a process that needs longer to tell something has hung
Context = multiprocessing.context.ForkServerContext


@pytest.fixture(scope="module")
def nursery() -> Context:
    """Return where processes are born quickly, with everything imported and nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fighting_lives"])
    return context


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'agents.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    await (await open_log(url)).aclose()
    return url


@contextmanager
def process(nursery: Context, life: Any, *args: object) -> Iterator[tuple[Any, Connection]]:
    """Run a life in a process of its own and give both ends of talk; it ends with the test."""
    here, there = nursery.Pipe()
    child = nursery.Process(target=life, args=(*args, there))
    child.start()
    there.close()
    try:
        yield child, here
    finally:
        child.kill()
        child.join(START_S)
        child.close()
        here.close()


def told(here: Connection) -> Any:
    assert here.poll(START_S), "it hangs"
    return here.recv()


async def assert_well(url: str, acknowledged: dict[str, str]) -> None:
    """Assert that all that was acknowledged is in the log once, and the head follows from it."""
    async with memory_at(url) as memory:
        ana = await memory.agent("ana", create=False, wait_s=0)
        for request_id, text in acknowledged.items():
            again = await ana.say("never said", request_id=request_id)
            assert again.text == text
        life = [replayed async for replayed in memory.replay("ana", verify=True)]
        assert all(replayed.verified for replayed in life)
    log = await open_log(url)
    [thread] = await log.threads("ana")
    turns = [await log.turn_of_request("ana", request_id) for request_id in acknowledged]
    lived = sorted((turn for turn in turns if turn), key=lambda turn: turn.start)
    assert len(lived) == len(acknowledged)
    assert all(before.stop <= after.start for before, after in pairwise(lived))
    opened = await log.open_episode(thread)
    assert await log.tokens(thread.id, opened.start, opened.start + len(opened.token_ids)) == list(
        opened.token_ids
    )
    episodes = await log.lineage("ana", MAIN)
    edges = [0, *(episode.stop for episode in episodes)]
    assert [episode.start for episode in episodes] == edges[:-1]
    assert opened.start == edges[-1]
    assert all(after.parent == before.id for before, after in pairwise(episodes))
    await log.aclose()


async def test_two_processes_that_rob_each_other_lose_nothing(nursery: Context, url: str) -> None:
    n, names = 4, ("a", "b")
    with (
        process(nursery, fight, url, "a", n) as (_, a),
        process(nursery, fight, url, "b", n) as (
            _,
            b,
        ),
    ):
        for here in (a, b):
            assert told(here) == "ready"
        for here in (a, b):
            here.send("go")
        acknowledged = dict(told(here) for _ in range(n) for here in (a, b))
    assert acknowledged.keys() == {f"{name}{number}" for name in names for number in range(n)}
    await assert_well(url, acknowledged)
    async with memory_at(url) as memory:
        done = [e.content async for e in memory.log("ana", search="=") if e.state is TurnState.DONE]
        assert sorted(done) == sorted(f"{key}=yes and more" for key in acknowledged)
        assert [r.episode async for r in memory.replay("ana")], "they slept while they fought"


async def test_agent_of_a_killed_process_is_not_waited_for(nursery: Context, url: str) -> None:
    with process(nursery, hold, url) as (child, here):
        text = told(here)
        async with memory_at(url) as memory:
            with pytest.raises(AgentHeld, match=f":{child.pid}:"):
                await memory.agent("ana", wait_s=0)
            child.kill()
            child.join(START_S)
            ana = await memory.agent("ana", wait_s=0)
            assert (await ana.say("pet?")).text == "rex"
    await assert_well(url, {"r": text})


@pytest.mark.parametrize("point", ["token", "step of a sleep"])
async def test_stopped_process_that_goes_on_after_a_takeover_answers_nothing(
    nursery: Context, url: str, point: str
) -> None:
    with process(nursery, stall, url, point) as (child, here):
        assert told(here) == "stopping"
        async with memory_at(url) as memory:
            with pytest.raises(AgentHeld):  # it is stopped, not dead
                await memory.agent("ana", wait_s=0)
            ana = await memory.agent("ana", take_over=True)
            reply = await ana.say("car=red", request_id="r")
            await ana.sleep(force=True)
            os.kill(child.pid, signal.SIGCONT)
            assert [told(here) for _ in range(4)] == ["LeaseLost"] * 4
            assert (await ana.say("pet?")).text == "rex"
            assert (await ana.say("car?")).text == "red"
            done = [e.content async for e in memory.log("ana") if e.state is TurnState.DONE]
            assert done == ["pet=rex and more", "car=red", reply.text, "pet?", "rex", "car?", "red"]
    await assert_well(url, {"r": reply.text})
