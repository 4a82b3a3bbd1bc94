"""Processes that want one agent; started by `test_fighting`, each on a memory of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from sleepmem import SleepMemory, TokenBudget
from sleepmem.errors import LeaseLost, SleepmemError
from sleepmem.protocols import SleepStep
from sleepmem.testing import FakeSleepLM

WINDOW = 200
OPTIONS: dict[str, Any] = {"max_tokens": 8, "min_tokens": 4, "passes": 1}


def memory_at(url: str, lm: FakeSleepLM | None = None) -> SleepMemory:
    return SleepMemory(url, model=lm or FakeSleepLM(WINDOW), policy=TokenBudget(60), **OPTIONS)


def fight(url: str, name: str, n: int, there: Connection) -> None:
    """Say `n` things, each acknowledged, and take the agent from whoever has it every other time.

    Each is said until it was answered, by a memory that is opened and closed for it.
    """
    there.send("ready")
    there.recv()
    for number in range(n):
        request_id, take_over = f"{name}{number}", number % 2 == 0
        while True:
            try:
                text = asyncio.run(_say(url, request_id, take_over))
                break
            except LeaseLost:
                take_over = False  # else two could go on taking it from each other
        there.send((request_id, text))


async def _say(url: str, request_id: str, take_over: bool) -> str:
    async with memory_at(url) as memory:
        ana = await memory.agent("ana", take_over=take_over, wait_s=60)
        return (await ana.say(f"{request_id}=yes and more", request_id=request_id)).text


def hold(url: str, there: Connection) -> None:
    """Say one thing and hold the agent until the end of this process."""

    async def live() -> None:
        async with memory_at(url) as memory:
            ana = await memory.agent("ana")
            there.send((await ana.say("pet=rex", request_id="r")).text)
            await asyncio.Event().wait()

    asyncio.run(live())


class StoppingLM(FakeSleepLM):
    """The fake model; stops its process at a token, or at a step of a sleep."""

    def __init__(self, point: str, there: Connection) -> None:
        super().__init__(WINDOW)
        self._point, self._there = point, there

    def next(self, *args: Any) -> list[int]:
        self._pass("token")
        return super().next(*args)

    def sleep(self, weights: Any, token_ids: Sequence[int], passes: int) -> Iterator[SleepStep]:
        for step in super().sleep(weights, token_ids, passes):
            self._pass("step of a sleep")
            yield step

    def _pass(self, point: str) -> None:
        if point == self._point:
            self._point = ""
            self._there.send("stopping")
            os.kill(os.getpid(), signal.SIGSTOP)


def stall(url: str, point: str, there: Connection) -> None:
    """Be stopped in the middle of something, and tell what came of it and of everything later."""
    asyncio.run(_stall(url, point, there))


async def _stall(url: str, point: str, there: Connection) -> None:
    async with memory_at(url, StoppingLM(point, there)) as memory:
        ana = await memory.agent("ana")
        await ana.observe("pet=rex and more")
        calls = {
            "token": lambda: ana.say("pet?", request_id="late"),
            "step of a sleep": lambda: ana.sleep(),
        }
        for call in (calls[point], *calls.values(), ana.stats):
            try:
                there.send(await call())
            except SleepmemError as error:
                there.send(type(error).__name__)
