"""`sleepmem say`."""

from __future__ import annotations

import asyncio
import sys

import click

from sleepmem.cli.documents import reply_document, sleep_line
from sleepmem.cli.options import Address, agent_option, common, pass_terminal, thread_option
from sleepmem.cli.terminal import Terminal


@click.command()
@click.argument("text")
@agent_option()
@thread_option
@click.option("--system", metavar="TEXT", help="System prompt of the thread, kept from now on.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest reply, in tokens.")
@click.option("--request-id", metavar="ID", help="Say it once, however often this is run.")
@common
@pass_terminal
def say(
    terminal: Terminal,
    text: str,
    address: Address,
    thread: str,
    system: str | None,
    max_tokens: int | None,
    request_id: str | None,
) -> None:
    """Say TEXT to an agent and print its reply; `-` reads TEXT from stdin.

    An unknown agent is born.

    \b
    Example:
      sleepmem say --agent ana "My dog is called Rex."
    """
    if text == "-":
        text = sys.stdin.read().strip()

    async def run() -> None:
        async with terminal.memory() as memory:
            agent = await memory.agent(address.agent, branch=address.branch)
            speaker = agent.thread(thread, system=system)
            stream = speaker.stream(text, request_id=request_id, max_tokens=max_tokens)
            async with stream:  # an interrupted turn is aborted before the memory closes
                async for piece in stream:
                    terminal.write(piece, end="")
            terminal.write()
            for report in stream.reply.sleeps:
                terminal.talk(sleep_line(report))
            terminal.write_document(reply_document(stream.reply))

    asyncio.run(run())
