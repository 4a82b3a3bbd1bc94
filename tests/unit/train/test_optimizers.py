"""Who updates what, and how much."""

from __future__ import annotations

import pytest
import torch
from small_tasks import EchoTask, settings

from sleepmem.train.loop import build_model
from sleepmem.train.optimizers import build_optimizers, learning_rate


@pytest.mark.parametrize("tied", [True, False])
def test_muon_has_the_matrices_of_the_blocks_and_adamw_each_other_parameter_once(
    tied: bool,
) -> None:
    how = settings(optimizer="muon", layers="AGG", tied=tied)
    lm = build_model(how, EchoTask())
    names = {id(p): name for name, p in lm.named_parameters()}
    adamw, muon = build_optimizers(how, lm)._parts
    taken = {
        kind: [names[id(p)] for group in part.param_groups for p in group["params"]]
        for kind, part in (("adamw", adamw), ("muon", muon))
    }
    shapes = {name: p.dim() for name, p in lm.named_parameters()}
    assert isinstance(muon, torch.optim.Muon)
    assert {*taken["muon"]} == {n for n in shapes if ".layers." in n and shapes[n] == 2}
    assert sorted(taken["adamw"] + taken["muon"]) == sorted(names.values())
    assert ("lm_head.weight" in taken["adamw"]) is not tied


def test_norms_biases_convolutions_and_decay_are_not_shrunk() -> None:
    for optimizer in ("adamw", "muon"):
        how = settings(optimizer=optimizer, weight_decay=0.1)
        lm = build_model(how, EchoTask())
        names = {id(p): name for name, p in lm.named_parameters()}
        spared = {
            names[id(p)]
            for part in build_optimizers(how, lm)._parts
            for group in part.param_groups
            if not group["weight_decay"]
            for p in group["params"]
        }
        assert spared == {n for n, p in lm.named_parameters() if p.dim() != 2}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_at_no_rate_changes_nothing_and_one_at_the_peak_everything(optimizer: str) -> None:
    how = settings(optimizer=optimizer)
    lm = build_model(how, EchoTask())
    optimizers = build_optimizers(how, lm)
    for scale, is_same in ((0.0, True), (1.0, False), (0.5, False)):
        before = [p.detach().clone() for p in lm.parameters()]
        for p in lm.parameters():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
        optimizers.step(scale)
        assert all(
            torch.equal(a, b) is is_same for a, b in zip(before, lm.parameters(), strict=True)
        )
        assert all(p.grad is None for p in lm.parameters())


def test_rate_warms_up_to_the_peak_and_falls_to_its_last_share() -> None:
    how = settings(steps=100)
    rates = [learning_rate(how, step) for step in range(100)]
    assert rates[4] == pytest.approx(1.0)
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(how.final_lr, rel=0.05)


def test_rate_with_a_decay_stays_at_the_peak_until_its_steps() -> None:
    rates = [learning_rate(settings(steps=100, decay=20), step) for step in range(100)]
    assert rates[5:81] == [1.0] * 76
    assert rates[80:] == sorted(rates[80:], reverse=True)
    longer = [learning_rate(settings(steps=200, decay=20), step) for step in range(80)]
    assert longer == rates[:80]
    assert learning_rate(settings(steps=10, decay=20), 9) < 0.2
