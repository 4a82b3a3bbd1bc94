from __future__ import annotations

import asyncio
import threading

import pytest
from home import Home, until

from sleepmem.errors import NotOpen
from sleepmem.runtime.engine import Engine


def model_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("sleepmem-model")]


async def test_calls_run_in_one_thread_in_order() -> None:
    engine = Engine(depth=3)
    order: list[int] = []

    def call(n: int) -> int:
        order.append(n)
        return threading.get_ident()

    idents = await asyncio.gather(*(engine.run(call, n) for n in range(20)))
    assert order == list(range(20))
    assert len(set(idents)) == 1
    assert idents[0] != threading.get_ident()
    await engine.aclose()
    await engine.aclose()
    assert model_threads() == []


async def test_error_reaches_the_caller() -> None:
    engine = Engine()
    with pytest.raises(ZeroDivisionError):
        await engine.run(lambda: 1 // 0)
    assert await engine.run(int, "7") == 7
    await engine.aclose()


async def test_cancelled_caller_leaves_the_engine_working() -> None:
    engine = Engine(depth=2)
    began, go = threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        go.wait(10)

    running = asyncio.create_task(engine.run(block))
    waiting = [asyncio.create_task(engine.run(int)) for _ in range(4)]
    await until(began.is_set)
    for task in (running, *waiting):
        task.cancel()
    await asyncio.gather(running, *waiting, return_exceptions=True)
    assert all(task.cancelled() for task in (running, *waiting))
    go.set()
    assert await engine.run(int, "3") == 3
    await engine.aclose()
    assert model_threads() == []


async def test_closed_engine_is_not_open() -> None:
    engine = Engine()
    await engine.aclose()
    with pytest.raises(NotOpen):
        await engine.run(int)
    with pytest.raises(NotOpen):
        engine.run_blocking(int)


async def test_close_lets_the_running_call_end() -> None:
    engine = Engine()
    began, go, ended = threading.Event(), threading.Event(), []

    def block() -> None:
        began.set()
        go.wait(10)
        ended.append(True)

    running = asyncio.create_task(engine.run(block))
    await until(began.is_set)
    closing = asyncio.create_task(engine.aclose())
    await asyncio.sleep(0)
    go.set()
    await closing
    await running
    assert ended == [True]


async def test_fast_weights_are_restored_while_the_model_is_busy(home: Home) -> None:
    async with home.memory() as memory:
        ana = await memory.agent("ana")
        await ana.say("colour=blue")
        await ana.sleep()
        parts = await memory._open_house().parts()
        head, go = await home.log.head("ana", "main"), threading.Event()
        assert head.snapshot
        busy = asyncio.create_task(parts.engine.run(go.wait, 10))
        try:
            weights = await asyncio.wait_for(parts.weights_at("ana", head), 5)
        finally:
            go.set()
            await busy
        assert home.lm.dump(weights) == await home.snapshots.get("ana", head.snapshot)
