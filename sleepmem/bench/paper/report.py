"""Rows of the table from what was measured: means over seeds, with the range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from sleepmem.bench import Row
from sleepmem.bench.paper.arms import Arm
from sleepmem.bench.paper.evaluate import Measured, runs_of

GAIN_GOAL = 60.0  # points that N=4 leads N=1 by
SHALLOW_GOAL = 0.97
SHALLOW = (1, 2)  # hops that every N must know


def rows_of(arms: Sequence[Arm], measured: Sequence[Measured]) -> list[Row]:
    """Return one row for each arm, number of passes and depth, in the order of the arms."""
    rows = []
    for arm in arms:
        for passes, template in arm.rows.items():
            runs = runs_of(measured, arm.name, passes)
            for depth in sorted({depth for run in runs for depth in run.asked}):
                name = template.format(depth=depth)
                rows.append(_mean_row(name, [run.accuracy(depth) for run in runs]))
    return rows


def table_of(
    arms: Sequence[Arm], measured: Sequence[Measured], commonest: Mapping[int, float]
) -> list[list[str]]:
    """Return the same as a table for people: a line for each arm and N, a column for each depth.

    A cell is the mean in percent, with the range over seeds if there are several.
    """
    depths = sorted({depth for m in measured for depth in m.asked})
    lines = [["", *(f"#{depth}" for depth in depths)]]
    for arm in arms:
        for passes in arm.rows:
            runs = runs_of(measured, arm.name, passes)
            if runs:
                is_own = arm.settings.passes == (passes,)
                says = arm.says if is_own else f"{arm.says}; asked at N={passes}"
                lines.append([says, *(_cell([run.accuracy(d) for run in runs]) for d in depths)])
    guessed = (_cell([commonest[depth]]) if depth in commonest else "" for depth in depths)
    return [*lines, ["always the commonest answer", *guessed]]


def _cell(values: Sequence[float]) -> str:
    middle, low, high = (f"{100 * x:.0f}" for x in (mean(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def depo_claims(measured: Sequence[Measured]) -> list[Row]:
    """Return what the issue of this benchmark is about: what sleep gains, and where it need not.

    Only runs of the same seed are compared with each other. There is nothing to say where one of
    the three models lacks, or contexts are so few that some depth was never asked.
    """
    by_arm = {
        (m.arm, m.seed): m for m in measured if m.arm in ("n1", "n2", "n4") and m.passes == _own(m)
    }
    seeds = sorted({seed for _, seed in by_arm})
    if any((arm, seed) not in by_arm for arm in ("n1", "n2", "n4") for seed in seeds):
        return []
    depths = sorted({depth for run in by_arm.values() for depth in run.asked})
    if not {*SHALLOW} <= {*depths}:
        return []
    rows = []
    for depth in depths:
        gains = [
            100 * (by_arm["n4", seed].accuracy(depth) - by_arm["n1", seed].accuracy(depth))
            for seed in seeds
        ]
        goal = GAIN_GOAL if depth in depths[-2:] else None
        value = mean(gains)
        holds = None if goal is None else value >= goal
        rows.append(
            Row(f"depo.gain_at_{depth}", value, "points", goal=goal, holds=holds,
                lowest=min(gains), highest=max(gains))
        )  # fmt: skip
    shallow = [run.accuracy(depth) for run in by_arm.values() for depth in SHALLOW]
    lowest = min(
        mean(by_arm[arm, seed].accuracy(depth) for seed in seeds)
        for arm in ("n1", "n2", "n4")
        for depth in SHALLOW
    )
    rows.append(
        Row("depo.shallow_min", lowest, "fraction", goal=SHALLOW_GOAL,
            holds=lowest >= SHALLOW_GOAL, lowest=min(shallow), highest=max(shallow))
    )  # fmt: skip
    return rows


def _own(measured: Measured) -> int:
    return int(measured.arm.removeprefix("n"))


def _mean_row(name: str, values: Sequence[float]) -> Row:
    return Row(name, mean(values), "fraction", lowest=min(values), highest=max(values))
