"""`sleepmem train`: train a checkpoint, or resume a run that was cut short."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.terminal import Terminal

if TYPE_CHECKING:
    from sleepmem.train.loop import Progress

DESCRIBE_EVERY = 100  # steps between lines when nobody watches


def _passes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        passes = tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers like 1,2,4") from error
    if min(passes) < 1:
        raise click.BadParameter("passes are at least 1")
    return passes


@click.command()
@click.argument("task")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--steps", type=click.IntRange(1), default=4000, show_default=True)
@click.option("--passes", default="1,2,4", show_default=True, callback=_passes,
              help="Drawn from for each batch.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=12, show_default=True)
@click.option("--layers", default="AG", show_default=True, help="A attention, G gated delta rule.")
@click.option("--hidden-size", type=click.IntRange(8), default=128, show_default=True)
@click.option("--heads", "n_heads", type=click.IntRange(1), default=2, show_default=True,
              help="Of each recurrent layer.")  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@common
@pass_terminal
def train(terminal: Terminal, /, out: Path, **given: Any) -> None:
    """Train TASK into --out/checkpoint; the same command again resumes it.

    A run is saved every minute. One that was cut short and resumed ends with the same weights as
    an unbroken one.

    \b
    Example:
      sleepmem train facts --out runs/facts --steps 4000
    """
    from sleepmem.train.settings import checked_settings

    settings = checked_settings(given)
    from sleepmem.train.run import CHECKPOINT, run

    with _report(settings.steps) as report:
        accuracy = run(settings, out, report)
    for name, value in accuracy.items():
        terminal.write(f"{name:<10} {value:.3f}")
    document = {"task": settings.task, "checkpoint": str(out / CHECKPOINT), "held_out": accuracy}
    terminal.write_document(document)


@contextmanager
def _report(steps: int) -> Iterator[Callable[[Progress, float], None]]:
    """Show a bar while somebody watches, else a line now and then, on stderr."""
    if not sys.stderr.isatty():
        yield _print_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(file=sys.stderr)) as bar:
        shown = bar.add_task("", total=steps)
        yield lambda progress, loss: bar.update(
            shown, completed=progress.step, description=_described(progress, loss)
        )


def _print_line(progress: Progress, loss: float) -> None:
    if progress.step % DESCRIBE_EVERY == 0:
        line = f"step {progress.step} {_described(progress, loss)} {progress.seconds:.0f} s"
        click.echo(line, err=True)


def _described(progress: Progress, loss: float) -> str:
    return f"stage {progress.stage} loss {loss:.3f} accuracy {progress.accuracy:.3f}"
