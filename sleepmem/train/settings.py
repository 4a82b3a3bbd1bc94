"""The knobs of a training run, and the model it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from sleepmem.errors import ConfigError
from sleepmem.types import Value


class TrainSettings(Value):
    """Everything that decides what a run does, besides code and machine.

    Attributes:
        layers: one letter a layer, A attention and G gated delta rule; without a G there are no
            fast weights to sleep into.
        passes: drawn from for each batch, so that one checkpoint serves every N of them.
        gate: accuracy at the largest of `passes` that opens the next stage.
        batch: contexts in a step of the last stage; easier stages take more.
    """

    task: str
    steps: int = Field(gt=0)
    seed: int = 0
    passes: tuple[PositiveInt, ...] = Field(default=(1, 2, 4), min_length=1)
    lr: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip: float = Field(default=1.0, gt=0)
    warmup: int = Field(default=50, ge=0)
    final_lr: float = Field(default=0.05, ge=0, le=1)
    batch: int = Field(default=12, gt=0)
    gate: float = 0.85
    layers: str = Field(default="AG", pattern="^[AG]*G[AG]*$")
    hidden_size: PositiveInt = 128
    intermediate_size: PositiveInt = 256
    n_attention_heads: PositiveInt = 4
    n_heads: PositiveInt = 2
    d_k: PositiveInt = 64
    d_v: PositiveInt = 64
    device: Literal["cpu", "cuda"] = "cpu"

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % (2 * self.n_attention_heads):
            raise ValueError(
                f"a hidden size of {self.hidden_size} does not divide into "
                f"{self.n_attention_heads} heads of even size"
            )
        return self


def checked_settings(given: Mapping[str, Any]) -> TrainSettings:
    """Return the settings.

    Raises:
        ConfigError: one of them can never work.
    """
    try:
        return TrainSettings.model_validate(given)
    except ValidationError as problem:
        first = problem.errors()[0]
        what = " ".join(str(part) for part in first["loc"][:1]) or "settings"
        raise ConfigError(f"{what}: {first['msg']}", hint="See: sleepmem train --help") from problem
