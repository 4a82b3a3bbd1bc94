"""The demo's processes: what becomes of them, and of the demo, when one ends early."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from cli_shell import Shell

from sleepmem.cli.demo import DemoFailed, steps_of
from sleepmem.train.loop import build_model
from sleepmem.train.run import export
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import find_task


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the plan of a short demo over an untrained model."""
    folder = tmp_path_factory.mktemp("demo")
    task = find_task("dialogues")
    small = TrainSettings(
        task="dialogues", steps=1, hidden_size=16, n_attention_heads=2, d_k=8, d_v=8
    )
    export(folder / "model", build_model(small, task), task)
    return {
        "db": str(folder / "demo.db"),
        "model": str(folder / "model"),
        "data": None,
        "passes": 1,
        "asked": {"own": "demo"},
        "lives": {"demo": [["My dog is called Rex, and he is very old."]] * 3},
    }


def test_demo_that_is_left_ends_its_process(plan: dict[str, Any]) -> None:
    steps = steps_of("live", plan)
    assert next(steps) == {"agent": "demo", "outcome": "slept"}
    process = steps.gi_frame.f_locals["process"]  # type: ignore[attr-defined]
    steps.close()  # type: ignore[attr-defined]
    assert process.returncode == -signal.SIGTERM


def test_process_that_is_killed_is_said(plan: dict[str, Any]) -> None:
    steps = steps_of("live", plan)
    next(steps)
    steps.gi_frame.f_locals["process"].kill()  # type: ignore[attr-defined]
    with pytest.raises(DemoFailed, match="live ended with code -9") as caught:
        list(steps)
    assert caught.value.hint


def test_demo_without_its_model_leaves_the_last_one_as_it_was(
    plan: dict[str, Any], tmp_path: Path
) -> None:
    shell = Shell(str(tmp_path / "agents.db"))
    shell.run("say", "--agent", "demo", "colour=blue")
    with pytest.raises(DemoFailed, match="no checkpoint '/nowhere'") as caught:
        list(steps_of("live", plan | {"db": shell.db, "model": "/nowhere"}))
    assert "checkpoint folder" in caught.value.hint
    assert len(shell.json("log", "--agent", "demo")["messages"]) == 2
