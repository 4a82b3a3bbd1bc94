"""Lives that SIGKILL ends; each runs in a process of its own, started by `test_killed`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nursery import Death, Mortal
from watched_disk import WatchedDisk

from sleepmem import SleepMemory, TokenBudget
from sleepmem.protocols import SleepLM, SleepStep
from sleepmem.store import SnapshotFiles, SnapshotRows, open_log
from sleepmem.testing import FakeSleepLM

WINDOW = 200
OPTIONS: dict[str, Any] = {"max_tokens": 8, "min_tokens": 4, "passes": 1}
TOLD = {
    "r1": "pet=rex and more",
    "r2": "car=red " + "x" * 220,  # longer than the window; the policy sleeps on what is left
    "r3": "fish=joe and more",
}
NATIVELY_TOLD = {"r1": "My dog is called Rex.", "r2": "What is the dog called?"}
# what a killed process leaves changes at these alone; between them it reads, computes and flushes
WRITES = ("claim", "release", "thread", "stage", "finish", "commit_sleep", "record_attempt")
CHANGES = ("make_folder", "create", "write", "rename", "unlink")


def is_change(point: str) -> bool:
    when, name = point.split()
    return when == "after" and name in {*WRITES, *CHANGES}


def is_any(point: str) -> bool:
    return True


class MortalLM(FakeSleepLM):
    """The fake model; a token and a step of a sleep are points."""

    def __init__(self, death: Death) -> None:
        super().__init__(WINDOW)
        self._death = death

    def next(self, *args: Any) -> list[int]:
        self._death.passes("token", "before")
        return super().next(*args)

    def sleep(self, weights: Any, token_ids: Sequence[int], passes: int) -> Iterator[SleepStep]:
        for step in super().sleep(weights, token_ids, passes):
            self._death.passes("step", "before")
            yield step


def live(url: str, folder: Path | None, at: int, counts: Any, there: Connection) -> None:
    """Tell an agent everything, and acknowledge each reply as soon as it is there.

    Args:
        folder: of snapshot files; None is rows.
        at: which of the points that count kills.
    """
    death = Death(at, counts, there)
    asyncio.run(_live(MortalLM(death), TOLD, url, folder, death, there))


def live_natively(checkpoint: str, url: str, folder: Path, at: int, there: Connection) -> None:
    """Do the same with a checkpoint."""
    from sleepmem.model.checkpoint import load_checkpoint

    death = Death(at, is_change, there)
    asyncio.run(_live(load_checkpoint(checkpoint), NATIVELY_TOLD, url, folder, death, there))


async def _live(
    lm: SleepLM,
    told: dict[str, str],
    url: str,
    folder: Path | None,
    death: Death,
    there: Connection,
) -> None:
    log = await open_log(url)
    files = SnapshotFiles(folder, disk=WatchedDisk(death.passes)) if folder else None
    async with SleepMemory.of(
        lm=lm,
        log=Mortal(log, death),
        snapshots=Mortal(files or SnapshotRows(log), death),
        policy=TokenBudget(60),
        **OPTIONS,
    ) as memory:
        ana = await memory.agent("ana")
        for request_id, text in told.items():
            reply = await ana.say(text, request_id=request_id)
            there.send((request_id, reply.text))
        report = await ana.sleep(force=True)
        there.send(("slept", report.snapshot.digest if report.snapshot else ""))
    await log.aclose()
