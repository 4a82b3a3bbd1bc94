"""Trained from nothing, the model answers after sleep and cannot without.

pytest -m slow tests/learning      (some minutes on one core)
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch

from sleepmem.model.checkpoint import read_weights
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.objective import score
from sleepmem.train.run import CHECKPOINT, run
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks.dialogues import SHORT, DialoguesTask

SETTINGS = TrainSettings(
    task="dialogues", steps=400, passes=(1,), optimizer="muon", muon_lr=5e-3, lr=3e-3,
    embedding_std=1.0, linear_gain=0.58, n_heads=4, gate=1.0,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_shorthand_comes_back_out_of_fast_weights(tmp_path: Path) -> None:
    run(SETTINGS, tmp_path, lambda progress, loss: None)
    lm = read_weights(tmp_path / CHECKPOINT).eval()
    batch = DialoguesTask().lives(Random(99), 32, SHORT, Split.TRAIN)
    with torch.no_grad():
        slept = score(lm, batch, 1).accuracy
        newborn = score(lm, batch, 1, blank=True).accuracy
    assert slept > 0.5, (slept, newborn)
    assert newborn < 0.1, (slept, newborn)
