"""Continuous batching: who speaks at the same time shares a call, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from home import Home, until

from sleepmem.errors import ConfigError, NotOpen
from sleepmem.runtime.engine import Engine
from sleepmem.testing import FakeSleepLM
from sleepmem.testing.fake_model import FakeWakeState
from sleepmem.types import Sampling

GREEDY = Sampling()


class Counted(FakeSleepLM):
    """Notes how many states each call had."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def next(self, states: Sequence[FakeWakeState], sampling: Sequence[Sampling]) -> list[int]:
        self.calls.append(len(states))
        return super().next(states, sampling)


def told(lm: FakeSleepLM, n_tokens: int) -> FakeWakeState:
    state = lm.wake(lm.blank())
    lm.read(state, [65] * n_tokens)
    return state


async def spoken(engine: Engine, lm: FakeSleepLM, state: FakeWakeState, n: int) -> list[int]:
    return [await engine.decoder.next(lm, state, GREEDY) for _ in range(n)]


async def test_who_speaks_at_the_same_time_shares_calls() -> None:
    engine, lm = Engine(), Counted()
    states = [told(lm, n + 1) for n in range(9)]
    alone = [lm.copy(state) for state in states]
    found = await asyncio.gather(*(spoken(engine, lm, state, 5) for state in states))
    assert lm.calls == [9] * 5
    assert found == [[lm.next([state], [GREEDY])[0] for _ in range(5)] for state in alone]
    await engine.aclose()


async def test_one_alone_does_not_wait_for_company() -> None:
    engine, lm = Engine(), Counted()
    await spoken(engine, lm, told(lm, 3), 4)
    assert lm.calls == [1] * 4
    await engine.aclose()


async def test_a_latecomer_joins_at_the_next_token() -> None:
    engine, lm = Engine(), Counted()
    go = threading.Event()
    blocked = asyncio.create_task(engine.run(go.wait, 10))
    first = asyncio.create_task(spoken(engine, lm, told(lm, 3), 3))
    await asyncio.sleep(0.01)  # its first call is on the way
    second = asyncio.create_task(spoken(engine, lm, told(lm, 4), 3))
    await asyncio.sleep(0.01)
    go.set()
    await asyncio.gather(blocked, first, second)
    assert lm.calls == [1, 2, 2, 1]
    await engine.aclose()


async def test_only_who_cannot_go_on_fails() -> None:
    engine, lm = Engine(), Counted()
    able, full = told(lm, 3), told(lm, lm.window)
    twin = lm.copy(able)
    found = await asyncio.gather(
        spoken(engine, lm, able, 2), spoken(engine, lm, full, 2), return_exceptions=True
    )
    assert isinstance(found[1], ConfigError)
    assert found[0] == [lm.next([twin], [GREEDY])[0] for _ in range(2)]
    await engine.aclose()


async def test_who_leaves_does_not_stop_the_others() -> None:
    engine, lm = Engine(), Counted()
    leaving = asyncio.create_task(spoken(engine, lm, told(lm, 2), 50))
    staying = asyncio.create_task(spoken(engine, lm, told(lm, 3), 50))
    await until(lambda: bool(lm.calls))
    leaving.cancel()
    assert len(await staying) == 50
    assert leaving.cancelled()
    await engine.aclose()


async def test_a_closed_engine_refuses() -> None:
    engine, lm = Engine(), Counted()
    state = told(lm, 2)
    await engine.aclose()
    with pytest.raises(NotOpen):
        await engine.decoder.next(lm, state, GREEDY)


async def test_agents_that_talk_at_once_are_answered_as_alone(home: Home) -> None:
    names = [f"agent{n}" for n in range(12)]
    async with home.memory() as memory:
        agents = [await memory.agent(name) for name in names]
        await asyncio.gather(
            *(agent.say(f"k={name}") for agent, name in zip(agents, names, strict=True))
        )
        replies = await asyncio.gather(*(agent.say("k?") for agent in agents))
    assert [reply.text for reply in replies] == names
