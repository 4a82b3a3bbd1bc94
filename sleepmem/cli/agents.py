"""`sleepmem agents`."""

from __future__ import annotations

import asyncio

import click

from sleepmem.cli.documents import agent_document
from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.screen import print_table
from sleepmem.cli.terminal import Terminal
from sleepmem.types import AgentSummary


@click.command()
@common
@pass_terminal
def agents(terminal: Terminal) -> None:
    """List the agents of the database.

    \b
    Example:
      sleepmem agents --db agents.db
    """

    async def run() -> list[AgentSummary]:
        async with terminal.memory() as memory:
            return await memory.agents()

    found = asyncio.run(run())
    terminal.write_document({"agents": [agent_document(summary) for summary in found]})
    if terminal.as_json:
        return
    if not found:
        terminal.talk('no agent yet · Begin with: sleepmem say --agent NAME "..."')
        return
    print_table(
        ("agent", "branches", "#turns", "#episodes", "last turn"),
        [
            (
                summary.agent,
                ", ".join(summary.branches),
                str(summary.n_turns),
                str(summary.n_episodes),
                f"{summary.last_turn_at:%Y-%m-%d %H:%M}" if summary.last_turn_at else "-",
            )
            for summary in found
        ],
    )
