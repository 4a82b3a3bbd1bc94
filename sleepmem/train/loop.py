"""The training loop: draw, sleep, ask, step; resumable after a kill.

Step k of a run draws everything from (seed, k), so a run that was killed and resumed does what an
unbroken one does. Nothing here knows what a task teaches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic

import torch
from torch import Tensor

from sleepmem.errors import SleepmemError
from sleepmem.model.config import ATTENTION, RECURRENT, SleepConfig
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.objective import score
from sleepmem.train.optimizers import Optimizers, learning_rate
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import Batch, Task

EMA = 0.95  # weight of the past in the running accuracy


class TrainingDiverged(SleepmemError):
    """The loss or a gradient is not finite."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            f"step {step}: {what} is not finite",
            hint="The last save before it is kept; start anew with a lower --lr and another --out.",
        )


@dataclass
class Progress:
    """Where a run stands; with the weights and the optimiser it is all that a resume needs."""

    step: int = 0
    stage: int = 0
    accuracy: float = 0.0  # running, at the largest number of passes
    n_tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    held_out: dict[str, float] = field(default_factory=dict)  # accuracy at the end


def build_model(settings: TrainSettings, task: Task) -> SleepForCausalLM:
    """Return a fresh model; the same settings give the same weights."""
    kinds = {"A": ATTENTION, "G": RECURRENT}
    torch.manual_seed(settings.seed)
    lm = SleepForCausalLM(
        SleepConfig(
            vocab_size=task.vocab_size,
            window=task.window,
            layer_types=[kinds[letter] for letter in settings.layers],
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_attention_heads=settings.n_attention_heads,
            linear_num_heads=settings.n_heads,
            linear_key_head_dim=settings.d_k,
            linear_value_head_dim=settings.d_v,
            tie_word_embeddings=settings.tied,
        )
    )
    lm.to(settings.device)
    return lm


def train(
    settings: TrainSettings,
    task: Task,
    lm: SleepForCausalLM,
    optimizers: Optimizers,
    progress: Progress,
    on_step: Callable[[Progress, float], None],
) -> None:
    """Train from `progress` to the last step, advancing all three in place.

    Args:
        on_step: called after each step with the progress and the loss in nats.

    Raises:
        TrainingDiverged: weights are those before the step.
    """
    lm.train()
    while progress.step < settings.steps:
        started = monotonic()
        if settings.curriculum == "forced":
            progress.stage = forced_stage(settings, progress.step, task.n_stages)
        rng = Random(f"{settings.seed}:{progress.step}")
        batch = task.batch(rng, settings.batch, progress.stage).to(settings.device)
        offered = settings.passes if progress.stage >= task.n_easy else settings.passes[:1]
        passes = rng.choice(offered)
        with torch.autocast(settings.device, torch.bfloat16, enabled=settings.bf16):
            result = score(lm, batch, passes, loop=settings.loop)
        result.loss.backward()
        _clip(lm, result.loss, settings.clip, progress.step)
        optimizers.step(learning_rate(settings, progress.step))
        progress.step += 1
        progress.n_tokens += n_token_passes(batch, passes, settings.loop.wake_passes)
        progress.seconds += monotonic() - started
        if passes == max(offered):
            _advance(progress, result.accuracy, settings, task.n_stages)
        on_step(progress, float(result.loss.detach()))


def forced_stage(settings: TrainSettings, step: int, n_stages: int) -> int:
    """Return the stage of a step when stages open evenly, whatever was learned."""
    opened = (n_stages - 1) * step / max(1.0, settings.forced_share * settings.steps)
    return min(n_stages - 1, int(opened))


def _advance(progress: Progress, accuracy: float, settings: TrainSettings, n_stages: int) -> None:
    """Follow the accuracy; open the next stage once it passes the gate."""
    progress.accuracy = EMA * progress.accuracy + (1 - EMA) * accuracy
    is_open = settings.curriculum == "gated" and progress.stage < n_stages - 1
    if is_open and progress.accuracy > settings.gate:
        progress.stage += 1
        progress.accuracy = settings.gate / 2  # a new stage must earn it anew


def _clip(lm: SleepForCausalLM, loss: Tensor, limit: float, step: int) -> None:
    """Bound the norm of the gradient; refuse a step that would spoil the weights."""
    norm = torch.nn.utils.clip_grad_norm_(lm.parameters(), limit)
    if bool(torch.isfinite(norm)) and bool(torch.isfinite(loss)):
        return
    for name, parameter in lm.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            raise TrainingDiverged(step, f"the gradient of {name}")
    raise TrainingDiverged(step, "the loss")


def n_token_passes(batch: Batch, passes: int, wake_passes: int = 1) -> int:
    """Return tokens x passes of a batch, padding included."""
    slept, asked = batch.n_tokens
    return passes * slept + wake_passes * asked
