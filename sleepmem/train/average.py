"""The mean of the weights of runs of which each goes on from the one before it.

    python -m sleepmem.train.average runs/mean runs/chains=0.3 runs/whole=0.7

What a run forgot of the one that it went on from, their mean may hold, and what it learned too.
The folder is that of a finished run: it can be shipped, and gone on from by `--branch`.

Source: arXiv 1803.05407 (the mean of the weights along a run), arXiv 2203.05482 (of several).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sleepmem.errors import ConfigError
from sleepmem.train.loop import Progress, build_model
from sleepmem.train.run import CHECKPOINT, evaluate, export
from sleepmem.train.runs import MODEL, RECORD, claimed, environment, read_record
from sleepmem.train.tasks import find_task


def average(folder: Path, shares: Sequence[tuple[Path, float]]) -> Progress:
    """Write the mean of runs into a folder as a run that ended.

    Args:
        shares: runs, or checkpoints beside their records, oldest first, and how much each counts.

    Returns:
        Where the last of them stood, with the steps and shares of all.

    Raises:
        ConfigError: the shares are not those of a mean, a folder holds no run or one of another
            model, or `folder` holds a run already.
    """
    if not shares or not math.isclose(sum(share for _, share in shares), 1):
        raise ConfigError(
            f"shares of {' + '.join(f'{share:g}' for _, share in shares) or 'nothing'} are no mean",
            hint="Give each run as RUN=SHARE; together the shares are 1.",
        )
    records = [read_record(run) for run, _ in shares]
    settings, progress, _ = records[-1]
    task = find_task(settings.task, settings.options)
    lm = build_model(settings, task)
    shapes = {name: p.shape for name, p in lm.named_parameters()}
    lm.load_state_dict(_mean(shares, shapes), strict=False)  # a tied output layer is not in there
    steps = (progress.step for _, progress, _ in records)
    progress.averaged = [
        {"step": step, "share": share} for step, (_, share) in zip(steps, shares, strict=True)
    ]
    progress.held_out = evaluate(settings, task, lm)
    with claimed(folder):
        if (folder / RECORD).exists():
            raise ConfigError(f"{folder} holds a run already", hint="Name another folder.")
        export(folder / CHECKPOINT, lm, task)
        weights = {name: p.detach().contiguous() for name, p in lm.named_parameters()}
        (folder / MODEL).write_bytes(save(weights, {"step": str(progress.step)}))
        record = {
            "settings": settings.model_dump(mode="json") | {"steps": progress.step},
            "progress": asdict(progress),
            "environment": environment(),
        }
        (folder / RECORD).write_text(json.dumps(record, indent=1))
    return progress


def _mean(
    shares: Sequence[tuple[Path, float]], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    mean = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for run, share in shares:
        try:
            weights = load_file(run / MODEL)
        except (OSError, SafetensorError) as problem:
            raise ConfigError(
                f"{run / MODEL} cannot be read: {str(problem).splitlines()[0]}",
                hint="Name a folder that was given to sleepmem train --out.",
            ) from problem
        if {name: tensor.shape for name, tensor in weights.items()} != shapes:
            raise ConfigError(
                f"{run} is of another model than {shares[-1][0]}", hint="Leave it out of the mean."
            )
        for name, tensor in weights.items():
            mean[name] += share * tensor.float()
    return mean


if __name__ == "__main__":
    parted = (word.rpartition("=") for word in sys.argv[2:])
    average(Path(sys.argv[1]), [(Path(run), float(share)) for run, _, share in parted])
