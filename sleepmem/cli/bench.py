"""`sleepmem bench`: measure what is claimed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from sleepmem.bench import BENCHMARKS, Row, run_benchmark
from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.screen import print_table
from sleepmem.cli.terminal import Terminal


@click.command()
@click.argument("name", type=click.Choice(sorted(BENCHMARKS)))
@click.option("--seed", type=int, default=0, show_default=True)
@common
@pass_terminal
def bench(terminal: Terminal, name: str, seed: int) -> None:
    """Measure NAME and compare each figure with its goal; exit 1 if one does not hold.

    \b
    Example:
      sleepmem bench wake
    """
    from sleepmem.train.runs import environment

    with _shown() as report:
        rows = run_benchmark(name, terminal.settings().model, seed, report)
    terminal.write_document(
        {"bench": name, "environment": environment(), "rows": [row.document() for row in rows]}
    )
    if not terminal.as_json:
        columns = ["what", "#value", "unit", "spread", "#reference", "#ratio", "#goal", "holds"]
        print_table(columns, [_cells(row) for row in rows])
    if any(row.holds is False for row in rows):
        click.get_current_context().exit(1)


def _cells(row: Row) -> list[str]:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    holds = {True: "yes", False: "no", None: ""}[row.holds]
    figures = (shown(row.reference), shown(row.ratio), shown(row.goal))
    value = str(int(row.value)) if row.value == int(row.value) else shown(row.value)
    spread = "" if row.lowest is None else f"{shown(row.lowest)} to {shown(row.highest)}"
    return [row.name, value, row.unit, spread, *figures, holds]


@contextmanager
def _shown() -> Iterator[Callable[[str, float], None]]:
    """Show a bar on stderr while somebody watches."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
