"""`sleepmem train` given what can never work: one line, what to do next, and no run begun."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_shell import Shell
from click.testing import CliRunner

from sleepmem.cli import main
from sleepmem.train.loop import TrainingDiverged
from sleepmem.train.run import CHECKPOINT

SMALL = (
    *("--steps", "2", "--batch", "2", "--hidden-size", "8", "--intermediate-size", "8"),
    *("--attention-heads", "2", "--heads", "1", "--d-k", "4", "--d-v", "4"),
)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(str(tmp_path / "agents.db"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("depot", "no task 'depot'; known: "),
        ("depo --set hops=10", "10 hops on a cycle of 10 nodes"),
        ("depo --set nodes=5 --set windows=6 --set hops=2", "do not fill 6 windows"),
        ("depo --set nodes=ten", "task depo: nodes: "),
        ("depo --set nodes=--5", "task depo: nodes: "),
        ("depo --set nodes=\N{SUPERSCRIPT TWO}", "task depo: nodes: "),
        ("depo --set knots=5", "task depo has no option 'knots'"),
        ("dialogues --set nodes=5", "task dialogues has no option 'nodes'"),
        ("depo --window 9", "a window of 9 does not fit task depo: it has windows of 10"),
        ("dialogues --window 511", "does not fit task dialogues: it has windows of 512"),
        ("depo --layers AX", "layers: "),
        ("depo --hidden-size 10 --attention-heads 4", "hidden size of 10"),
        ("depo --no-evict", "without eviction"),
        ("depo --lr nan", "lr: "),
        ("dialogues --layers AA", "layers AA have no fast weights"),
        ("dialogues --loop-input embed", "the paper's loop"),
    ],
)
def test_what_can_never_work(shell: Shell, out: Path, arguments: str, what: str) -> None:
    task, *others = arguments.split()
    line = shell.error("train", task, "--out", str(out), *SMALL, *others)
    assert what in line
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_device_that_is_not_there(shell: Shell, out: Path) -> None:
    line = shell.error("train", "depo", "--out", str(out), "--device", "cuda")
    assert "no CUDA device" in line


@pytest.mark.parametrize(
    "arguments",
    [
        "depo --passes 0",
        "depo --passes 1,0",
        "depo --passes -1",
        "depo --passes many",
        "depo --passes ,",
        "depo --set nodes",
        "depo --set =5",
        "depo --set nodes=",
        "depo --window 0",
        "depo --window wide",
        "depo --steps 0",
        "depo --batch 0",
        "depo --lr 0",
        "depo --optimizer sgd",
        "depo --loop-state forget",
        "depo --wake-passes 0",
    ],
)
def test_usage_error_exits_2(shell: Shell, out: Path, arguments: str) -> None:
    _, what, *_ = arguments.split()
    command = ("train", *arguments.split(), "--out", str(out))
    result = shell.run(*command, code=2)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    error = shell.json(*command, code=2)["error"]
    assert set(error) == {"type", "message", "hint"}
    assert what in error["message"]
    assert not out.exists()


def test_window_that_is_longer_is_what_the_model_is_made_for(shell: Shell, out: Path) -> None:
    from sleepmem.model.checkpoint import read_weights

    shell.run("train", "depo", "--out", str(out), *SMALL, "--window", "24", "--passes", "1")
    assert read_weights(out / CHECKPOINT).config.window == 24


def test_run_that_is_longer_is_not_cut_short(shell: Shell, out: Path) -> None:
    shell.run("train", "depo", "--out", str(out), *SMALL)
    before = (out / "run.json").read_bytes()
    line = shell.error("train", "depo", "--out", str(out), *SMALL, "--steps", "1")
    assert "holds a run of 2 steps, more than 1" in line
    assert (out / "run.json").read_bytes() == before


def test_folder_of_another_task_is_not_trained_on(shell: Shell, out: Path) -> None:
    shell.run("train", "depo", "--out", str(out), *SMALL)
    line = shell.error("train", "dialogues", "--out", str(out), *SMALL)
    assert "with other settings: task" in line
    line = shell.error("train", "depo", "--out", str(out), *SMALL, "--set", "nodes=12")
    assert "with other settings: options" in line


def test_checkpoint_of_a_task_without_words_is_nothing_to_talk_to(shell: Shell, out: Path) -> None:
    shell.run("train", "depo", "--out", str(out), *SMALL)
    checkpoint = str(out / CHECKPOINT)
    for command in (
        ["model", "show", checkpoint],
        ["say", "--agent", "ana", "--db", shell.db, "--model", checkpoint, "hello"],
        ["chat", "--agent", "ana", "--db", shell.db, "--model", checkpoint],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith(
            f"error: checkpoint {checkpoint}: tokenizer.json is missing"
        )
        assert result.stderr.count("\n") == 1
    document = shell.json("model", "show", checkpoint, code=1)
    assert document["error"]["type"] == "CheckpointInvalid"


def test_training_that_diverges_is_one_line(
    shell: Shell, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sleepmem.train import loop

    def diverged(*_: object) -> str:
        return "the output of layer 1"

    monkeypatch.setattr(loop, "_clip", lambda *_: False)
    monkeypatch.setattr(loop, "_what_broke", diverged)
    line = shell.error("train", "depo", "--out", str(out), *SMALL)
    assert str(TrainingDiverged(0, "the output of layer 1")) in line
    assert (out / "run.json").exists()
