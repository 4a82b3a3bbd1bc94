"""`sleepmem say`."""

from __future__ import annotations

import asyncio

import click

from sleepmem.cli.documents import reply_document, sleep_line
from sleepmem.cli.options import (
    Address,
    agent_option,
    common,
    pass_terminal,
    take_over_option,
    thread_option,
)
from sleepmem.cli.terminal import Terminal, read_stdin
from sleepmem.errors import InvalidMessage


@click.command()
@click.argument("text")
@agent_option()
@thread_option
@click.option("--system", metavar="TEXT", help="System prompt of the thread, kept from now on.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest reply, in tokens.")
@click.option("--request-id", metavar="ID", help="Say it once, however often this is run.")
@take_over_option
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
    take_over: bool,
) -> None:
    """Say TEXT to an agent and print its reply; `-` reads TEXT from stdin.

    An unknown agent is born.

    \b
    Example:
      sleepmem say --agent ana "My dog is called Rex."
    """
    if text == "-":
        text = typed_text()

    async def run() -> None:
        async with terminal.memory() as memory:
            agent = await terminal.agent(memory, address, take_over=take_over)
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


def typed_text() -> str:
    """Return what is on stdin, stripped.

    Raises:
        InvalidMessage: it is not UTF-8.
    """
    try:
        return read_stdin().decode().strip()
    except UnicodeDecodeError as problem:
        raise InvalidMessage(
            "what is on stdin is not UTF-8", hint="Convert it with iconv and try again."
        ) from problem
