"""`sleepmem log`."""

from __future__ import annotations

import asyncio
from collections import deque

import click

from sleepmem.cli.documents import entry_document
from sleepmem.cli.options import Address, agent_option, common, pass_terminal
from sleepmem.cli.terminal import Terminal
from sleepmem.history import LogEntry
from sleepmem.types import TurnState


@click.command()
@agent_option()
@click.option("--search", metavar="TEXT", help="Only messages that contain TEXT.")
@click.option("-n", "n_last", type=click.IntRange(min=1), help="Only the last N messages.")
@common
@pass_terminal
def log(terminal: Terminal, address: Address, search: str | None, n_last: int | None) -> None:
    """Show what an agent lived through, oldest first, word for word.

    \b
    Example:
      sleepmem log --agent ana --search Rex
    """

    async def run() -> list[LogEntry]:
        async with terminal.memory() as memory:
            entries = memory.log(address.agent, search=search)
            return list(deque([entry async for entry in entries], maxlen=n_last))

    entries = asyncio.run(run())
    terminal.write_document(
        {"agent": address.agent, "messages": [entry_document(entry) for entry in entries]}
    )
    if not terminal.as_json:
        for entry in entries:
            terminal.write(line_of(entry))


def line_of(entry: LogEntry) -> str:
    """Return one message for people; what never became part of an episode says so."""
    mark = "" if entry.state is TurnState.DONE else f" [{entry.state.value}]"
    return f"{entry.created_at:%Y-%m-%d %H:%M} {entry.thread} {entry.role}{mark}: {entry.content}"
