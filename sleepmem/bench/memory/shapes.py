"""Which shape of a memory learns best: runs that differ in nothing else, side by side.

    python -m sleepmem.bench.memory.shapes runs/64x4 runs/128x4 --out sleepmem/pretrained/memory

Judged on the validation side, by what the runs themselves measured on the way: 16 facts over 8
sleeps, shares that are right, at equal steps and at equal time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from sleepmem.errors import ConfigError
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.runs import read_record
from sleepmem.train.settings import TrainSettings

RECORD = "shapes.json"
TOLD = tuple(kind for kind in KINDS if kind != "abstain")


@dataclass(frozen=True, slots=True)
class Learned:
    """What a run of one shape had learned at one point.

    Attributes:
        layers: one letter a layer, A attention and G memory.
        fast_bytes: of the fast weights of one agent.
        seconds: of one core, others being busy with the other runs.
        right: share of the questions answered right by kind, `abstain` apart from the mean.
    """

    layers: str
    hidden_size: int
    n_heads: int
    d_k: int
    d_v: int
    fast_bytes: int
    step: int
    seconds: float
    mean: float
    right: dict[str, float]


def learned(run: Path, *, step: int | None = None, seconds: float | None = None) -> Learned:
    """Return the last point of a run up to a step or a time.

    Raises:
        ConfigError: no such run, or it has no point so early.
    """
    settings, progress, _ = read_record(run)
    points = [
        point
        for point in progress.curve
        if (step is None or point["step"] <= step)
        and (seconds is None or point["seconds"] <= seconds)
    ]
    if not points:
        raise ConfigError(
            f"{run} has measured nothing up to there", hint="Compare later steps, or train longer."
        )
    return _learned(settings, points[-1])


def _learned(settings: TrainSettings, point: dict[str, float]) -> Learned:
    right = {kind: point[f"depth_{n}"] for n, kind in enumerate(KINDS) if f"depth_{n}" in point}
    n_floats = settings.layers.count("G") * settings.n_heads * settings.d_k * settings.d_v
    return Learned(
        layers=settings.layers,
        hidden_size=settings.hidden_size,
        n_heads=settings.n_heads,
        d_k=settings.d_k,
        d_v=settings.d_v,
        fast_bytes=4 * n_floats,
        step=int(point["step"]),
        seconds=point["seconds"],
        mean=round(fmean(right[kind] for kind in TOLD if kind in right), 4),
        right=right,
    )


def shapes(runs: Sequence[Path]) -> dict[str, Any]:
    """Return the record: every run at the last step that all have, and at the time of the first."""
    last = [int(read_record(run)[1].curve[-1]["step"]) for run in runs]
    same_step = [learned(run, step=min(last)) for run in runs]
    budget = min(learned(run).seconds for run in runs)
    same_time = [learned(run, seconds=budget) for run in runs]
    return {
        "step": min(last),
        "seconds": budget,
        "same_step": [asdict(found) for found in same_step],
        "same_time": [asdict(found) for found in same_time],
    }


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
def main(runs: tuple[Path, ...], out: Path) -> None:
    """Compare RUNS and write the record."""
    record = shapes(runs)
    (out / RECORD).write_text(json.dumps(record, indent=1))
    for name in ("same_step", "same_time"):
        for row in record[name]:
            shape = f"{row['layers']} {row['n_heads']} x {row['d_k']} x {row['d_v']}"
            click.echo(
                f"{name} {shape:<16} {row['fast_bytes'] >> 10:>5} KiB "
                f"step {row['step']:>5} {row['seconds']:>6.0f} s  mean {row['mean']:.3f}"
            )


if __name__ == "__main__":
    main()
