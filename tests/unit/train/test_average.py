"""The mean of runs: its weights, its record, and what is refused."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from small_tasks import settings, silent

from sleepmem.bench.memory.ship import ship
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import read_weights
from sleepmem.train.average import average, main
from sleepmem.train.run import run
from sleepmem.train.runs import claimed, read_record

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
    record = json.loads((line[1] / "run.json").read_text())
    record["environment"]["processor"] = "of the training"
    record["progress"]["held_out"] = {"passes_1": 2.0}
    (line[1] / "run.json").write_text(json.dumps(record))
    average(tmp_path / "mean", list(zip(line, (0.25, 0.75), strict=True)))
    one, two, mean = (load_file(run / "model.safetensors") for run in (*line, tmp_path / "mean"))
    assert all(torch.allclose(mean[name], 0.25 * one[name] + 0.75 * two[name]) for name in two)
    lm = read_weights(tmp_path / "mean/checkpoint")
    assert all(torch.equal(p, mean[name]) for name, p in lm.named_parameters())
    found, progress, trained_in = read_record(tmp_path / "mean")
    assert (found.steps, found.passes, progress.step) == (6, (1,), 6)
    assert progress.averaged == [{"step": 3, "share": 0.25}, {"step": 6, "share": 0.75}]
    assert 0 < progress.held_out["passes_1"] <= 1
    assert progress.held_out.keys() == {"passes_1", "blank"}
    assert trained_in["processor"] == "of the training"
    ship(tmp_path / "mean", tmp_path / "shipped")
    assert (tmp_path / "shipped/model.safetensors").is_file()


def test_a_mean_of_means_names_the_runs_behind_them(
    line: tuple[Path, Path], tmp_path: Path
) -> None:
    average(tmp_path / "mean", [(line[0], 0.5), (line[1], 0.5)])
    shutil.rmtree(tmp_path / "mean/checkpoint")
    average(tmp_path / "again", [(tmp_path / "mean", 1.0)])
    assert (tmp_path / "again/checkpoint/model.safetensors").is_file()
    average(tmp_path / "both", [(line[0], 0.2), (tmp_path / "mean", 0.8)])
    _, progress, _ = read_record(tmp_path / "both")
    assert [part["step"] for part in progress.averaged] == [3, 3, 6]
    assert [part["share"] for part in progress.averaged] == pytest.approx([0.2, 0.4, 0.4])


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
    nan = float("nan")
    for each in ((), (0.5,), (0.5, 0.6), (nan, 1.0), (1.5, -0.5), (0.0, 1.0)):
        with pytest.raises(ConfigError, match="no mean"):
            average(out, list(zip(line, each, strict=False)))
    run(settings(steps=1, hidden_size=32), tmp_path / "large", silent)
    run(settings(steps=4, seed=9), tmp_path / "stranger", silent)
    (tmp_path / "torn").mkdir()
    shutil.copy(one / "model.safetensors", tmp_path / "torn")
    shutil.copy(two / "run.json", tmp_path / "torn")
    for first, last, why in (
        (tmp_path / "large", two, "loading state_dict"),
        (tmp_path / "nothing", two, "no readable record"),
        (one, tmp_path / "torn", "is of step 3, not 6"),
        (two, one, "does not go on from"),
        (one, tmp_path / "stranger", "does not go on from"),
    ):
        with pytest.raises(ConfigError, match=why):
            average(out, [(first, 0.5), (last, 0.5)])
    assert [path.name for path in out.iterdir()] == ["lock"]
    with claimed(out), pytest.raises(ConfigError, match="another process"):
        average(out, [(one, 0.5), (two, 0.5)])
    (out / "run.json.tmp").write_text("{}")
    for taken in (out, two):
        with pytest.raises(ConfigError, match="not empty"):
            average(taken, [(one, 0.5), (two, 0.5)])


def test_a_mean_is_gone_on_from_and_not_resumed(line: tuple[Path, Path], tmp_path: Path) -> None:
    average(tmp_path / "mean", [(line[0], 0.5), (line[1], 0.5)])
    with pytest.raises(ConfigError, match="without its optimiser"):
        run(settings(steps=7, passes=(1,)), tmp_path / "mean", silent)


def test_command_says_how_good_the_mean_is(line: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = line
    call = partial(CliRunner().invoke, main)
    told = call([f"{one}=0.5", f"{two}=0.5", "--out", str(tmp_path / "mean")])
    assert told.exit_code == 0, told.output
    assert [line.split()[0] for line in told.output.splitlines()] == ["passes_1", "blank"]
    for words in ([f"{one}=0.5"], [f"{one}"], [f"{one}=x"], []):
        refused = call([*words, "--out", str(tmp_path / "other")])
        assert refused.exit_code in (1, 2)
        assert isinstance(refused.exception, SystemExit)
