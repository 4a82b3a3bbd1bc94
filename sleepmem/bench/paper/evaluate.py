"""Accuracy of a trained arm by depth, on contexts that training never saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch

from sleepmem.errors import CheckpointInvalid
from sleepmem.model.checkpoint import read_weights
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.objective import score
from sleepmem.train.runs import read_record
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import Batch, find_task

PER_BATCH = 100  # contexts at a time; bounds memory, not the result


@dataclass(frozen=True, slots=True)
class Measured:
    """What one checkpoint did at one number of passes.

    Attributes:
        right, asked: for each depth, counts.
    """

    study: str
    arm: str
    seed: int
    passes: int
    right: dict[int, int]
    asked: dict[int, int]

    def accuracy(self, depth: int) -> float:
        return self.right[depth] / self.asked[depth]


def runs_of(measured: Sequence[Measured], arm: str, passes: int) -> list[Measured]:
    """Return what the seeds of an arm did at one number of passes."""
    return [m for m in measured if (m.arm, m.passes) == (arm, passes)]


def load_arm(folder: Path, expected: TrainSettings) -> SleepForCausalLM:
    """Return the network of a run's checkpoint, on the device that the arm is for.

    Raises:
        CheckpointInvalid: it was trained on another task, or in another way.
    """
    found, _, _ = read_record(folder)
    theirs, ours = found.model_dump(), expected.model_dump()
    different = [
        f"{name} {theirs[name]!r}, not {ours[name]!r}"
        for name in ours
        if theirs[name] != ours[name]
    ]
    if different:
        raise CheckpointInvalid(str(folder), f"it was trained with {'; '.join(different)}")
    return read_weights(folder / "checkpoint").eval().to(expected.device)


def measure(
    lm: SleepForCausalLM, settings: TrainSettings, passes: int, seed: int, n_contexts: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Return right and asked questions by depth, over fresh held-out contexts of `seed`."""
    right: dict[int, int] = {}
    asked: dict[int, int] = {}
    for batch in _contexts(settings, seed, n_contexts):
        with torch.no_grad():
            found = score(lm, batch.to(settings.device), passes, loop=settings.loop)
        for depth in found.depth.unique().tolist():
            here = found.right[found.depth == depth]
            right[depth] = right.get(depth, 0) + int(here.sum())
            asked[depth] = asked.get(depth, 0) + len(here)
    return right, asked


def commonest(settings: TrainSettings, seed: int, n_contexts: int) -> dict[int, float]:
    """Return by depth how often the commonest answer is right: what is known without reading.

    A question of several labels counts as one answer, as it does in `measure`.
    """
    answers: dict[int, Counter[tuple[int, ...]]] = {}
    for batch in _contexts(settings, seed, n_contexts):
        assert batch.depth is not None
        labels = batch.labels.flatten(0, 1).tolist()
        for depth, answer in zip(batch.depth.flatten().tolist(), labels, strict=True):
            answers.setdefault(depth, Counter())[tuple(answer)] += 1
    return {depth: found.most_common(1)[0][1] / found.total() for depth, found in answers.items()}


def _contexts(settings: TrainSettings, seed: int, n_contexts: int) -> Iterator[Batch]:
    """Yield what all arms of a task are judged on."""
    task = find_task(settings.task, settings.options)
    rng = Random(f"judge:{seed}")
    for start in range(0, n_contexts, PER_BATCH):
        yield task.held_out(rng, min(PER_BATCH, n_contexts - start))
