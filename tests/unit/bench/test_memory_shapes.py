"""Shapes are compared by what their runs measured, at equal steps and at equal time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sleepmem.bench.memory.shapes import RECORD, learned, main, shapes
from sleepmem.errors import ConfigError
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.loop import Progress
from sleepmem.train.settings import TrainSettings

ABSTAIN = f"depth_{KINDS.index('abstain')}"


def run_of(folder: Path, points: list[dict[str, float]], **settings: Any) -> Path:
    folder.mkdir()
    how = TrainSettings(task="dialogues", steps=100, **settings)
    progress = Progress(step=int(points[-1]["step"]), curve=points)
    document = {
        "settings": how.model_dump(mode="json"),
        "progress": vars(progress),
        "environment": {},
    }
    (folder / "run.json").write_text(json.dumps(document))
    return folder


def point(step: int, seconds: float, single: float, changed: float) -> dict[str, float]:
    return {"step": step, "seconds": seconds, "depth_0": single, "depth_1": changed, ABSTAIN: 1.0}


def test_runs_are_compared_at_equal_steps_and_at_equal_time(tmp_path: Path) -> None:
    slow = run_of(
        tmp_path / "slow",
        [point(10, 40, 0.25, 0.25), point(20, 80, 0.5, 0.75)],
        n_heads=2,
        d_k=256,
        d_v=128,
    )
    fast = run_of(
        tmp_path / "fast",
        [point(n, 2 * n, n / 100, 0.0) for n in (10, 20, 30)],
        layers="GAG",
        n_heads=4,
    )
    record = shapes([slow, fast])
    assert record["step"] == 20
    assert [row["mean"] for row in record["same_step"]] == [0.625, 0.1]
    assert record["seconds"] == 60
    assert [row["step"] for row in record["same_time"]] == [10, 30]
    assert [row["fast_bytes"] for row in record["same_step"]] == [256 << 10, 2 * 64 << 10]


def test_a_run_without_a_point_so_early_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [point(10, 40, 0.5, 0.5)])
    assert learned(run).right["single"] == 0.5
    with pytest.raises(ConfigError, match="has measured nothing"):
        learned(run, step=9)


def test_command_writes_the_record(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [point(10, 40, 0.5, 0.5)])
    result = CliRunner().invoke(main, [str(run), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / RECORD).read_text())["step"] == 10
    assert "AG 2 x 64 x 64" in result.output
