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


def _options(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, int | str]:
    options: dict[str, int | str] = {}
    for pair in value:
        name, equals, text = pair.partition("=")
        if not (name and equals and text):
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        try:
            options[name] = int(text)
        except ValueError:
            options[name] = text
    return options


def _setting(
    kind: click.ParamType[Any], *names: str, **more: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(*names, type=kind, show_default=True, **more)


@click.command()
@click.argument("task")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--branch", type=click.Path(path_type=Path), metavar="RUN",
              help="Go on from where another run stands, with these settings.")  # fmt: skip
@click.option("--set", "options", metavar="NAME=VALUE", multiple=True, callback=_options,
              help="A size of the task, such as nodes=16; may be given often.")  # fmt: skip
@_setting(click.IntRange(1), "--steps", default=4000)
@click.option("--passes", default="1,2,4", show_default=True, callback=_passes,
              help="Drawn from for each batch; one number is a fixed N.")  # fmt: skip
@_setting(click.IntRange(0), "--shallow", default=0,
          help="Steps at the start that take the fewest passes alone.")  # fmt: skip
@_setting(click.INT, "--seed", default=0)
@_setting(click.Choice(["adamw", "muon"]), "--optimizer", default="adamw",
          help="muon takes AdamW for all but the matrices of the blocks.")  # fmt: skip
@_setting(click.FloatRange(0, min_open=True), "--lr", default=2e-3, help="Peak, of AdamW.")
@_setting(click.FloatRange(0, min_open=True), "--muon-lr", default=2e-3, help="Peak, of Muon.")
@_setting(click.IntRange(1), "--decay", default=None,
          help="Steps at the end over which both fall. [all after the warm-up]")  # fmt: skip
@_setting(click.IntRange(1), "--batch", default=12, help="Contexts in a step.")
@_setting(click.Choice(["gated", "forced"]), "--curriculum", default="gated",
          help="Open a stage when the one before is learned, or evenly.")  # fmt: skip
@_setting(click.FloatRange(0, 1, min_open=True), "--gate", default=0.85,
          help="Accuracy that opens the next stage, if gated.")  # fmt: skip
@_setting(click.FloatRange(0), "--speech", default=0.0,
          help="Weight of the loss on every token of a window, read awake.")  # fmt: skip
@_setting(click.FloatRange(0), "--forcing", default=0.0,
          help="Weight of the loss on what passes hand on to each other, where known.")  # fmt: skip
@click.option("--loop-alone", is_flag=True, help="Train loop layers by that loss alone.")
@_setting(click.IntRange(0), "--forcing-from", default=0,
          help="Step from which fewer sleeps write what was to be handed on.")  # fmt: skip
@_setting(click.IntRange(0), "--forcing-to", default=0, help="Step from which none does.")
@_setting(click.IntRange(1), "--backward", default=None,
          help="Windows at the end of a life that gradients flow through. [all]")  # fmt: skip
@_setting(click.IntRange(1), "--window", default=None,
          help="Tokens a model is made for; by default the task's longest.")  # fmt: skip
@_setting(click.STRING, "--layers", default="AG", help="A attention, G gated delta rule.")
@_setting(click.IntRange(8), "--hidden-size", default=128)
@_setting(click.IntRange(8), "--intermediate-size", default=256)
@_setting(click.IntRange(1), "--attention-heads", "n_attention_heads", default=4)
@_setting(click.IntRange(0), "--attention-conv", default=0,
          help="Tokens of the short convolution before attention; 0 is none.")  # fmt: skip
@_setting(click.IntRange(1), "--heads", "n_heads", default=2, help="Of each recurrent layer.")
@_setting(click.IntRange(1), "--d-k", default=64, help="Key size of such a head.")
@_setting(click.IntRange(1), "--d-v", default=64, help="Value size of such a head.")
@click.option("--tied/--untied", default=True, show_default=True,
              help="Output layer and embedding are one.")  # fmt: skip
@_setting(click.FloatRange(0, min_open=True), "--embedding-std", default=0.1,
          help="Of fresh embeddings.")  # fmt: skip
@_setting(click.FloatRange(0, min_open=True), "--linear-gain", default=1.0,
          help="Of fresh linear layers; 1 keeps the variance.")  # fmt: skip
@_setting(click.IntRange(0), "--loop-layers", default=0,
          help="Attention layers between passes, for --loop-input rewrite.")  # fmt: skip
@_setting(click.Choice(["carry", "embed", "inject", "rewrite"]), "--loop-input", default="carry",
          help="What later passes read; carry is the paper's.")  # fmt: skip
@_setting(click.Choice(["carry", "reset"]), "--loop-state", default="carry",
          help="Fast weights that later passes start from.")  # fmt: skip
@_setting(click.IntRange(1), "--wake-passes", default=1, help="Passes over a question.")
@click.option("--evict/--no-evict", default=True, show_default=True,
              help="Without: no sleep, all windows stay in the KV cache.")  # fmt: skip
@_setting(click.Choice(["cpu", "cuda"]), "--device", default="cpu")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16.")
@common
@pass_terminal
def train(terminal: Terminal, /, out: Path, branch: Path | None, **given: Any) -> None:
    """Train TASK into --out/checkpoint; the same command again resumes it.

    A run is saved every minute. One that was cut short and resumed ends with the same weights as
    an unbroken one.

    \b
    Example:
      sleepmem train dialogues --out runs/dialogues --steps 8000
      sleepmem train depo --set nodes=16 --set hops=10 --passes 4 --out runs/depo-n4
    """
    from sleepmem.train.settings import checked_settings

    names = ("loop_input", "loop_state", "wake_passes", "evict")
    loop = {name: given.pop(name) for name in names}
    settings = checked_settings({**given, "loop": loop})
    from sleepmem.train.run import CHECKPOINT, run

    with _report(settings.steps) as report:
        accuracy = run(settings, out, report, branch=branch)
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
