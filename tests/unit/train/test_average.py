"""The mean of runs: its weights, its record, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_tasks import settings, silent

from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import read_weights
from sleepmem.train.average import average
from sleepmem.train.run import run
from sleepmem.train.runs import read_record

pytestmark = pytest.mark.usefixtures("small_tasks")


@pytest.fixture
def line(tmp_path: Path) -> tuple[Path, Path]:
    """Give a run, and one that goes on from it."""
    run(settings(steps=3), tmp_path / "one", silent)
    run(settings(steps=6, passes=(1,)), tmp_path / "two", silent, branch=tmp_path / "one")
    return tmp_path / "one", tmp_path / "two"


def test_a_mean_is_a_run_that_ended_and_says_what_it_is_of(
    line: tuple[Path, Path], tmp_path: Path
) -> None:
    average(tmp_path / "mean", list(zip(line, (0.25, 0.75), strict=True)))
    one, two, mean = (load_file(run / "model.safetensors") for run in (*line, tmp_path / "mean"))
    assert all(torch.allclose(mean[name], 0.25 * one[name] + 0.75 * two[name]) for name in two)
    lm = read_weights(tmp_path / "mean/checkpoint")
    assert all(torch.equal(p, mean[name]) for name, p in lm.named_parameters())
    found, progress, _ = read_record(tmp_path / "mean")
    assert (found.steps, found.passes, progress.step) == (6, (1,), 6)
    assert progress.averaged == [{"step": 3, "share": 0.25}, {"step": 6, "share": 0.75}]
    assert progress.held_out["passes_1"] > 0


def test_what_goes_on_from_a_mean_says_so(line: tuple[Path, Path], tmp_path: Path) -> None:
    average(tmp_path / "mean", [(line[0], 0.5), (line[1], 0.5)])
    run(settings(steps=7, passes=(1,)), tmp_path / "on", silent, branch=tmp_path / "mean")
    progress = json.loads((tmp_path / "on/run.json").read_text())["progress"]
    assert progress["averaged"] == []
    shares = [{"step": 3, "share": 0.5}, {"step": 6, "share": 0.5}]
    assert progress["branched"][-1] == {"step": 6, "averaged": shares}


def test_a_checkpoint_beside_its_record_can_be_a_part(
    line: tuple[Path, Path], tmp_path: Path
) -> None:
    shipped = line[0] / "checkpoint"
    shutil.copy(line[0] / "run.json", shipped)
    average(tmp_path / "mean", [(shipped, 1.0)])
    one, mean = (load_file(run / "model.safetensors") for run in (line[0], tmp_path / "mean"))
    assert all(torch.equal(mean[name], one[name]) for name in one)


def test_what_is_no_mean_is_refused(line: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = line
    out = tmp_path / "mean"
    for shares in ([], [(one, 0.5)], [(one, 0.5), (two, 0.6)], [(one, float("nan"))]):
        with pytest.raises(ConfigError, match="no mean"):
            average(out, shares)
    run(settings(steps=1, hidden_size=32), tmp_path / "small", silent)
    with pytest.raises(ConfigError, match="of another model"):
        average(out, [(tmp_path / "small", 0.5), (two, 0.5)])
    with pytest.raises(ConfigError, match="no readable record"):
        average(out, [(tmp_path / "nothing", 0.5), (two, 0.5)])
    assert not out.exists()
    with pytest.raises(ConfigError, match="a run already"):
        average(two, [(one, 0.5), (two, 0.5)])
