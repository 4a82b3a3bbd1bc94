"""`sleepmem model`."""

from __future__ import annotations

from typing import Any

import click

from sleepmem.cli.documents import size
from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.screen import print_table
from sleepmem.cli.terminal import Terminal
from sleepmem.errors import CheckpointNotFound


@click.group()
def model() -> None:
    """List and show checkpoints: slow weights, config and tokenizer on disk.

    \b
    Example:
      sleepmem model show sleepmem/tiny-2
    """


@model.command("list")
@common
@pass_terminal
def list_(terminal: Terminal) -> None:
    """List the checkpoints that come with sleepmem.

    \b
    Example:
      sleepmem model list
    """
    from sleepmem.model.checkpoint import SHIPPED, checkpoint_folder

    found: list[dict[str, Any]] = []
    for name in SHIPPED:
        try:
            folder = checkpoint_folder(name)
        except CheckpointNotFound:
            continue  # installed without it
        n_bytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        found.append({"model": name, "folder": str(folder), "n_bytes": n_bytes})
    terminal.write_document({"models": found})
    if not terminal.as_json:
        rows = [(str(row["model"]), size(row["n_bytes"]), str(row["folder"])) for row in found]
        print_table(("model", "#size", "folder"), rows)


@model.command()
@click.argument("name", required=False)
@common
@pass_terminal
def show(terminal: Terminal, name: str | None) -> None:
    """Load the checkpoint NAME and show what it is; without NAME the one that would be used.

    \b
    Example:
      sleepmem model show runs/dialogues/checkpoint
    """
    from sleepmem.model.checkpoint import checkpoint_folder, load_checkpoint

    name = name or terminal.settings().model
    lm = load_checkpoint(name)
    shown: dict[str, Any] = {
        "model": name,
        "folder": str(checkpoint_folder(name)),
        "fingerprint": lm.fingerprint,
        "window": lm.window,
        "snapshot_n_bytes": len(lm.dump(lm.blank())),
        "numerics": dict(lm.numerics),
    }
    terminal.write_document(shown)
    for key, value in shown.items():
        terminal.write(f"{key.replace('_', ' ')}: {value}")
