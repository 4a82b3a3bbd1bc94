"""What can never work is refused before the first step; what breaks is named, and nothing lost."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from small_tasks import EchoTask, LateSilentTask, settings, silent
from torch import Tensor

from sleepmem.errors import ConfigError
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train import loop
from sleepmem.train import run as runs
from sleepmem.train.loop import Progress, TrainingDiverged, build_model
from sleepmem.train.objective import Score, score
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.run import run
from sleepmem.train.runs import claimed, load_run
from sleepmem.train.settings import checked_settings
from sleepmem.train.tasks import find_task

pytestmark = pytest.mark.usefixtures("small_tasks")


LOOPED = {"loop": {"loop_input": "rewrite"}, "loop_layers": 2}


@pytest.mark.parametrize(
    "given",
    [
        {"layers": "AX"},
        {"layers": ""},
        {"hidden_size": 18, "n_attention_heads": 4},
        {"passes": ()},
        {"passes": (0,)},
        {"lr": float("nan")},
        {"batch": 0},
        {"seed": 2**63},
        {"device": "abacus"},
        {"window": 0},
        {"loop": {"wake_passes": 0}},
        {"loop": {"loop_input": "guess"}},
        {"passes": (1, 4), "loop": {"evict": False}},
        {"loop": {"evict": False, "wake_passes": 2}, "passes": (1,)},
        {"loop_layers": 2},
        {"loop": {"loop_input": "rewrite"}},
        {"forcing": 0.3},
        {"forcing": -1.0},
        {"loop_alone": True, "passes": (2, 4)},
        {"loop_alone": True, **LOOPED},
        {"loop_alone": True, **LOOPED, "passes": (2, 4), "forcing": 0.3},
        {"layers": "AA", **LOOPED},
        {"loop_layers": 2, "loop": {"loop_input": "rewrite", "loop_state": "reset"}},
        {"loop_layers": 2, "loop": {"loop_input": "rewrite", "wake_passes": 3}},
        {"passes": (1,), **LOOPED},
        {"forcing": 0.3, **LOOPED, "forcing_from": 5, "forcing_to": 3},
        {"forcing": 0.0, **LOOPED, "forcing_to": 5},
    ],
)
def test_settings_that_can_never_work_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="loop|" + next(iter(given)).replace("_", ".")) as caught:
        checked_settings({"task": "echo", "steps": 1} | given)
    assert caught.value.hint


def test_task_that_is_unknown_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no task 'x'; known: .*dialogues"):
        find_task("x")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"layers": "AA"}, "layers AA have no fast weights"),
        ({"loop": {"loop_input": "embed"}}, "the paper's loop"),
        ({"loop": {"loop_state": "reset"}}, "the paper's loop"),
        ({"loop": {"wake_passes": 2}}, "the paper's loop"),
    ],
)
def test_a_model_that_no_agent_could_live_with_is_refused_for_a_task_that_talks(
    tmp_path: Path, given: dict[str, object], why: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=f"task echo is for agents: .*{why}") as caught:
        run(settings(task="talking", **given), out, lambda *_: pytest.fail("it trained"))
    assert caught.value.hint
    assert not out.exists()
    run(settings(task="echo", steps=1, **given), out, silent)


def test_a_batch_without_answers_stops_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="step 0: the loss is not finite"):
        run(settings(task="silent"), tmp_path, silent)


def test_a_gradient_that_explodes_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"step 1: the gradient of model\.\S+ is not finite"):
        run(settings(lr=1e30, warmup=1), tmp_path, silent)


class NaNGradient(torch.autograd.Function):
    """Zero, with a gradient that is no number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Any:
        return torch.full((16, 16), torch.nan)


def break_gradient(lm: SleepForCausalLM, found: Score) -> Score:
    weight = lm.model.layers[1].mlp.down.weight
    return replace(found, loss=found.loss + NaNGradient.apply(weight))


def break_layer(lm: SleepForCausalLM, found: Score) -> Score:
    lm.model.layers[1].mixer.decay_bias.data.fill_(torch.nan)
    return replace(found, loss=found.loss * torch.nan)


def break_loop_layer(lm: SleepForCausalLM, found: Score) -> Score:
    lm.model.loop_layers[1].mixer_norm.weight.data.fill_(torch.nan)
    return replace(found, loss=found.loss * torch.nan)


@pytest.mark.parametrize(
    ("task", "breaks", "what"),
    [
        ("late_silent", None, "the loss"),
        ("echo", break_layer, "the output of layer 1"),
        ("echo", break_loop_layer, "the output of loop layer 1"),
        ("echo", break_gradient, r"the gradient of model\.layers\.1\.mlp\.down\.weight"),
    ],
)
def test_what_breaks_at_step_7_is_named_and_the_save_before_it_loads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    breaks: Callable[[SleepForCausalLM, Score], Score] | None,
    what: str,
) -> None:
    monkeypatch.setattr(runs, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(runs, "CURVE_POINTS", 1)
    looped = {**LOOPED, "passes": (2,)} if breaks is break_loop_layer else {}
    how, n_scored, models = settings(task=task, **looped), 0, []

    def scored(lm: SleepForCausalLM, *given: Any, **more: Any) -> Score:
        nonlocal n_scored
        models.append(lm)
        n_scored += 1
        found = score(lm, *given, **more)
        return breaks(lm, found) if breaks and n_scored > 7 else found

    monkeypatch.setattr(loop, "score", scored)
    before: dict[str, Tensor] = {}

    def remember(progress: Progress, loss: float) -> None:
        before.update({name: p.detach().clone() for name, p in models[0].named_parameters()})

    with pytest.raises(TrainingDiverged, match=f"^step 7: {what} is not finite$") as caught:
        run(how, tmp_path, remember)
    assert "--out" in caught.value.hint
    lm = build_model(how, EchoTask())
    progress = load_run(tmp_path, how, lm, build_optimizers(how, lm))
    assert progress.step == 7
    assert all(torch.equal(before[name], p) for name, p in lm.named_parameters())
    assert not (tmp_path / "checkpoint").exists()
    monkeypatch.setattr(loop, "score", score)
    monkeypatch.setattr(LateSilentTask, "silent_from", how.steps)
    run(how, tmp_path, silent)  # what was kept can be trained on


def test_a_folder_that_is_trained_into_is_left_alone(tmp_path: Path) -> None:
    run(settings(steps=2), tmp_path, silent)
    with (
        claimed(tmp_path),
        pytest.raises(ConfigError, match="being trained into by another process") as caught,
    ):
        run(settings(steps=4), tmp_path, lambda *_: pytest.fail("it trained"))
    assert caught.value.hint
    run(settings(steps=4), tmp_path, silent)


@pytest.mark.parametrize("what", ["run", "checkpoint"])
def test_a_full_disk_is_an_error_of_the_system_and_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(self: Path | SleepForCausalLM, *_: Any) -> None:
        if what == "checkpoint":
            raise SafetensorError("No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, "No space left on device")

    kind, method = {
        "run": (Path, "write_bytes"),
        "checkpoint": (SleepForCausalLM, "save_pretrained"),
    }[what]
    with monkeypatch.context() as patched:
        patched.setattr(kind, method, full)
        with pytest.raises(OSError, match="No space left"):
            run(settings(steps=2), tmp_path, silent)
    assert not (tmp_path / "checkpoint/model.safetensors").exists()
    run(settings(steps=2), tmp_path, silent)
    assert (tmp_path / "checkpoint/model.safetensors").exists()
    assert not (tmp_path / "checkpoint.tmp").exists()
