"""One training run from its folder: start or resume, save now and then, export at the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from sleepmem.errors import ConfigError
from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.checkpoint import WEIGHTS
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.loop import Progress, build_model, train
from sleepmem.train.objective import score
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.runs import RECORD, branch_run, claimed, load_run, save_run
from sleepmem.train.settings import Loop, TrainSettings
from sleepmem.train.tasks import TalkTask, Task, find_task
from sleepmem.train.tokenizer import save_tokenizer

SAVE_EVERY_S = 60.0
CURVE_POINTS = 40  # over a run, each with the held-out accuracy so far
EVALUATE = 64  # held-out contexts behind a figure
CHECKPOINT = "checkpoint"

Report = Callable[[Progress, float], None]


def run(
    settings: TrainSettings, folder: Path, report: Report, *, branch: Path | None = None
) -> dict[str, float]:
    """Train to the last step and write `folder/checkpoint`; resume if the folder holds a run.

    Args:
        report: called after each step with the progress and the loss.
        branch: folder of a run that this one goes on from, with settings of its own.

    Returns:
        Held-out accuracy by number of passes, and with blank fast weights.

    Raises:
        ConfigError: no such task or device, a window or model that does not fit the task, or the
            folder holds another run, or is being trained into; `branch` holds none that fits.
        TrainingDiverged: a loss or gradient was not finite.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device", hint="Train with --device cpu.")
    torch.set_num_threads(1 if settings.device == "cpu" else torch.get_num_threads())
    task = find_task(settings.task, settings.options)
    _check_livable(settings, task)
    lm = build_model(settings, task)
    with claimed(folder):
        return _run(settings, task, lm, folder, report, branch)


def _run(
    settings: TrainSettings,
    task: Task,
    lm: SleepForCausalLM,
    folder: Path,
    report: Report,
    branch: Path | None,
) -> dict[str, float]:
    optimizers = build_optimizers(settings, lm)
    is_new = not (folder / RECORD).exists()
    if is_new and settings.loop_alone and not branch:
        raise ConfigError(
            "loop layers alone cannot be trained in a model that has learned nothing",
            hint="Name by --branch the run that they are to be part of.",
        )
    if branch and is_new:
        progress = branch_run(branch, settings, lm, optimizers)
    else:
        progress = load_run(folder, settings, lm, optimizers)
    if is_new:  # a folder that cannot be written fails before the work, not after
        save_run(folder, settings, lm, optimizers, progress)
    saved_at = monotonic()

    def on_step(progress: Progress, loss: float) -> None:
        nonlocal saved_at
        if progress.step % max(1, settings.steps // CURVE_POINTS) == 0:
            progress.curve.append(_point(progress, loss) | held_out_by_depth(settings, task, lm))
        if monotonic() - saved_at > SAVE_EVERY_S:
            save_run(folder, settings, lm, optimizers, progress)
            saved_at = monotonic()
        report(progress, loss)

    train(settings, task, lm, optimizers, progress, on_step)
    accuracy = evaluate(settings, task, lm)
    progress.held_out = accuracy
    save_run(folder, settings, lm, optimizers, progress)
    export(folder / CHECKPOINT, lm, task)
    return accuracy


def _check_livable(settings: TrainSettings, task: Task) -> None:
    """Refuse a model of a task that talks if no agent could live with it.

    One that evicts nothing never sleeps: it is a control, and nobody takes it for more.
    """
    if not isinstance(task, TalkTask) or not settings.loop.evict:
        return
    if "G" not in settings.layers:
        problem = f"layers {settings.layers} have no fast weights to sleep into"
    elif settings.loop not in (Loop(), Loop(loop_input="rewrite")):
        problem = "an agent sleeps with the paper's loop, or with loop layers, and no other"
    else:
        return
    raise ConfigError(
        f"task {task.name} is for agents: {problem}",
        hint="Give a G layer, leave the loop as it is but for --loop-input rewrite, or train "
        "another task, such as depo.",
    )


def evaluate(settings: TrainSettings, task: Task, lm: SleepForCausalLM) -> dict[str, float]:
    """Return held-out accuracy for each number of passes, and without any memory."""
    batch = task.held_out(Random(settings.seed), EVALUATE).to(settings.device)
    lm.eval()
    with torch.no_grad():
        figures = {
            f"passes_{passes}": score(lm, batch, passes, loop=settings.loop).accuracy
            for passes in sorted({*settings.passes, 1})
        }
        blank = score(lm, batch, 1, loop=settings.loop, blank=True).accuracy
    return figures | {"blank": blank}


def held_out_by_depth(
    settings: TrainSettings, task: Task, lm: SleepForCausalLM
) -> dict[str, float]:
    """Return held-out accuracy at the most passes for each depth that the task knows."""
    batch = task.held_out(Random(settings.seed), EVALUATE).to(settings.device)
    if batch.depth is None:
        return {}
    lm.eval()
    with torch.no_grad():
        found = score(lm, batch, max(settings.passes), loop=settings.loop)
    lm.train()
    return {
        f"depth_{depth}": round(float(found.right[found.depth == depth].float().mean()), 4)
        for depth in found.depth.unique().tolist()
    }


def export(folder: Path, lm: SleepForCausalLM, task: Task) -> None:
    """Write a checkpoint that transformers reads, and an agent can live with if the task talks.

    The weights get their name last, so that a folder with weights is whole.
    """
    draft = folder.with_name(f"{folder.name}.tmp")
    for new in (draft, folder):
        new.mkdir(parents=True, exist_ok=True)
    if isinstance(task, TalkTask):
        chat = ChatTokens(task.tokenizer())
        for config in (lm.config, lm.generation_config):  # where `generate` stops
            config.eos_token_id, config.pad_token_id = chat.end, chat.pad
        save_tokenizer(task.tokenizer(), draft)
    try:
        with _without_bars():
            lm.save_pretrained(draft)
    except SafetensorError as problem:
        raise OSError(errno.EIO, str(problem), str(folder)) from problem
    for file in sorted(draft.iterdir(), key=lambda file: file.name == WEIGHTS):
        os.replace(file, folder / file.name)
    draft.rmdir()


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the bars of transformers off the screen."""
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _point(progress: Progress, loss: float) -> dict[str, float]:
    return {
        "step": progress.step,
        "stage": progress.stage,
        "loss": round(loss, 4),
        "accuracy": round(progress.accuracy, 4),
        "seconds": round(progress.seconds, 1),
    }
