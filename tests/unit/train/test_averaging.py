"""What is kept is the mean of the last weights, of those steps and no others."""

from __future__ import annotations

import pytest
import torch
from small_tasks import EchoTask, settings
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.loop import Progress, build_model, train
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.settings import TrainSettings

Weights = dict[str, Tensor]


def trained(how: TrainSettings, *more: TrainSettings) -> tuple[SleepForCausalLM, list[Weights]]:
    """Train, and go on as `more` says; return the model and its weights after each step."""
    lm = build_model(how, EchoTask())
    optimizers, progress, seen = build_optimizers(how, lm), Progress(), list[Weights]()

    def remember(_progress: Progress, _loss: float) -> None:
        seen.append({name: p.detach().clone() for name, p in lm.named_parameters()})

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
