"""Stored checkpoints that ours is compared with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sleepmem.model.checkpoint import read_weights
from sleepmem.model.network import SleepForCausalLM

FOLDER = Path(str(files("sleepmem"))) / "pretrained" / "memory"
PASSES1_STEPS, PASSES1_COMPUTE, ATTENTION = "passes1_steps", "passes1_compute", "attention"


def opponent(name: str) -> SleepForCausalLM:
    """Return a stored opponent.

    Raises:
        CheckpointInvalid: it is not there.
    """
    return read_weights(FOLDER / name).eval()
