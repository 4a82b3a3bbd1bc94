"""The training loop: draw, sleep, ask, step; resumable after a kill.

Step k of a run draws everything from (seed, k), so a run that was killed and resumed does what an
unbroken one does. Nothing here knows what a task teaches.
"""

from __future__ import annotations

import math
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
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import Batch, Task

EMA = 0.95  # weight of the past in the running accuracy
MANY_PASSES_FROM = 2  # stage; before it the fewest passes, since what is learned there needs none


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


def build_model(settings: TrainSettings, task: Task) -> SleepForCausalLM:
    """Return a fresh model; the same settings give the same weights."""
    kinds = {"A": ATTENTION, "G": RECURRENT}
    torch.manual_seed(settings.seed)
    lm = SleepForCausalLM(
        SleepConfig(
            vocab_size=task.tokenizer().get_vocab_size(),
            window=task.window,
            layer_types=[kinds[letter] for letter in settings.layers],
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_attention_heads=settings.n_attention_heads,
            linear_num_heads=settings.n_heads,
            linear_key_head_dim=settings.d_k,
            linear_value_head_dim=settings.d_v,
        )
    )
    lm.to(settings.device)
    return lm


def build_optimizer(settings: TrainSettings, lm: SleepForCausalLM) -> torch.optim.AdamW:
    """Return AdamW; norms, biases, convolutions and decay are not shrunk."""
    matrices = [p for p in lm.parameters() if p.dim() == 2]
    others = [p for p in lm.parameters() if p.dim() != 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.95))


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Warm up linearly, then fall along a cosine to `final_lr` of the peak."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * cosine)


def train(
    settings: TrainSettings,
    task: Task,
    lm: SleepForCausalLM,
    optimizer: torch.optim.AdamW,
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
        rng = Random(f"{settings.seed}:{progress.step}")
        batch = to_device(task.batch(rng, settings.batch, progress.stage), settings.device)
        offered = settings.passes if progress.stage >= MANY_PASSES_FROM else settings.passes[:1]
        passes = rng.choice(offered)
        result = score(lm, batch, passes)
        optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        _clip(lm, result.loss, settings.clip, progress.step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, progress.step)
        optimizer.step()
        progress.step += 1
        progress.n_tokens += n_token_passes(batch, passes)
        progress.seconds += monotonic() - started
        if passes == offered[-1]:
            _advance(progress, float(result.accuracy), settings.gate, task.n_stages)
        on_step(progress, float(result.loss.detach()))


def _advance(progress: Progress, accuracy: float, gate: float, n_stages: int) -> None:
    """Open the next stage once the running accuracy passes the gate."""
    progress.accuracy = EMA * progress.accuracy + (1 - EMA) * accuracy
    if progress.accuracy > gate and progress.stage < n_stages - 1:
        progress.stage += 1
        progress.accuracy = gate / 2  # a new stage must earn it anew


def _clip(lm: SleepForCausalLM, loss: Tensor, limit: float, step: int) -> None:
    """Bound the norm of the gradient; refuse a step that would spoil the weights."""
    norm = torch.nn.utils.clip_grad_norm_(lm.parameters(), limit)
    if bool(torch.isfinite(norm)) and bool(torch.isfinite(loss)):
        return
    for name, parameter in lm.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            raise TrainingDiverged(step, f"the gradient of {name}")
    raise TrainingDiverged(step, "the loss")


def n_token_passes(batch: Batch, passes: int) -> int:
    """Return tokens x passes of a batch, padding included."""
    return passes * sum(ids.numel() for ids, _ in batch.windows) + batch.question_ids.numel()


def to_device(batch: Batch, device: str) -> Batch:
    """Return the batch on a device."""

    def moved(x: Tensor) -> Tensor:
        return x.to(device)

    return Batch(
        tuple((moved(ids), moved(mask)) for ids, mask in batch.windows),
        moved(batch.question_ids),
        moved(batch.labels),
        moved(batch.answer_at),
    )
