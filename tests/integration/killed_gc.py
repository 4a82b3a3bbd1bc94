"""A collection that SIGKILL ends; runs in a process of its own, started by `test_gc_killed`."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nursery import Death, Mortal
from watched_disk import WatchedDisk

from sleepmem import SleepMemory
from sleepmem.store import SnapshotFiles, SnapshotRows, SqlEpisodeLog, open_log
from sleepmem.testing import FakeSleepLM

WINDOW = 200
NOTHING: dict[str, Any] = {"keep_last": 0, "keep_within": None}
CHANGES = {"drop", "sweep", "unlink", "delete_agent"}


def is_change(point: str) -> bool:
    when, name = point.split()
    return when == "after" and name in CHANGES


def stores_at(
    folder: Path, log: SqlEpisodeLog, is_rows: bool, disk: WatchedDisk | None = None
) -> SnapshotFiles | SnapshotRows:
    return SnapshotRows(log) if is_rows else SnapshotFiles(folder / "snapshots", disk=disk)


def collect(folder: Path, is_rows: bool, at: int, counts: Any, there: Connection) -> None:
    """Collect all that may be collected."""
    asyncio.run(_on_memory(folder, is_rows, Death(at, counts, there), "gc", **NOTHING))


def delete(folder: Path, is_rows: bool, at: int, counts: Any, there: Connection) -> None:
    """Delete ana."""
    asyncio.run(_on_memory(folder, is_rows, Death(at, counts, there), "delete_agent", name="ana"))


async def _on_memory(
    folder: Path, is_rows: bool, death: Death, method: str, **options: Any
) -> None:
    log = await open_log(f"sqlite:///{folder / 'agents.db'}")
    snapshots = stores_at(folder, log, is_rows, WatchedDisk(death.passes))
    async with SleepMemory.of(
        lm=FakeSleepLM(WINDOW), log=Mortal(log, death), snapshots=Mortal(snapshots, death)
    ) as memory:
        await getattr(memory, method)(**options)
    await log.aclose()
