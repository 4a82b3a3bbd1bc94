"""`sleepmem pin`."""

from __future__ import annotations

import asyncio

import click

from sleepmem.cli.options import Address, agent_option, common, pass_terminal
from sleepmem.cli.terminal import Terminal
from sleepmem.types import Episode


@click.command()
@agent_option(episode=True)
@click.option("--remove", is_flag=True, help="Let gc drop it again.")
@common
@pass_terminal
def pin(terminal: Terminal, address: Address, remove: bool) -> None:
    """Keep the snapshot of one episode, whatever gc is told.

    \b
    Example:
      sleepmem pin --agent ana@12
    """
    if address.episode is None:
        raise click.BadParameter(
            f"{address.agent!r} names no episode; say which with AGENT@EPISODE",
            param_hint="'--agent'",
        )
    episode_name = address.episode

    async def run() -> Episode:
        async with terminal.memory() as memory:
            return await memory.pin(
                address.agent, episode_name, branch=address.branch, pinned=not remove
            )

    episode = asyncio.run(run())
    state = "pinned" if episode.pinned else "not pinned any more"
    terminal.write(f"episode {episode.index} of {address.agent} is {state}")
    if episode.pinned and episode.snapshot.dropped_at is not None:
        terminal.talk(
            "its snapshot was dropped before · Derive it again with: "
            f"sleepmem replay --agent {address.agent} --verify"
        )
    terminal.write_document(
        {
            "agent": address.agent,
            "episode": episode.id,
            "index": episode.index,
            "snapshot": episode.snapshot.digest,
            "pinned": episode.pinned,
        }
    )
