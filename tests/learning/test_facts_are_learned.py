"""Trained from nothing, the model answers after sleep and guesses without.

pytest -m slow tests/learning      (about ten minutes on one core)
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch

from sleepmem.model.checkpoint import CONFIG, read_weights
from sleepmem.train.objective import score
from sleepmem.train.run import CHECKPOINT, run
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks.facts import FactsTask


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_or_two_facts_come_back_out_of_fast_weights(tmp_path: Path, seed: int) -> None:
    settings = TrainSettings(task="facts", steps=500, seed=seed)
    run(settings, tmp_path, lambda progress, loss: None)
    assert (tmp_path / CHECKPOINT / CONFIG).is_file()
    lm, task = read_weights(tmp_path / CHECKPOINT), FactsTask()
    with torch.no_grad():
        batch = task.batch(Random(99), 16, 1)
        slept = float(score(lm, batch, 4).accuracy)
        guessed = float(score(lm, batch, 4, blank=True).accuracy)
    assert slept > 0.5
    assert guessed < 0.2
