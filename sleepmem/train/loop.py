"""The training loop: draw, sleep, ask, step; resumable after a kill.

Step k of a run draws everything from (seed, k), so a run that was killed and resumed does what an
unbroken one does. Nothing here knows what a task teaches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from sleepmem.errors import ConfigError, SleepmemError
from sleepmem.model.config import ATTENTION, RECURRENT, SleepConfig
from sleepmem.model.network import LayerState, SleepForCausalLM, fast_weights
from sleepmem.model.sleep import n_layer_passes
from sleepmem.train.objective import Reading, Score, When, score
from sleepmem.train.optimizers import Optimizers, learning_rate
from sleepmem.train.rewriting import taught_alone
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import Batch, Task

MOST_RETOLD = 3  # times a window is read to know what a pass is to hand on
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
    # of each branch that led here, oldest first: its step, the settings that were others before,
    # and the shares of the mean that it began from
    branched: list[dict[str, Any]] = field(default_factory=list)
    # of a mean of runs, oldest first: the step of each, and its share
    averaged: list[dict[str, float]] = field(default_factory=list)


def build_model(settings: TrainSettings, task: Task) -> SleepForCausalLM:
    """Return a fresh model; the same settings give the same weights.

    Raises:
        ConfigError: the windows of the task are longer than the one that is asked for.
    """
    window = task.window if settings.window is None else settings.window
    if window < task.window:
        raise ConfigError(
            f"a window of {window} does not fit task {task.name}: it has windows of {task.window}",
            hint=f"Give --window {task.window} or more, or choose a smaller task.",
        )
    kinds = {"A": ATTENTION, "G": RECURRENT}
    torch.manual_seed(settings.seed)
    lm = SleepForCausalLM(
        SleepConfig(
            vocab_size=task.vocab_size,
            window=window,
            layer_types=[kinds[letter] for letter in settings.layers],
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_attention_heads=settings.n_attention_heads,
            attention_conv_kernel_dim=settings.attention_conv,
            linear_num_heads=settings.n_heads,
            linear_key_head_dim=settings.d_k,
            linear_value_head_dim=settings.d_v,
            tie_word_embeddings=settings.tied,
            initializer_range=settings.embedding_std,
            linear_gain=settings.linear_gain,
            num_loop_layers=settings.loop_layers,
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
        is_shallow = progress.step < settings.shallow
        offered = (min(settings.passes),) if is_shallow else settings.passes
        passes = rng.choice(offered)
        reading = draw_reading(rng, len(batch.windows)) if settings.speech else None
        is_taught = settings.forcing or settings.loop_alone
        is_forced = draw_forced(rng, settings, progress.step) if is_taught else None
        again = partial(_scored, settings, lm, batch, passes, reading, is_forced)
        result = again()
        loss = result.loss
        if result.speech is not None:
            loss = loss + settings.speech * result.speech
        if result.rewriting is not None:
            loss = loss + settings.forcing * result.rewriting
        loss.backward()
        if not (_clip(lm, settings.clip) and bool(torch.isfinite(loss))):
            raise TrainingDiverged(progress.step, _what_broke(lm, again))
        optimizers.step(learning_rate(settings, progress.step))
        progress.step += 1
        progress.n_tokens += n_token_passes(lm, settings, batch, passes)
        progress.seconds += monotonic() - started
        was_told = is_forced and result.rewriting is not None
        if passes == max(offered) and len(result.right) and not was_told:
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


def draw_reading(rng: Random, n_windows: int) -> Reading:
    """Draw which window is read awake with loss, and when; see `TrainSettings.speech`."""
    times: tuple[When, ...] = ("first", "again", "cached")
    [when] = rng.choices(times, (8, 1, 1))
    return Reading(rng.randrange(n_windows), when)


def draw_forced(rng: Random, settings: TrainSettings, step: int) -> bool:
    """Draw whether a sleep is forced at a step: fewer from `forcing_from` on, to `forcing_to`."""
    span = settings.forcing_to - settings.forcing_from
    return span > 0 and rng.random() >= (step - settings.forcing_from) / span


def _scored(
    settings: TrainSettings,
    lm: SleepForCausalLM,
    batch: Batch,
    passes: int,
    reading: Reading | None,
    is_forced: bool | None,
) -> Score:
    with torch.autocast(settings.device, torch.bfloat16, enabled=settings.bf16):
        if settings.loop_alone:
            return _unasked(taught_alone(lm, batch, passes, is_forced=bool(is_forced)))
        return score(
            *(lm, batch, passes),
            loop=settings.loop,
            reading=reading,
            backward=settings.backward,
            is_forced=is_forced,
        )


def _unasked(loss: Tensor) -> Score:
    nothing = torch.zeros(0, dtype=torch.bool)
    return Score(loss, nothing, nothing, nothing)


def _clip(lm: SleepForCausalLM, limit: float) -> bool:
    """Bound the norm of the gradient; false if it is not finite, and then nothing is changed."""
    norm = nn.utils.get_total_norm([p.grad for p in lm.parameters() if p.grad is not None])
    if not bool(torch.isfinite(norm)):
        return False
    nn.utils.clip_grads_with_norm_(lm.parameters(), limit, norm)
    return True


def _what_broke(lm: SleepForCausalLM, again: Callable[[], Score]) -> str:
    """Return what is not finite: the first layer by its output, else the last by its gradient."""
    broken: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, tuple[Tensor, LayerState]], None]:
        def look(_: nn.Module, __: object, output: tuple[Tensor, LayerState]) -> None:
            h, state = output
            if not all(bool(torch.isfinite(x).all()) for x in (h, *fast_weights([state]))):
                broken.append(name)

        return look

    stacks = {"layer": lm.model.layers, "loop layer": lm.model.loop_layers}
    hooks = [
        layer.register_forward_hook(watch(f"{kind} {index}"))
        for kind, layers in stacks.items()
        for index, layer in enumerate(layers)
    ]
    with torch.no_grad():
        again()
    for hook in hooks:
        hook.remove()
    if broken:
        return f"the output of {broken[0]}"
    for name, parameter in reversed(list(lm.named_parameters())):
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of {name}"
    return "the loss"


def n_token_passes(lm: SleepForCausalLM, settings: TrainSettings, batch: Batch, passes: int) -> int:
    """Return tokens x passes of a batch, padding included.

    With loop layers, which count as layers do, a pass of a sleep is as much of one as it has of the
    layers. What it takes to know what is to be handed on is counted where nothing else is trained.
    """
    slept, asked = batch.n_tokens
    n_through, n_layers = n_layer_passes(lm, passes), len(lm.model.layers)
    if settings.loop_alone:  # nothing is written or asked
        n_through -= passes * len(lm.model.core)
        n_through += (passes - 1) * MOST_RETOLD * len(lm.model.prelude)
        asked = 0
    return slept * n_through // n_layers + settings.loop.wake_passes * asked
