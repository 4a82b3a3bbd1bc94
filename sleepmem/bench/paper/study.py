"""One study from beginning to end: train or load, judge, make the table, draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from sleepmem.bench import Report, Row
from sleepmem.bench.figures import Curve, check_drawable, draw, over_seeds
from sleepmem.bench.paper.arms import Arm
from sleepmem.bench.paper.evaluate import Measured, commonest, load_arm, measure, runs_of
from sleepmem.bench.paper.report import depo_claims, rows_of, table_of
from sleepmem.bench.paper.scales import arms_of
from sleepmem.bench.paper.training import train_arms
from sleepmem.bench.paper.wake_cost import wake_cost
from sleepmem.errors import ConfigError
from sleepmem.train.runs import environment, read_record

DEPTH_IS = {"depo": "hops", "rule110": "steps of the automaton", "math": "operations"}
SHIPPED = Path(str(files("sleepmem"))) / "pretrained" / "paper"


@dataclass(frozen=True, slots=True)
class Request:
    """What to do.

    Attributes:
        study, scale: what is compared and how large; see `arms_of`.
        out: folder of runs, record and figures.
        pretrained: judge the checkpoints that come with the package instead of training.
        n_seeds: runs of each arm.
        steps: of each run, instead of what the study has.
        seed: of the contexts that the arms are judged on.
        n_contexts: for each of them.
        n_jobs: runs at a time; see `train_arms`.
    """

    study: str
    out: Path
    scale: str = "laptop"
    pretrained: bool = False
    n_seeds: int = 3
    steps: int | None = None
    seed: int = 0
    n_contexts: int = 400
    n_jobs: int | None = 1
    figures: bool = True

    @property
    def name(self) -> str:
        """Of the record and the figures; what was asked on the side overwrites no other."""
        kind = "pretrained" if self.pretrained else self.scale
        return self.study if kind == "laptop" else f"{self.study}-{kind}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out.

    Attributes:
        table: accuracy by depth, for people; the first line is the header.
        claims: rows beyond that table, some with goals.
        record: all of it, as it was written to disk.
        files: the record and the figures.
        notes: what a reader must know.
    """

    table: list[list[str]]
    claims: list[Row]
    record: dict[str, Any]
    files: list[Path]
    notes: list[str]


def run_study(request: Request, report: Report) -> Outcome:
    """Train or load the arms of a study, judge them, write the record, and draw.

    Raises:
        ConfigError: a run's folder holds something else, no checkpoint is shipped, or figures
            cannot be drawn, which is found out first.
        RunFailed: a run ended before its last step.
    """
    if request.pretrained and (request.scale != "laptop" or request.steps is not None):
        raise ConfigError(
            "the shipped checkpoints are of the laptop scale, with the steps of their study",
            hint="Leave --scale and --steps, or train without --pretrained.",
        )
    if request.figures:
        check_drawable()
    request.out.mkdir(parents=True, exist_ok=True)  # fails before the work, not after
    torch.set_num_threads(1)
    arms, notes = arms_of(request.study, request.scale, request.steps)
    seeds = range(request.n_seeds)
    folder = SHIPPED if request.pretrained else request.out / request.scale
    if not request.pretrained:
        train_arms(arms, seeds, folder, request.n_jobs, report)
    there = [(arm, seed) for arm in arms for seed in seeds if arm.folder(folder, seed).is_dir()]
    if not there:
        raise ConfigError(
            f"no checkpoints of the study {request.study!r} come with the package",
            hint="Train them: the same command without --pretrained.",
        )
    measured = _judge(there, folder, request, report)
    base = commonest(arms[0].settings, request.seed, request.n_contexts)
    claims: list[Row] = []
    if request.study == "depo" and request.scale != "paper":
        first = {arm.name: arm for arm, seed in there if seed == 0}
        claims = [*depo_claims(measured), *wake_cost(folder, first, report)]
    written = request.out / f"{request.name}.json"
    record = {
        "study": request.study,
        "scale": request.scale,
        "notes": notes,
        "depth_is": DEPTH_IS[arms[0].settings.task],
        "seed": request.seed,
        "n_contexts": request.n_contexts,
        "environment": environment(written),
        "arms": [_described(arm, seed, folder) for arm, seed in there],
        "commonest_answer": base,
        "measured": [asdict(m) for m in measured],
        "rows": [row.document() for row in (*rows_of(arms, measured), *claims)],
    }
    written.write_text(json.dumps(record, indent=1))
    drawn = _draw(request, arms, measured, record) if request.figures else []
    return Outcome(table_of(arms, measured, base), claims, record, [written, *drawn], notes)


