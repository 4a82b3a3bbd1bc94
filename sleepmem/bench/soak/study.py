"""The soak as it is asked for: which phases, of how many messages, on which database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem.bench import Report, Row
from sleepmem.bench.soak.phases import KILLS, QUIET, Phase, soaked

N_MESSAGES = {KILLS: 20_000, QUIET: 50_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked.

    Attributes:
        phase: `kills`, `quiet`, or `both`.
        n_messages: of each phase; None is what the goals are set for.
        db: URL of the database; None makes one that is removed again.
        model: name or folder of a checkpoint; None is the fake model.
    """

    phase: str = "both"
    n_messages: int | None = None
    n_agents: int = 50
    seed: int = 0
    db: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of all phases.

    Attributes:
        kept: the database of a promise that was broken.
    """

    request: Request
    rows: list[Row]
    kept: str | None

    @property
    def record(self) -> dict[str, Any]:
        return {
            "model": self.request.model or "fake",
            "n_agents": self.request.n_agents,
            "seed": self.request.seed,
            "rows": [row.document() for row in self.rows],
            "kept": self.kept,
        }


def run_soak(request: Request, report: Report) -> Outcome:
    """Live the phases one after the other and judge each."""
    phases = [KILLS, QUIET] if request.phase == "both" else [request.phase]
    with _database(request.db) as database:
        rows: list[Row] = []
        for kind in phases:
            phase = Phase(
                kind=kind,
                db=database.url,
                model=request.model,
                n_agents=request.n_agents,
                n_messages=request.n_messages or N_MESSAGES[kind],
                seed=request.seed,
            )
            rows += soaked(phase, report)
        database.is_kept = any(row.holds is False for row in rows)
    return Outcome(request, rows, database.url if database.is_kept else None)


@dataclass(slots=True)
class _Database:
    url: str
    is_kept: bool = False


@contextmanager
def _database(url: str | None) -> Iterator[_Database]:
    """Give the database at `url`, or a new one, removed in the end unless it is to be kept."""
    if url is not None:
        yield _Database(url)
        return
    folder = Path(tempfile.mkdtemp(prefix="sleepmem-soak-"))
    database = _Database(f"sqlite:///{folder / 'agents.db'}")
    try:
        yield database
    finally:
        if not database.is_kept:
            shutil.rmtree(folder)
