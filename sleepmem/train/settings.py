"""The knobs of a training run, and the model it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from sleepmem.errors import ConfigError
from sleepmem.types import Value


class Loop(Value):
    """How windows are read; the defaults are the paper's.

    An agent can live with them, and with `rewrite`; all else is a control or an ablation.

    Attributes:
        loop_input: what a pass after the first reads. `carry`: the hidden states of the pass
            before, as they are. `embed`: the tokens again. `inject`: the tokens plus the
            normalised hidden states. `rewrite`: what the pass before wrote, rewritten by the
            loop layers.
        loop_state: the fast weights that a pass after the first starts from. `carry`: those of
            the pass before. `reset`: those at the start of the window.
        wake_passes: passes over a question; more than one loops at wake instead of in sleep.
        evict: false keeps the KV cache of all windows, read in one pass: no sleep at all.
    """

    loop_input: Literal["carry", "embed", "inject", "rewrite"] = "carry"
    loop_state: Literal["carry", "reset"] = "carry"
    wake_passes: PositiveInt = 1
    evict: bool = True


class TrainSettings(Value):
    """Everything that decides what a run does, besides code and machine.

    Attributes:
        options: sizes of the task; see the task.
        layers: one letter a layer, A attention and G gated delta rule; without a G there are no
            fast weights to sleep into, which is the baseline with attention only.
        passes: drawn from for each batch, so that one checkpoint serves every N of them.
        shallow: steps at the start that take the fewest of `passes`: what one pass can learn is
            learned sooner without the cost of more.
        curriculum: `gated` opens the next stage when accuracy passes `gate`; `forced` opens all
            of them evenly over the first `forced_share` of the steps, whatever was learned.
        gate: accuracy at the largest of `passes` that opens the next stage.
        window: what the model is made for, in tokens; None for the longest window of the task.
        speech: weight of the loss on every token of one window of a batch, read awake: before its
            sleep, after it in one batch of ten, or twice before it in another one.
        forcing: weight of the loss on what passes hand on to those after them, where the task
            has hints; 0 leaves the hints alone. See `sleepmem.train.rewriting`.
        loop_alone: train the loop layers by that loss alone: the rest stays as it is, nothing is
            asked, and `speech` and `backward` are of no account.
        forcing_from, forcing_to: steps between which fewer and fewer sleeps write what was to be
            handed on instead of what was.
        backward: windows at the end of a life that gradients flow through; None is all.
        batch: contexts in a step; some tasks take more in their easier stages.
        optimizer: `muon` for the matrices of the blocks with AdamW for the rest, or all `adamw`.
        lr, muon_lr: peaks of AdamW and of Muon, both on the scale of AdamW.
        decay: steps at the end over which both fall; None is all after the warm-up. With a number
            a run that was stopped before them goes on to more steps as if they had been asked for.
        bf16: compute in bfloat16; weights and fast weights stay float32, and so does the delta
            rule unless flash-linear-attention does its work.
        loop_layers: attention layers between passes; some if, and only if, they rewrite.
        attention_conv: tokens of the short convolution before attention; 0 is none.
        tied: the output layer is the embedding.
        embedding_std, linear_gain: of fresh weights; see `SleepConfig`.
    """

    task: str
    options: dict[str, int | str] = Field(default_factory=dict)
    steps: int = Field(gt=0)
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    passes: tuple[PositiveInt, ...] = Field(default=(1, 2, 4), min_length=1)
    shallow: int = Field(default=0, ge=0)
    loop: Loop = Loop()
    optimizer: Literal["adamw", "muon"] = "adamw"
    speech: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    forcing: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    loop_alone: bool = False
    forcing_from: int = Field(default=0, ge=0)
    forcing_to: int = Field(default=0, ge=0)
    backward: PositiveInt | None = None
    lr: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    muon_lr: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip: PositiveFloat = 1.0
    warmup: int = Field(default=50, ge=0)
    decay: PositiveInt | None = None
    final_lr: float = Field(default=0.05, ge=0, le=1)
    batch: PositiveInt = 12
    curriculum: Literal["gated", "forced"] = "gated"
    gate: float = Field(default=0.85, gt=0, le=1)
    forced_share: float = Field(default=0.4, ge=0, le=1)
    layers: str = Field(default="AG", pattern="^[AG]+$")
    hidden_size: PositiveInt = 128
    intermediate_size: PositiveInt = 256
    n_attention_heads: PositiveInt = 4
    loop_layers: int = Field(default=0, ge=0)
    attention_conv: int = Field(default=0, ge=0)
    n_heads: PositiveInt = 2
    d_k: PositiveInt = 64
    d_v: PositiveInt = 64
    window: PositiveInt | None = None
    tied: bool = True
    embedding_std: PositiveFloat = 0.1
    linear_gain: PositiveFloat = 1.0
    device: Literal["cpu", "cuda"] = "cpu"
    bf16: bool = False

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % (2 * self.n_attention_heads):
            raise ValueError(
                f"a hidden size of {self.hidden_size} does not divide into "
                f"{self.n_attention_heads} heads of even size"
            )
        return self

    @model_validator(mode="after")
    def _loop_layers_rewrite(self) -> Self:
        if bool(self.loop_layers) != (self.loop.loop_input == "rewrite"):
            raise ValueError(
                f"{self.loop_layers} loop layers with --loop-input {self.loop.loop_input}: "
                "rewrite needs some, and nothing else has them"
            )
        taught = self.forcing or self.loop_alone
        if taught and not self.loop_layers:
            raise ValueError("forcing and loop_alone teach loop layers: give --loop-layers")
        if self.loop_layers and "G" not in self.layers:
            raise ValueError("loop layers hand on what is written: give a G layer")
        if self.loop_layers and max(self.passes) < 2:
            raise ValueError("loop layers stand between passes: give --passes of 2 and more")
        if self.loop_layers and (self.loop.loop_state, self.loop.wake_passes) != ("carry", 1):
            raise ValueError("loop layers are for sleep, from the fast weights of the pass before")
        if self.forcing_from > self.forcing_to or (self.forcing_to and not taught):
            raise ValueError(
                f"forcing {self.forcing:g} gives way from step {self.forcing_from} to "
                f"{self.forcing_to}: give them in this order, or none"
            )
        return self

    @model_validator(mode="after")
    def _alone_is_alone(self) -> Self:
        if self.loop_alone and self.forcing:
            raise ValueError("loop_alone has no loss but that of forcing: leave out its weight")
        if self.loop_alone and min(self.passes) < 2:
            raise ValueError("loop_alone: what one pass hands on is not used; give --passes 2,3")
        return self

    @model_validator(mode="after")
    def _loop_is_run(self) -> Self:
        if not self.loop.evict and (self.passes != (1,) or self.loop != Loop(evict=False)):
            raise ValueError("without eviction there is no loop: passes is 1, the loop as it is")
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
        why = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{what}: {why}", hint="See: sleepmem train --help") from problem
