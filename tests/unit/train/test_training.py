"""The loop: it learns, stops on NaN, and a resumed run equals an unbroken one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from sleepmem.errors import ConfigError
from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.train import run as runs
from sleepmem.train.loop import (
    Progress,
    TrainingDiverged,
    build_model,
    build_optimizer,
    learning_rate,
)
from sleepmem.train.run import run
from sleepmem.train.runs import load_run
from sleepmem.train.settings import TrainSettings, checked_settings
from sleepmem.train.tasks import IGNORED, TASKS, Batch, find_task
from sleepmem.train.tokenizer import build_tokenizer


class EchoTask:
    """One window of one token, then: which was it? Learned in a few dozen steps."""

    name = "echo"
    window = 16
    n_stages = 2

    def tokenizer(self) -> Tokenizer:
        return build_tokenizer(["a b c d e"])

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        told = torch.tensor([[rng.randrange(20, 24)] for _ in range(size)])
        window = (told, torch.ones_like(told, dtype=torch.bool))
        asked = torch.full((size, 1, 1), 19)
        return Batch((window,), asked, told[:, None], torch.ones_like(asked, dtype=torch.bool))

    def held_out(self, rng: Random, size: int) -> Batch:
        return self.batch(rng, size, 0)


class BrokenTask(EchoTask):
    """Asks for nothing at all, which has no loss."""

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        batch = super().batch(rng, size, stage)
        return Batch(
            batch.windows,
            batch.question_ids,
            torch.full_like(batch.labels, IGNORED),
            torch.zeros_like(batch.answer_at),
        )


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "echo", f"{__name__}:EchoTask")
    monkeypatch.setitem(TASKS, "broken", f"{__name__}:BrokenTask")
    monkeypatch.setattr(
        runs, "find_task", lambda name: {"echo": EchoTask, "broken": BrokenTask}[name]()
    )


def settings(**given: object) -> TrainSettings:
    small = {
        "task": "echo",
        "steps": 60,
        "batch": 16,
        "hidden_size": 16,
        "intermediate_size": 16,
        "n_attention_heads": 2,
        "d_k": 8,
        "d_v": 8,
        "passes": (1, 2),
        "lr": 1e-2,
        "warmup": 5,
    }
    return TrainSettings(**(small | given))


def silent(progress: Progress, loss: float) -> None:
    pass


def test_it_learns_and_exports_a_checkpoint_that_loads(tmp_path: Path) -> None:
    figures = run(settings(), tmp_path, silent)
    assert figures["passes_1"] > 0.95
    assert figures["passes_2"] > 0.95
    assert figures["blank"] < 0.6
    assert load_checkpoint(str(tmp_path / "checkpoint")).window == 16
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["task"] == "echo"
    assert record["progress"]["curve"][0]["step"] == 25
    assert record["environment"]["torch"] == torch.__version__


class Killed(BaseException):
    """Stands for a kill between two steps."""


def test_a_run_that_was_cut_and_resumed_equals_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "SAVE_EVERY_S", 0.0)

    def kill(progress: Progress, loss: float) -> None:
        if progress.step == 23:
            raise Killed

    with pytest.raises(Killed):
        run(settings(steps=40), tmp_path / "cut", kill)
    run(settings(steps=40), tmp_path / "cut", silent)
    run(settings(steps=40), tmp_path / "whole", silent)
    cut, whole = (tmp_path / name / "checkpoint/model.safetensors" for name in ("cut", "whole"))
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("n_renamed", [0, 1, 2])
def test_a_save_that_was_cut_anywhere_is_finished_or_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_renamed: int
) -> None:
    # weights of one save beside the record of another would be trained twice over some steps
    run(settings(steps=4), tmp_path, silent)
    rename, left = os.replace, iter([True] * n_renamed)

    def cut(source: Path, target: Path) -> None:
        if not next(left, False):
            raise Killed
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", cut)
        with pytest.raises(Killed):
            run(settings(steps=6), tmp_path, silent)
    lm, task_settings = build_model(settings(), EchoTask()), settings(steps=6)
    progress = load_run(tmp_path, task_settings, lm, build_optimizer(task_settings, lm))
    assert progress.step == (6 if n_renamed else 4)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], p) for name, p in lm.named_parameters())


def test_a_folder_that_cannot_be_resumed_says_why(tmp_path: Path) -> None:
    run(settings(steps=2), tmp_path, silent)
    (tmp_path / "optimizer.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(ConfigError, match="cannot be resumed"):
        run(settings(steps=4), tmp_path, silent)


def test_a_folder_that_cannot_be_written_fails_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(settings(), tmp_path / "file", lambda *_: pytest.fail("it trained"))


@pytest.mark.parametrize(
    "given",
    [
        {"layers": "AX"},
        {"layers": "AA"},
        {"layers": ""},
        {"hidden_size": 18, "n_attention_heads": 4},
        {"passes": ()},
        {"passes": (0,)},
        {"lr": float("nan")},
        {"batch": 0},
        {"device": "abacus"},
    ],
)
def test_settings_that_can_never_work_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given)).replace("_", ".")) as caught:
        checked_settings({"task": "echo", "steps": 1} | given)
    assert caught.value.hint


def test_task_that_is_unknown_is_refused() -> None:
    with pytest.raises(ConfigError, match="no task 'x'"):
        find_task("x")


def test_checkpoint_says_where_generation_stops(tmp_path: Path) -> None:
    run(settings(steps=1), tmp_path, silent)
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    chat = ChatTokens(EchoTask().tokenizer())
    assert (lm.generation_config.eos_token_id, lm.config.pad_token_id) == (chat.end, chat.pad)


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    run(settings(steps=2), tmp_path, silent)
    with pytest.raises(ConfigError, match="lr"):
        run(settings(steps=4, lr=0.5), tmp_path, silent)


def test_a_batch_without_answers_stops_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="step 0: the loss is not finite"):
        run(settings(task="broken"), tmp_path, silent)


def test_a_gradient_that_is_not_finite_stops_and_names_step_and_parameter(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"step 1: the gradient of model\.\S+ is not finite"):
        run(settings(lr=1e30, warmup=1), tmp_path, silent)


def test_learning_rate_warms_up_and_falls() -> None:
    s = settings(steps=100)
    rates = [learning_rate(s, step) for step in range(100)]
    assert rates[4] == pytest.approx(s.lr)
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(s.lr * s.final_lr, rel=0.05)
