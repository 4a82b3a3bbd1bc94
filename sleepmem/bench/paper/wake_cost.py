"""Does a question cost the same after a long sleep as after a short one?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

import torch

from sleepmem.bench import Report, Row
from sleepmem.bench.paper.arms import Arm
from sleepmem.bench.paper.evaluate import load_arm
from sleepmem.model.network import SleepForCausalLM
from sleepmem.model.sleep import sleep
from sleepmem.train.tasks import find_task

GOAL = 1.05
N_ROUNDS, N_QUESTIONS = 300, 6  # interleaved rounds, questions in each


def wake_cost(folder: Path, arms: Mapping[str, Arm], report: Report) -> list[Row]:
    """Return the time of a wake token after N=4 over that after N=1, both of one thread.

    Args:
        arms: those whose run with seed 0 is there; no row if n1 or n4 is not among them.
    """
    if not {"n1", "n4"} <= set(arms):
        return []
    asked = [_ready(folder, arms[name], passes) for name, passes in (("n4", 4), ("n1", 1))]
    times: list[list[float]] = [[], []]
    for n in range(N_ROUNDS):
        for turn in (0, 1):
            place = (turn + n) % 2  # neither is always first
            times[place].append(_ask_s(*asked[place]))
        report("asking in turns", n / N_ROUNDS)
    long, short = (1000 * median(samples) / N_QUESTIONS for samples in times)
    # of pairs: a slow moment of the machine hits both of a pair, but not all pairs
    ratio = median(a / b for a, b in zip(*times, strict=True))
    return [Row("wake_cost_ratio", long, "ms/token", short, ratio, GOAL, ratio <= GOAL)]


Asleep = tuple[SleepForCausalLM, tuple[torch.Tensor, ...], torch.Tensor]


def _ready(folder: Path, arm: Arm, passes: int) -> Asleep:
    settings = arm.seeded(0)
    lm = load_arm(arm.folder(folder, 0), settings)
    batch = find_task(settings.task, settings.options).held_out(Random(0), 1)
    weights = lm.model.blank()
    with torch.no_grad():
        for ids, _ in batch.windows:
            weights = sleep(lm, weights, ids, passes)
    return lm, weights, batch.question_ids[0, :1]


@torch.no_grad()
def _ask_s(lm: SleepForCausalLM, weights: tuple[torch.Tensor, ...], ids: torch.Tensor) -> float:
    started = perf_counter()
    for _ in range(N_QUESTIONS):
        h, _ = lm.model(lm.embed(ids), lm.model.window_start(weights))
        lm.logits(h).argmax(-1)
    return perf_counter() - started
