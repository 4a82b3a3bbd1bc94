"""How large a study is: on a laptop, at the paper's size, or only tried out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sleepmem.bench.paper.arms import SMALL, STUDIES, Arm
from sleepmem.errors import ConfigError
from sleepmem.train.settings import TrainSettings

# Muon's rate is per root-mean-square of AdamW; for a 512 x 512 matrix 4.4e-4 is the paper's 2e-3
PAPER_DEPO: dict[str, Any] = {
    "task": "depo",
    "options": {"form": "spelled", "sizes": "mixed", "nodes": 75, "hops": 16, "windows": 4},
    "steps": 100_000,
    "batch": 128,
    "optimizer": "muon",
    "muon_lr": 4.4e-4,
    "lr": 5e-5,
    "weight_decay": 1e-4,
    "warmup": 500,
    "curriculum": "forced",
    "forced_share": 0.0,
    "layers": "AGAGAGAGAG",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "n_attention_heads": 8,
    "n_heads": 4,
    "d_k": 96,
    "d_v": 192,
    "tied": False,
    "device": "cuda",
    "bf16": True,
}
"""Depo as arXiv 2605.26099 has it; what it leaves open is filled as its kin do."""

SIZES = ("hidden_size", "intermediate_size", "n_attention_heads", "n_heads", "d_k", "d_v")
SMALL_MODEL: dict[str, Any] = {"layers": "AG"} | {name: SMALL[name] for name in SIZES}
"""What a CPU judges in a minute; the paper's model takes it the better part of an hour."""


def arms_of(study: str, scale: str, steps: int | None = None) -> tuple[list[Arm], list[str]]:
    """Return the arms, and notes on how they differ from what was asked for.

    Args:
        steps: of every arm, instead of what the study has.

    Raises:
        ConfigError: the study has no such scale.
    """
    arms, notes = _arms_of(study, scale)
    if steps is None:
        return arms, notes
    return [_changed(arm, steps=steps) for arm in arms], [*notes, f"every arm has {steps} steps"]


def _arms_of(study: str, scale: str) -> tuple[list[Arm], list[str]]:
    if scale == "laptop":
        return STUDIES[study](), []
    if scale == "smoke":
        arms = [_shortened(arm) for arm in STUDIES[study]()]
        return arms, ["smoke: two steps an arm; the figures mean nothing"]
    if study != "depo":
        raise ConfigError(
            f"the study {study!r} has no scale {scale!r}", hint="Only depo has; or --scale laptop."
        )
    arms = _paper_depo()
    if torch.cuda.is_available():
        return arms, []
    note = (
        "no GPU: of the paper's scale only the task is kept, with two steps of a small model an "
        "arm; the figures mean nothing"
    )
    return [_changed(_shortened(arm), **SMALL_MODEL) for arm in arms], [note]


def _paper_depo() -> list[Arm]:
    return [
        Arm("depo", f"n{n}", f"75 nodes over 4 windows, N={n}",
            TrainSettings(**PAPER_DEPO, passes=(n,)), {n: f"depo.paper.k{{depth}}.n{n}"})
        for n in (1, 2, 4)
    ]  # fmt: skip


def _shortened(arm: Arm) -> Arm:
    return _changed(arm, steps=2, batch=2, warmup=0, device="cpu", bf16=False)


def _changed(arm: Arm, **settings: Any) -> Arm:
    return replace(arm, settings=arm.settings.model_copy(update=settings))
