"""A collection that SIGKILL ends; runs in a process of its own, started by `test_gc_killed`."""

from __future__ import annotations

import asyncio
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from killed_life import Death, Mortal, mortal

from sleepmem import SleepMemory
from sleepmem.store import SnapshotFiles, SnapshotRows, SqlEpisodeLog, open_log
from sleepmem.testing import FakeSleepLM

WINDOW = 200
NOTHING: dict[str, Any] = {"keep_last": 0, "keep_within": None}


def stores_at(folder: Path, log: SqlEpisodeLog, is_rows: bool) -> SnapshotFiles | SnapshotRows:
    return SnapshotRows(log) if is_rows else SnapshotFiles(folder / "snapshots")


def collect(folder: Path, is_rows: bool, point: str, n: int, there: Connection) -> None:
    """Collect all that may be collected, and say so if nobody killed it."""
    death = Death(point, n)
    for name in ("unlink", "fsync"):
        setattr(os, name, mortal(getattr(os, name), name, death))
    asyncio.run(_collect(folder, is_rows, death))
    there.send(None)


async def _collect(folder: Path, is_rows: bool, death: Death) -> None:
    log = await open_log(f"sqlite:///{folder / 'agents.db'}")
    async with SleepMemory.of(
        lm=FakeSleepLM(WINDOW),
        log=Mortal(log, death),
        snapshots=Mortal(stores_at(folder, log, is_rows), death),
    ) as memory:
        await memory.gc(**NOTHING)
    await log.aclose()
