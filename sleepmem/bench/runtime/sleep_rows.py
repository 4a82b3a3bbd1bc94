"""What a sleep costs beside plain reading, and what it and a stream cost each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import Any, TypeVar

import torch

from sleepmem.bench import DEFAULT_PASSES, Report, Row
from sleepmem.bench.runtime.decode_rows import slept
from sleepmem.bench.runtime.measured import Setting, at_least, at_most, in_turns
from sleepmem.errors import SleepmemError
from sleepmem.model.checkpoint import checkpoint_folder, read_weights
from sleepmem.model.native import WakeState
from sleepmem.model.network import SleepForCausalLM
from sleepmem.model.sleep import sleep as whole_sleep
from sleepmem.policy import TaskBoundary
from sleepmem.runtime.agent import Agent
from sleepmem.runtime.awake import Residents
from sleepmem.runtime.clock import SystemClock
from sleepmem.runtime.engine import Engine
from sleepmem.runtime.idle import IdleWatch
from sleepmem.runtime.measure import MAX_EARLIER
from sleepmem.runtime.parts import Defaults, Lease, Parts
from sleepmem.store import SnapshotFiles, open_log
from sleepmem.types import MAIN, Message, Outcome, Role, Sampling

PASS, GAP, SLEEP = 0.95, 3, 4  # goals
SLEEPER = "sleeper"
WORDS = ("my", "dog", "is", "called", "Rex", "and", "lives", "with", "Ana", "in", "Lisbon")

T = TypeVar("T")


async def sleep_rows(setting: Setting, report: Report) -> list[Row]:
    """Return `sleep_pass_over_prefill`: tokens read per second, in a pass and without the head.

    Beside the passes of a model with loop layers just those layers are read through.
    """
    lm, ids = setting.lm, setting.ids(setting.lm.window)
    network, window = read_weights(checkpoint_folder(setting.model)).eval(), torch.tensor([ids])

    async def prefill() -> None:
        with torch.inference_mode():
            read_plainly(network, window, DEFAULT_PASSES)

    async def sleep() -> None:
        slept(lm, lm.blank(), ids, DEFAULT_PASSES)

    n_rounds = 2 * setting.size.n_sleeps
    times = await in_turns("sleeping and reading", report, n_rounds, [sleep, prefill])
    asleep, read = (DEFAULT_PASSES * len(ids) / median(samples) for samples in times)
    return [at_least("sleep_pass_over_prefill", asleep, read, "tokens/s", PASS)]


def read_plainly(network: SleepForCausalLM, window: torch.Tensor, passes: int) -> None:
    """Run the layers of that many passes over a whole window, as when it is read."""
    model, weights = network.model, network.model.blank()
    if model.loop_layers:
        whole_sleep(network, weights, window, passes)
        return
    for _ in range(passes):
        model(network.embed(window), model.window_start(weights))


async def beside_rows(setting: Setting, report: Report) -> list[Row]:
    """Return what a stream has of another agent's sleep over a full window, and the other way.

    A sleep is all of it: the passes, the measuring, publishing and the commit.
    """
    alone, beside = list[float](), list[float]()
    quiet_s, busy_s = list[float](), list[float]()
    async with _house(setting) as (sleeper, engine):
        stream = _Stream(setting, engine)
        for n in range(-MAX_EARLIER, setting.size.n_sleeps):
            report("a stream beside a sleep", max(0, n) / setting.size.n_sleeps)
            await _fill(setting, sleeper)
            slept_s = await _slept_s(sleeper)
            if n < 0:  # the first sleeps have fewer earlier ones to measure interference on
                continue
            quiet_s.append(slept_s)
            gaps, _ = await stream.during(asyncio.sleep(slept_s))
            alone += gaps
            await _fill(setting, sleeper)
            gaps, slept_s = await stream.during(_slept_s(sleeper))
            beside += gaps
            busy_s.append(slept_s)
    p99s = [1000 * quantiles(gaps, n=100, method="inclusive")[-1] for gaps in (beside, alone)]
    times = [1000 * median(times) for times in (busy_s, quiet_s)]
    return [
        at_most("decode_p99_gap_during_sleep", p99s[0], p99s[1], "ms", GAP),
        at_most("sleep_time_beside_stream", times[0], times[1], "ms", SLEEP),
    ]


class _Stream:
    """Somebody who speaks without an end, by way of the engine."""

    def __init__(self, setting: Setting, engine: Engine) -> None:
        self._lm, self._engine = setting.lm, engine
        self._start = self._lm.wake(self._lm.blank())
        self._lm.read(self._start, setting.ids(self._lm.window // 4))

    async def during(self, work: Coroutine[Any, Any, T]) -> tuple[list[float], T]:
        """Return the seconds from token to token while something goes on, and what it returned.

        It begins after the first token, so that none of it is hidden behind what is no gap. A
        window that is full is followed by the next without a pause.
        """
        gaps: list[float] = []
        state = await self._spoken(None)
        task, last_s = asyncio.create_task(work), perf_counter()
        while not task.done():
            state = await self._spoken(state)
            gaps.append(perf_counter() - last_s)
            last_s += gaps[-1]
        return gaps, await task

    async def _spoken(self, state: WakeState | None) -> WakeState:
        """Return the state after one more token, in a new window if there is none or it is full."""
        if state is None or state.n_tokens == self._lm.window:
            state = self._lm.copy(self._start)
        await self._engine.decoder.next(self._lm, state, Sampling())
        return state


@asynccontextmanager
async def _house(setting: Setting) -> AsyncIterator[tuple[Agent, Engine]]:
    """Give an agent that sleeps when it is told to, and the engine that it lives on."""
    lm, clock, database = setting.lm, SystemClock(), setting.folder / "sleeper.db"
    async with AsyncExitStack() as closing:
        engine = await closing.enter_async_context(aclosing(Engine()))
        log = await closing.enter_async_context(aclosing(await open_log(f"sqlite:///{database}")))
        parts = Parts(
            lm=lm,
            engine=engine,
            log=log,
            snapshots=SnapshotFiles(setting.folder),
            clock=clock,
            defaults=Defaults(policy=TaskBoundary()),
            residents=Residents(1),
            idle=await closing.enter_async_context(aclosing(IdleWatch(clock))),
        )
        epoch = await log.claim(
            SLEEPER, fingerprint=lm.fingerprint, holder="bench", create=True, now=clock.now()
        )
        yield Agent(parts, Lease(SLEEPER, epoch), MAIN), engine


async def _fill(setting: Setting, sleeper: Agent) -> None:
    """Let an agent live through a window, as full as words make it."""
    rng, lm = Random(setting.seed), setting.lm
    n_left = lm.window
    messages: list[Message] = []
    while True:
        words = " ".join(rng.choice(WORDS) for _ in range(12))
        messages.append(Message(role=Role.USER, content=words))
        n_left -= len(lm.encode(messages[-1]))
        if n_left < 0:
            break
    await sleeper.observe(messages[:-1])


async def _slept_s(sleeper: Agent) -> float:
    began_s = perf_counter()
    report = await sleeper.sleep()
    if report.outcome is not Outcome.SLEPT:
        raise SleepmemError(f"a sleep of the benchmark ended otherwise: {report.outcome}")
    return perf_counter() - began_s
