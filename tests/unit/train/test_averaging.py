"""What is kept is the mean of the last weights, of those steps and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_tasks import EchoTask, settings
from torch import Tensor

from sleepmem.errors import ConfigError
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.loop import Progress, build_model, train
from sleepmem.train.optimizers import MEAN, Optimizers, build_optimizers
from sleepmem.train.runs import OPTIMIZER, branch_run, load_run, save_run
from sleepmem.train.settings import TrainSettings

Weights = dict[str, Tensor]


class Cut(Exception):
    """Stands for a kill between two steps."""


def cut(how: TrainSettings) -> tuple[SleepForCausalLM, Optimizers, Progress]:
    """Train for all steps but one."""
    lm = build_model(how, EchoTask())
    optimizers, progress = build_optimizers(how, lm), Progress()

    def stop(progress: Progress, _loss: float) -> None:
        if progress.step == how.steps - 1:
            raise Cut

    with pytest.raises(Cut):
        train(how, EchoTask(), lm, optimizers, progress, stop)
    return lm, optimizers, progress


def weights_of(lm: SleepForCausalLM) -> Weights:
    return {name: p.detach().clone() for name, p in lm.named_parameters()}


def trained(how: TrainSettings, *more: TrainSettings) -> tuple[SleepForCausalLM, list[Weights]]:
    """Train, and go on as `more` says; return the model and its weights after each step."""
    lm = build_model(how, EchoTask())
    optimizers, progress, seen = build_optimizers(how, lm), Progress(), list[Weights]()

    def remember(_progress: Progress, _loss: float) -> None:
        seen.append(weights_of(lm))

    for settings_ in (how, *more):
        train(settings_, EchoTask(), lm, optimizers, progress, remember)
    return lm, seen


def is_mean(lm: SleepForCausalLM, seen: list[Weights]) -> bool:
    return all(
        torch.allclose(p, torch.stack([weights[name] for weights in seen]).mean(0), atol=1e-6)
        for name, p in lm.named_parameters()
    )


@pytest.mark.parametrize("average", [1, 3, 6, 99])
def test_weights_are_the_mean_of_the_last_steps(average: int) -> None:
    lm, seen = trained(settings(steps=6, average=average))
    assert is_mean(lm, seen[-average:])
    assert is_mean(lm, seen[-1:]) is (average == 1)


def test_without_averaging_they_are_those_of_the_last_step() -> None:
    lm, seen = trained(settings(steps=6))
    assert all(torch.equal(p, seen[-1][name]) for name, p in lm.named_parameters())


def test_a_run_that_goes_on_averages_its_own_end_alone() -> None:
    lm, seen = trained(settings(steps=6, average=3), settings(steps=9, average=2))
    assert is_mean(lm, seen[-2:])
    lm, seen = trained(settings(steps=6, average=3), settings(steps=9))
    assert is_mean(lm, seen[-1:])


@pytest.mark.parametrize(("then", "n_last"), [({"steps": 8}, 3), ({"steps": 5, "average": 0}, 1)])
def test_a_run_that_is_asked_for_other_steps_halfway_averages_the_last_alone(
    then: dict[str, int], n_last: int
) -> None:
    how = settings(steps=6, average=3)  # cut with steps 4 and 5 in the mean
    lm, optimizers, progress = cut(how)
    seen = [weights_of(lm)]
    more = settings(**({"average": 3} | then))
    train(more, EchoTask(), lm, optimizers, progress, lambda *_: seen.append(weights_of(lm)))
    assert is_mean(lm, seen[-n_last:])


def test_a_branch_leaves_the_mean_behind(tmp_path: Path) -> None:
    how = settings(steps=6, average=3)
    lm, optimizers, progress = cut(how)
    save_run(tmp_path, how, lm, optimizers, progress)
    assert load_run(tmp_path, how, lm, optimizers).step == 5
    assert optimizers.mean.tensors()
    branch_run(tmp_path, settings(steps=6, average=2), lm, optimizers)
    assert not optimizers.mean.tensors()


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.0.mixer.qkv.weight"])
def test_a_mean_of_another_model_is_not_resumed(tmp_path: Path, name: str) -> None:
    how = settings(steps=6, average=3)
    lm, optimizers, progress = cut(how)
    save_run(tmp_path, how, lm, optimizers, progress)
    tensors = load_file(tmp_path / OPTIMIZER)
    for broken in ({}, {f"{MEAN}{name}": torch.zeros(3)}):
        rest = {key: tensor for key, tensor in tensors.items() if key != f"{MEAN}{name}"}
        save_file(rest | broken, tmp_path / OPTIMIZER, {"step": "5"})
        with pytest.raises(ConfigError, match="cannot be resumed"):
            load_run(tmp_path, how, lm, optimizers)
