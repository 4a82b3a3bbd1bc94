"""The benchmark from beginning to end: judge, write the record, draw."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from sleepmem.bench import Report, Row
from sleepmem.bench.figures import check_drawable
from sleepmem.bench.memory.figures import draw_memory
from sleepmem.bench.memory.suite import memory
from sleepmem.bench.memory.tables import cells, table
from sleepmem.model.checkpoint import checkpoint_folder, fingerprint
from sleepmem.train.runs import environment

RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Request:
    """What to do.

    Attributes:
        model: name or folder of the checkpoint.
        out: folder of record and figures.
        seed: of the lives.
        n_lives, without: see `memory`.
    """

    model: str
    out: Path
    seed: int
    n_lives: int
    without: tuple[str, ...]
    figures: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out.

    Attributes:
        table: shares by kind, age and load, for people; the first line is the header.
        claims: rows with goals.
        others: rows beside both.
        record: all of it, as it was written to disk.
        files: the record and the figures.
    """

    table: list[list[str]]
    claims: list[Row]
    others: list[Row]
    record: dict[str, Any]
    files: list[Path]


def run_memory(request: Request, report: Report) -> Outcome:
    """Judge a checkpoint, write the record, and draw.

    Raises:
        ConfigError: an opponent is missing, or figures cannot be drawn, which is found out first.
        CheckpointNotFound, CheckpointInvalid: see `memory`.
    """
    if request.figures:
        check_drawable()
    request.out.mkdir(parents=True, exist_ok=True)  # fails before the work, not after
    torch.set_num_threads(1)
    started = monotonic()
    rows, said = memory(
        request.model, request.seed, report, request.n_lives, without=request.without
    )
    written = request.out / RECORD
    record = {
        "model": request.model,
        "fingerprint": fingerprint(checkpoint_folder(request.model)),
        "seed": request.seed,
        "n_lives": request.n_lives,
        "without": [*request.without],
        "seconds": round(monotonic() - started),
        "environment": environment(written),
        "rows": [row.document() for row in rows],
        "handwritten": [asdict(answer) for answer in said],
    }
    written.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    drawn = draw_memory(request.out, rows) if request.figures else []
    shown = {row.name for by_who in cells(rows).values() for row in by_who.values()}
    claims = [row for row in rows if row.goal is not None]
    others = [row for row in rows if row.goal is None and row.name not in shown]
    return Outcome(table(rows), claims, others, record, [written, *drawn])