def _judge(
    there: Sequence[tuple[Arm, int]], folder: Path, request: Request, report: Report
) -> list[Measured]:
    measured = []
    for n, (arm, seed) in enumerate(there):
        report(f"judging {arm.name} seed {seed}", n / len(there))
        settings = arm.seeded(seed)
        lm = load_arm(arm.folder(folder, seed), settings)
        for passes in arm.rows:
            right, asked = measure(lm, settings, passes, request.seed, request.n_contexts)
            measured.append(Measured(arm.study, arm.name, seed, passes, right, asked))
    return measured


def _described(arm: Arm, seed: int, folder: Path) -> dict[str, Any]:
    settings, progress, where = read_record(arm.folder(folder, seed))
    return {
        "arm": arm.name,
        "seed": seed,
        "says": arm.says,
        "steps": progress.step,
        "token_passes": progress.n_tokens,
        "seconds": round(progress.seconds),
        "trained": where,
        "settings": settings.model_dump(mode="json"),
        "curve": progress.curve,
    }


def _draw(
    request: Request, arms: Sequence[Arm], measured: Sequence[Measured], record: dict[str, Any]
) -> list[Path]:
    """Draw accuracy by depth for each N beside the controls, and how all of them learned."""
    dedicated: dict[str, Curve] = {}
    others: dict[str, Curve] = {}
    for arm in arms:
        for passes in arm.settings.passes:
            runs = runs_of(measured, arm.name, passes)
            if runs:
                is_one = len(arm.settings.passes) == 1
                label = arm.says if is_one else f"{arm.says}: N={passes}"
                depths = sorted(runs[0].asked)
                curve = {float(d): over_seeds([run.accuracy(d) for run in runs]) for d in depths}
                (dedicated if arm.is_dedicated or not is_one else others)[label] = curve
    panels = [("By passes in sleep", dedicated), ("Controls", others)]
    panels = [panel for panel in panels if panel[1]]
    base: dict[int, float] = record["commonest_answer"]
    learned = _learned(arms, record)
    steps = sorted({step for curve in learned.values() for step in curve})
    folder, name = request.out / "figures", request.name
    return [
        *draw(folder / name, panels, x=record["depth_is"],
              guessing={depth: base[depth] for depth in sorted(base)}),
        *draw(folder / f"{name}-learning", [("Deepest questions", learned)], x="training step",
              guessing={step: base[max(base)] for step in (steps[:1] + steps[-1:])}),
    ]  # fmt: skip


def _learned(arms: Sequence[Arm], record: dict[str, Any]) -> dict[str, Curve]:
    """Return held-out accuracy at the deepest questions over the steps of training."""
    says = {arm.name: arm.says for arm in arms}
    learned: dict[str, dict[float, list[float]]] = {}
    for run in record["arms"]:
        for point in run["curve"]:
            depths = [int(key[6:]) for key in point if key.startswith("depth_")]
            if depths:
                line = learned.setdefault(says[run["arm"]], {})
                line.setdefault(point["step"], []).append(point[f"depth_{max(depths)}"])
    return {
        label: {step: over_seeds(values) for step, values in line.items()}
        for label, line in learned.items()
    }
