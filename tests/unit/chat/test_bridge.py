from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from sleepmem.chat.bridge import Bridge, private_loop
from sleepmem.errors import MisuseError

WAIT_S = 10  # far longer than anything here takes


@pytest.fixture
def bridge() -> Bridge:
    return Bridge(private_loop())


async def thread_name() -> str:
    return threading.current_thread().name


class Counting:
    """A stream of numbers that knows whether it was closed."""

    def __init__(self, stop: int, *, then: Exception | None = None) -> None:
        self.stop, self.then, self.closed = stop, then, threading.Event()

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.stop):
                await asyncio.sleep(0)
                yield number
            if self.then:
                raise self.then
            if self.stop > 10:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


def test_private_loop_is_one() -> None:
    assert private_loop() is private_loop()


def test_coroutine_runs_on_the_loop(bridge: Bridge) -> None:
    assert bridge.run(thread_name()) == "sleepmem"


async def test_coroutine_runs_on_the_loop_for_another_loop(bridge: Bridge) -> None:
    assert await bridge.arun(thread_name()) == "sleepmem"


async def test_coroutine_of_the_same_loop_runs_in_place() -> None:
    here = Bridge(asyncio.get_running_loop())
    assert await here.arun(thread_name()) == threading.current_thread().name


async def test_synchronous_call_on_the_loop_itself_is_refused() -> None:
    here = Bridge(asyncio.get_running_loop())
    with pytest.raises(MisuseError, match="wait for itself"):
        here.run(thread_name())
    with pytest.raises(MisuseError, match="wait for itself"):
        next(here.iterate(Counting(1).numbers()))


async def test_cancelled_caller_cancels_what_it_waited_for(bridge: Bridge) -> None:
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(bridge.arun(forever()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, WAIT_S)


def test_stream_is_whole(bridge: Bridge) -> None:
    source = Counting(5)
    assert list(bridge.iterate(source.numbers())) == [0, 1, 2, 3, 4]
    assert source.closed.is_set()


def test_stream_raises_what_its_source_raises(bridge: Bridge) -> None:
    numbers = bridge.iterate(Counting(2, then=KeyError("x")).numbers())
    assert [next(numbers), next(numbers)] == [0, 1]
    with pytest.raises(KeyError):
        next(numbers)


def test_closed_stream_closes_its_source(bridge: Bridge) -> None:
    source = Counting(20)
    numbers = bridge.iterate(source.numbers())
    assert next(numbers) == 0
    numbers.close()  # type: ignore[attr-defined]
    assert source.closed.wait(WAIT_S)


@pytest.mark.parametrize("is_here", [True, False])
async def test_async_stream_is_whole(bridge: Bridge, is_here: bool) -> None:
    source = Counting(5)
    here = Bridge(asyncio.get_running_loop()) if is_here else bridge
    assert [n async for n in here.aiterate(source.numbers())] == [0, 1, 2, 3, 4]
    assert source.closed.is_set()


@pytest.mark.parametrize("is_here", [True, False])
async def test_async_stream_raises_what_its_source_raises(bridge: Bridge, is_here: bool) -> None:
    here = Bridge(asyncio.get_running_loop()) if is_here else bridge
    numbers = here.aiterate(Counting(1, then=KeyError("x")).numbers())
    assert await anext(numbers) == 0
    with pytest.raises(KeyError):
        await anext(numbers)


@pytest.mark.parametrize("is_here", [True, False])
async def test_closed_async_stream_closes_its_source(bridge: Bridge, is_here: bool) -> None:
    source = Counting(20)
    here = Bridge(asyncio.get_running_loop()) if is_here else bridge
    numbers = here.aiterate(source.numbers())
    assert await anext(numbers) == 0
    await numbers.aclose()
    assert await asyncio.to_thread(source.closed.wait, WAIT_S)


def test_callers_from_several_loops_share_it(bridge: Bridge) -> None:
    async def collect(numbers: AsyncIterator[int]) -> list[int]:
        return [number async for number in numbers]

    for _ in range(3):
        assert asyncio.run(collect(bridge.aiterate(Counting(3).numbers()))) == [0, 1, 2]


@pytest.mark.parametrize("is_here", [True, False])
def test_loop_that_ends_within_a_stream_does_not_complain(bridge: Bridge, is_here: bool) -> None:
    # a generator that waits for the close of an inner one fails: the loop closes both at once
    complaints: list[str] = []

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        numbers = (Bridge(loop) if is_here else bridge).aiterate(Counting(20).numbers())
        assert await anext(numbers) == 0
        kept.append(numbers)

    kept: list[AsyncGenerator[int, None]] = []
    asyncio.run(leave())
    assert complaints == []
