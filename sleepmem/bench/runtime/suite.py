"""All rows of the runtime in one run: what is measured, in which order, and the record of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import torch

from sleepmem.bench import Report, Row
from sleepmem.bench.runtime import store_rows
from sleepmem.bench.runtime.decode_rows import decode_rows, together_rows
from sleepmem.bench.runtime.measured import FULL, SMALL, Setting
from sleepmem.bench.runtime.resting_rows import resting_rows
from sleepmem.bench.runtime.sleep_rows import beside_rows, sleep_rows
from sleepmem.bench.runtime.snapshot_rows import snapshot_rows
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.train.runs import environment

RECORD = "runtime.json"
SIZES = {"full": FULL, "small": SMALL}
OF_THE_STORE = (
    store_rows.commits_per_message,
    store_rows.messages_per_commit,
    store_rows.durable_message_minus_flush,
    store_rows.batch64_minus_executemany,
    store_rows.fenced_minus_plain_append,
)


async def stored_rows(setting: Setting, report: Report) -> list[Row]:
    """Return what it costs to make a message durable."""
    return [await row(setting.folder, report, setting.size.n_rounds) for row in OF_THE_STORE]


SECTIONS: tuple[Callable[[Setting, Report], Awaitable[list[Row]]], ...] = (
    decode_rows,
    together_rows,
    sleep_rows,
    beside_rows,
    snapshot_rows,
    stored_rows,
    resting_rows,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What to do.

    Attributes:
        model: name or folder of the checkpoint.
        out: folder of the record; files are measured on its disk.
        size: `full`, or `small` to see that it works.
    """

    model: str
    out: Path
    seed: int
    size: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: the rows, and the record as it was written to `path`."""

    rows: list[Row]
    record: dict[str, Any]
    path: Path


def run_runtime(request: Request, report: Report) -> Outcome:
    """Measure everything on one torch thread and write the record.

    Raises:
        CheckpointNotFound, CheckpointInvalid: there is no such model.
    """
    request.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    lm, began_s = load_checkpoint(request.model), monotonic()
    with TemporaryDirectory(dir=request.out) as folder:
        size = SIZES[request.size]
        setting = Setting(lm, request.model, request.seed, Path(folder), size)
        rows = asyncio.run(_measured(setting, report))
    path = request.out / RECORD
    record = {
        "model": request.model,
        "fingerprint": lm.fingerprint,
        "seed": request.seed,
        "size": request.size,
        "seconds": round(monotonic() - began_s),
        "environment": environment(path),
        "rows": [row.document() for row in rows],
    }
    path.write_text(json.dumps(record, indent=1), "utf-8")
    return Outcome(rows, record, path)


async def _measured(setting: Setting, report: Report) -> list[Row]:
    return [row for section in SECTIONS for row in await section(setting, report)]
