"""The mean of the slow weights of runs, each of which goes on from the one before it.

    python -m sleepmem.train.average --out runs/mean runs/chains=0.2 runs/whole=0.8

What a run forgot of the one that it went on from, their mean may hold, and what it learned too.
It is a run that ended: it can be shipped, gone on from by `--branch`, and averaged again.

Sources: arXiv 1803.05407 (the mean along a run), arXiv 2109.01903 (of a model and what it became).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import click
import torch

from sleepmem.errors import ConfigError, SleepmemError
from sleepmem.train.loop import Progress, build_model
from sleepmem.train.run import CHECKPOINT, evaluate, export
from sleepmem.train.runs import LOCK, claimed, read_record, read_run, save_ended
from sleepmem.train.tasks import find_task

Shares = Sequence[tuple[Path, float]]


def average(folder: Path, shares: Shares) -> Progress:
    """Write the mean of runs into a folder, and its checkpoint.

    Args:
        folder: new or empty.
        shares: runs, or checkpoints beside their records, oldest first, and how much each counts.

    Returns:
        Where the last of them stood, with the steps and shares of all.

    Raises:
        ConfigError: the shares are not those of a mean; one of them is no run, of another model,
            or does not go on from the one before it; `folder` holds something.
    """
    _check_shares(shares)
    with claimed(folder):
        if {path.name for path in folder.iterdir()} > {LOCK}:
            raise ConfigError(f"{folder} is not empty", hint="Name another folder.")
        settings, _, trained_in = read_record(shares[-1][0])
        task = find_task(settings.task, settings.options)
        lm = build_model(settings, task)
        mean = {name: torch.zeros_like(p.data) for name, p in lm.named_parameters()}
        line: list[Progress] = []
        for run, share in shares:
            line.append(read_run(run, lm)[1])
            for name, p in lm.named_parameters():
                mean[name] += share * p.data
        lm.load_state_dict(mean, strict=False)  # a tied output layer is not in there
        progress = _went_on(shares, line)
        progress.held_out = evaluate(settings, task, lm)
        export(folder / CHECKPOINT, lm, task)
        ended = settings.model_copy(update={"steps": progress.step})
        save_ended(folder, ended, lm, progress, trained_in)
    return progress


def _check_shares(shares: Shares) -> None:
    each = [share for _, share in shares]
    if not each or min(each) <= 0 or not math.isclose(sum(each), 1):
        raise ConfigError(
            f"shares of {' + '.join(f'{share:g}' for share in each) or 'nothing'} are no mean",
            hint="Give each run as RUN=SHARE: all above 0, and 1 together.",
        )


def _went_on(shares: Shares, line: Sequence[Progress]) -> Progress:
    """Return the progress of the last run, with the shares of all; those of means are shared out.

    Raises:
        ConfigError: one of them does not go on from the one before it.
    """
    for n, (earlier, later) in enumerate(pairwise(line)):
        begun = later.curve[: len(earlier.curve)]
        if earlier.step >= later.step or earlier.curve != begun:
            raise ConfigError(
                f"{shares[n + 1][0]} does not go on from {shares[n][0]}",
                hint="Give runs of which each was branched from the one before it, oldest first.",
            )
    progress = line[-1]
    progress.averaged = [
        part | {"share": share * part["share"]}
        for (_, share), stood in zip(shares, line, strict=True)
        for part in stood.averaged or [{"step": stood.step, "share": 1.0}]
    ]
    return progress


def _share(word: str) -> tuple[Path, float]:
    run, _, share = word.rpartition("=")
    try:
        return Path(run), float(share)
    except ValueError as problem:
        raise click.BadParameter(f"{word!r} is not RUN=SHARE") from problem


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN=SHARE...")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
def main(runs: tuple[str, ...], out: Path) -> None:
    """Write the mean of runs, oldest first, into --out."""
    try:
        progress = average(out, [_share(word) for word in runs])
    except SleepmemError as problem:
        raise click.ClickException(f"{problem}. {problem.hint}") from problem
    for name, accuracy in progress.held_out.items():
        click.echo(f"{name:<10} {accuracy:.3f}")


if __name__ == "__main__":
    main()
