"""A life that SIGKILL ends; runs in a process of its own, started by `test_killed`."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sleepmem import SleepMemory, TokenBudget
from sleepmem.protocols import SleepStep
from sleepmem.store import SnapshotFiles, open_log
from sleepmem.testing import FakeSleepLM

WINDOW = 200
OPTIONS: dict[str, Any] = {"max_tokens": 8, "min_tokens": 4, "passes": 1}
TOLD = {
    "r1": "pet=rex and more",
    "r2": "car=red " + "x" * 60,  # the policy sleeps after it
    "r3": "fish=joe " + "y" * 300,  # longer than the window
    "r4": "tree=oak and more",
}


class Death:
    """Kills this process when the point of that name is passed for the n-th time."""

    def __init__(self, point: str, n: int) -> None:
        self._point, self._n_left = point, n

    def passes(self, point: str) -> None:
        if point == self._point:
            self._n_left -= 1
            if not self._n_left:
                os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A store whose calls are points: `before stage`, `after stage` ..."""

    def __init__(self, inner: Any, death: Death) -> None:
        self._inner, self._death = inner, death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._death.passes(f"before {name}")
            value = await found(*args, **kwargs)
            self._death.passes(f"after {name}")
            return value

        return call


class MortalLM(FakeSleepLM):
    """The fake model; a token and a step of a sleep are points."""

    def __init__(self, death: Death) -> None:
        super().__init__(WINDOW)
        self._death = death

    def next(self, *args: Any) -> list[int]:
        self._death.passes("token")
        return super().next(*args)

    def sleep(self, weights: Any, token_ids: Sequence[int], passes: int) -> Iterator[SleepStep]:
        for step in super().sleep(weights, token_ids, passes):
            self._death.passes("step of a sleep")
            yield step


def live(folder: Path, point: str, n: int, acknowledged: Connection) -> None:
    """Tell an agent everything, each reply acknowledged as soon as it is there, and sleep."""
    death = Death(point, n)
    for name in ("fsync", "rename"):
        setattr(os, name, mortal(getattr(os, name), name, death))
    asyncio.run(_live(folder, death, acknowledged))


def mortal(function: Any, name: str, death: Death) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        death.passes(f"before {name}")
        function(*args, **options)
        death.passes(f"after {name}")

    return call


async def _live(folder: Path, death: Death, acknowledged: Connection) -> None:
    log = await open_log(f"sqlite:///{folder / 'agents.db'}")
    async with SleepMemory.of(
        lm=MortalLM(death),
        log=Mortal(log, death),
        snapshots=Mortal(SnapshotFiles(folder / "agents.db.snapshots"), death),
        policy=TokenBudget(60),
        **OPTIONS,
    ) as memory:
        ana = await memory.agent("ana")
        for request_id, text in TOLD.items():
            reply = await ana.say(text, request_id=request_id)
            acknowledged.send((request_id, reply.text))
        report = await ana.sleep(force=True)
        acknowledged.send(("slept", report.snapshot.digest if report.snapshot else ""))
    await log.aclose()
