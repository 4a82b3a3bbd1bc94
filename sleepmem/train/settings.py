"""The knobs of a training run, and the model it trains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sleepmem.types import Value


class TrainSettings(Value):
    """Everything that decides what a run does, besides code and machine.

    Attributes:
        passes: drawn from for each batch, so that one checkpoint serves every N of them.
        gate: accuracy at the largest of `passes` that opens the next stage.
        batch: contexts in a step of the last stage; easier stages take more.
    """

    task: str
    steps: int = Field(gt=0)
    seed: int = 0
    passes: tuple[int, ...] = (1, 2, 4)
    lr: float = 2e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 50
    final_lr: float = 0.05
    batch: int = Field(default=12, gt=0)
    gate: float = 0.85
    layers: str = "AG"
    hidden_size: int = 128
    intermediate_size: int = 256
    n_attention_heads: int = 4
    n_heads: int = 2
    d_k: int = 64
    d_v: int = 64
    device: Literal["cpu", "cuda"] = "cpu"
