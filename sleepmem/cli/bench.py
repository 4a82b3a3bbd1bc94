"""`sleepmem bench`: measure what is claimed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.screen import print_table
from sleepmem.cli.terminal import Terminal

if TYPE_CHECKING:
    from sleepmem.bench import Row

STUDIES = ("depo", "elastic", "ablations", "windows", "large", "rule110", "math")
PHASES = ("both", "kills", "quiet")
SCALES = ("laptop", "paper", "smoke")


@click.group()
def bench() -> None:
    """Measure, and compare each figure with its goal; exit 1 if one does not hold.

    \b
    Example:
      sleepmem bench wake
      sleepmem bench paper --pretrained
    """


seed_option = click.option("--seed", type=int, default=0, show_default=True)
figures_option = click.option("--figures/--no-figures", default=True, show_default=True)


@bench.command()
@seed_option
@common
@pass_terminal
def wake(terminal: Terminal, seed: int) -> None:
    """Does a wake token cost the same however long the life was, and is it fast enough?"""
    from sleepmem.bench.wake import wake as measured
    from sleepmem.model.checkpoint import checkpoint_folder, fingerprint
    from sleepmem.train.runs import environment

    model = terminal.settings().model
    with _shown() as report:
        rows = measured(model, seed, report)
    document = {
        "bench": "wake",
        "model": model,
        "fingerprint": fingerprint(checkpoint_folder(model)),
        "seed": seed,
        "environment": environment(),
        "rows": [row.document() for row in rows],
    }
    terminal.write_document(document)
    if not terminal.as_json:
        _print_rows(rows)
    _exit(rows)


@bench.command()
@seed_option
@click.option("--size", type=click.Choice(["full", "small"]), default="full", show_default=True,
              help="full takes some minutes; small only shows that it works.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="runs/runtime",
              show_default=True, help="Folder of the record, on the disk to measure.")  # fmt: skip
@common
@pass_terminal
def runtime(terminal: Terminal, /, **given: Any) -> None:
    """Is waking flat, sleep cheap, a restart quick, a commit shared, a resting agent small?

    Each figure is measured in turns with what it is compared with.

    \b
    Example:
      sleepmem bench runtime
      sleepmem bench runtime --size small --out /tmp/runtime
    """
    from sleepmem.bench.runtime.suite import Request, run_runtime

    with _shown() as report:
        outcome = run_runtime(Request(terminal.settings().model, **given), report)
    terminal.write_document({"bench": "runtime", **outcome.record})
    if not terminal.as_json:
        _print_rows(outcome.rows)
    terminal.talk(f"wrote {outcome.path}")
    _exit(outcome.rows)


@bench.command()
@seed_option
@click.option("--lives", "n_lives", type=click.IntRange(2), default=200, show_default=True,
              help="Judged by kind; by age a quarter of them, by load an eighth.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="runs/memory",
              show_default=True, help="Folder of record and figures.")  # fmt: skip
@click.option("--without", multiple=True,
              type=click.Choice(["passes1_steps", "passes1_compute", "attention"]),
              help="A checkpoint it is not to be compared with; may be given often.")  # fmt: skip
@figures_option
@common
@pass_terminal
def memory(terminal: Terminal, /, **given: Any) -> None:
    """What is remembered: by kind, sleeps ago, load and passes, beside what it is compared with?

    Stored checkpoints answer questions on lives whose wordings and entities training never saw.

    \b
    Example:
      sleepmem bench memory
      sleepmem bench memory --lives 24 --no-figures
    """
    from sleepmem.bench.memory.study import Request, run_memory

    with _shown() as report:
        outcome = run_memory(Request(terminal.settings().model, **given), report)
    terminal.write_document({"bench": "memory", **outcome.record})
    if not terminal.as_json:
        header, *lines = outcome.table
        print_table(header, lines)
        for rows in (outcome.claims, outcome.others):
            terminal.write()
            _print_rows(rows)
    for path in outcome.files:
        terminal.talk(f"wrote {path}")
    _exit(outcome.claims)


@bench.command()
@click.option("--study", type=click.Choice(STUDIES), default="depo", show_default=True)
@click.option("--scale", type=click.Choice(SCALES), default="laptop", show_default=True,
              help="paper needs a GPU, else it is shortened; smoke is always.")  # fmt: skip
@click.option("--pretrained", is_flag=True, help="Judge the shipped checkpoints; train nothing.")
@click.option("--seeds", "n_seeds", type=click.IntRange(1), default=3, show_default=True,
              help="Runs of each arm.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Of each run. [those of the study]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the judged contexts.")
@click.option("--contexts", "n_contexts", type=click.IntRange(1), default=400, show_default=True,
              help="Judged, for each arm and number of passes.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="runs/paper",
              show_default=True, help="Folder of runs, record and figures.")  # fmt: skip
@click.option(
    "--jobs", "n_jobs", type=click.IntRange(1), help="Runs at a time. [cores; 1 on a GPU]"
)
@figures_option
@common
@pass_terminal
def paper(terminal: Terminal, /, **given: Any) -> None:
    """Does sleep help? Train the paper's comparison, or judge what was trained.

    Runs are resumed where they were cut short; finished ones are not trained again.

    \b
    Example:
      sleepmem bench paper --pretrained
      sleepmem bench paper --study windows --seeds 1
    """
    from sleepmem.bench.paper.study import Request, run_study

    with _shown() as report:
        outcome = run_study(Request(**given), report)
    terminal.write_document({"bench": "paper", **outcome.record})
    for note in outcome.notes:
        terminal.talk(note)
    if not terminal.as_json:
        header, *lines = outcome.table
        header[0] = f"% answered exactly, by {outcome.record['depth_is']}"
        print_table(header, lines)
        if outcome.claims:
            terminal.write()
            _print_rows(outcome.claims)
    for path in outcome.files:
        terminal.talk(f"wrote {path}")
    _exit(outcome.claims)


@bench.command()
@click.option("--phase", type=click.Choice(PHASES), default=PHASES[0], show_default=True,
              help="With SIGKILLs, without, or one after the other.")  # fmt: skip
@click.option("--messages", "n_messages", type=click.IntRange(1),
              help="Of each phase. [20,000 with kills, 50,000 without]")  # fmt: skip
@click.option("--agents", "n_agents", type=click.IntRange(1), default=50, show_default=True)
@click.option("--real", is_flag=True, help="With the checkpoint, not with a model that is quick.")
@seed_option
@common
@pass_terminal
def soak(terminal: Terminal, /, real: bool, **given: Any) -> None:
    """Live long and be killed: is anything lost, read twice, or never given back?

    Agents are born for it and deleted again; without --db, in a database of their own. If a
    promise is broken they stay, to be looked at.

    \b
    Example:
      sleepmem bench soak
      sleepmem bench soak --phase kills --messages 2000 --db postgresql://localhost/agents
    """
    from sleepmem.bench.soak.study import Request, run_soak

    settings = terminal.settings() if real or terminal.db else None
    db = settings.database() if settings and terminal.db else None
    model = settings.model if settings and real else None
    with _shown() as report:
        outcome = run_soak(Request(db=db, model=model, **given), report)
    terminal.write_document({"bench": "soak", **outcome.record})
    if not terminal.as_json:
        _print_rows(outcome.rows)
    if outcome.kept:
        terminal.talk(f"what was lived is kept in {outcome.kept}")
    _exit(outcome.rows)


def _print_rows(rows: Sequence[Row]) -> None:
    columns = [
        "what",
        "#value",
        "unit",
        "spread",
        "#reference",
        "#ratio or difference",
        "#goal",
        "holds",
    ]
    print_table(columns, [_cells(row) for row in rows])


def _exit(rows: Sequence[Row]) -> None:
    if any(row.holds is False for row in rows):
        click.get_current_context().exit(1)


def _cells(row: Row) -> list[str]:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    holds = {True: "yes", False: "no", None: ""}[row.holds]
    compared = row.ratio if row.difference is None else row.difference
    figures = (shown(row.reference), shown(compared), shown(row.goal))
    value = str(int(row.value)) if row.value == int(row.value) else shown(row.value)
    spread = "" if row.lowest is None else f"{shown(row.lowest)} to {shown(row.highest)}"
    return [row.name, value, row.unit, spread, *figures, holds]


@contextmanager
def _shown() -> Iterator[Callable[[str, float], None]]:
    """Show a bar on stderr while somebody watches, else a line for each tenth."""
    if not sys.stderr.isatty():
        told = [0]

        def tell(what: str, share: float) -> None:
            if int(10 * share) != told[0]:
                told[0] = int(10 * share)
                click.echo(f"{what}, {share:.0%}", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
