"""Does retention tell the truth? Sleeps are damaged, measured, and asked what they kept.

The last sleep of a life moves the fast weights by a difference; a damaged one moves them by a part
of it. Measured is the same retention that the runtime reports, and the share of that episode's
facts that are still answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import mean
from typing import NamedTuple

import torch

from sleepmem.bench import DEFAULT_PASSES, Row
from sleepmem.bench.memory.spoken import answered, ids_of, living
from sleepmem.bench.memory.statistics import rank_correlation
from sleepmem.model.native import FastWeights, NativeSleepLM
from sleepmem.runtime.measure import loss_cached, loss_from
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Load, draw_life
from sleepmem.types import Role

SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)  # parts of the update that are kept
LOAD = Load(16, 4, ("single",), abstain=0)  # four facts to an episode
CUTS = (4, 8, 12)
GOAL = 0.6


class Damaged(NamedTuple):
    """A sleep of which a part was kept: its retention, and the recall of its episode's facts."""

    scale: float
    retention: float
    recall: float


def retention(lm: NativeSleepLM, seed: int, n_lives: int) -> list[Row]:
    """Return the rank correlation of retention and recall, and both at every scale.

    Without a sleep that can be measured there is no correlation, and the goal is missed.
    """
    rng = Random(f"memory {seed} damaged")
    found: list[Damaged] = []
    for _ in range(n_lives):
        found += _damaged(lm, draw_life(rng, Split.TEST, LOAD, CUTS))
    correlation = 0.0
    if found:
        kept = torch.tensor([sleep.retention for sleep in found])
        correlation = rank_correlation(kept, torch.tensor([sleep.recall for sleep in found]))
    holds = correlation >= GOAL
    name = "memory.retention.rank_correlation"
    row = Row(name, correlation, "Spearman", goal=GOAL, holds=holds)
    of_scales = [row for scale in SCALES if found for row in _of_scale(scale, found)]
    return [row, *_under_floor(lm.retention_floor, found), *of_scales]


def _under_floor(floor: float | None, found: Sequence[Damaged]) -> list[Row]:
    """Return which sleeps the model's own floor rejects: all that did nothing, and few others."""
    if floor is None or not found:
        return []
    nothing = mean(sleep.retention < floor for sleep in found if sleep.scale == 0)
    whole = mean(sleep.retention < floor for sleep in found if sleep.scale == 1)
    return [
        Row("memory.retention.floor", floor, "retention"),
        Row("memory.retention.zero_update_rejected", nothing, "fraction", goal=1.0,
            holds=nothing == 1),
        Row("memory.retention.whole_update_rejected", whole, "fraction"),
    ]  # fmt: skip


def _of_scale(scale: float, found: Sequence[Damaged]) -> list[Row]:
    sleeps = [sleep for sleep in found if sleep.scale == scale]
    kept = [sleep.retention for sleep in sleeps]
    name = f"memory.retention.update_{scale:g}"
    return [
        Row(name, mean(kept), "retention", lowest=min(kept), highest=max(kept)),
        Row(f"{name}.recall", mean(sleep.recall for sleep in sleeps), "fraction"),
    ]


def _damaged(lm: NativeSleepLM, life: Life) -> list[Damaged]:
    """Return the last sleep of a life at every scale; none where retention cannot be measured."""
    parent = living(lm, life.episodes[:-1], DEFAULT_PASSES)
    child = living(lm, life.episodes[-1:], DEFAULT_PASSES, parent)
    told = ids_of(lm, [line for line in life.episodes[-1] if line.role is Role.USER])
    first = loss_from(lm, parent, told)
    ceiling = first - loss_cached(lm, parent, told)
    if ceiling < 0.1:
        return []
    probes = [asked.probe for asked in life.asked if asked.episode == len(life.episodes) - 1]
    found = []
    for scale in SCALES:
        weights = _between(parent, child, scale)
        right = [answered(lm, weights, probe.question) == probe.answer for probe in probes]
        kept = (first - loss_from(lm, weights, told)) / ceiling
        found.append(Damaged(scale, kept, mean(right)))
    return found


def _between(parent: FastWeights, child: FastWeights, scale: float) -> FastWeights:
    return tuple(a + scale * (b - a) for a, b in zip(parent, child, strict=True))
