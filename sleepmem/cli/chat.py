"""`sleepmem chat`."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from sleepmem.cli.documents import reply_document, sleep_document, sleep_line
from sleepmem.cli.options import (
    Address,
    agent_option,
    common,
    pass_terminal,
    take_over_option,
    thread_option,
)
from sleepmem.cli.terminal import Terminal
from sleepmem.errors import SleepmemError

if TYPE_CHECKING:
    from sleepmem.runtime.agent import AgentThread

COMMANDS = "/sleep, /task (the task ended), /quit"


@click.command()
@agent_option()
@thread_option
@click.option("--system", metavar="TEXT", help="System prompt of the thread, kept from now on.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest reply, in tokens.")
@take_over_option
@common
@pass_terminal
def chat(
    terminal: Terminal,
    address: Address,
    thread: str,
    system: str | None,
    max_tokens: int | None,
    take_over: bool,
) -> None:
    """Talk with an agent, line by line; /sleep, /task and /quit are commands.

    An unknown agent is born. The end of stdin ends the chat, so it can be piped.

    \b
    Example:
      sleepmem chat --agent ana
    """

    async def run() -> list[dict[str, Any]]:
        async with terminal.memory() as memory:
            agent = await terminal.agent(memory, address, take_over=take_over)
            chatting = Chat(terminal, agent.thread(thread, system=system), max_tokens)
            await chatting.run()
            return chatting.turns

    terminal.write_document({"agent": address.agent, "turns": asyncio.run(run())})


class Chat:
    """One sitting: reads lines, streams replies, tells of sleeps."""

    def __init__(self, terminal: Terminal, speaker: AgentThread, max_tokens: int | None) -> None:
        self.terminal, self.speaker, self.max_tokens = terminal, speaker, max_tokens
        self.is_watched = sys.stdin is not None and sys.stdin.isatty()
        self.turns: list[dict[str, Any]] = []

    async def run(self) -> None:
        if self.is_watched:
            self.terminal.talk(f"Type a message, or {COMMANDS}.")
        self._prompt()
        async for line in typed_lines():
            if line == "/quit":
                break
            try:
                await self._answer(line)
            except SleepmemError as error:
                if not self.is_watched:
                    raise
                self.terminal.fail(error, error.hint)
            self._prompt()
        else:
            if self.is_watched:
                self.terminal.talk("")  # the end of stdin leaves the cursor behind the prompt

    def _prompt(self) -> None:
        if self.is_watched:
            click.echo("> ", nl=False, err=True)

    async def _answer(self, line: str) -> None:
        if line == "/sleep":
            report = await self.speaker.sleep()
            self.terminal.talk(sleep_line(report))
            self.turns.append({"command": line, "sleeps": [sleep_document(report)]})
        elif line == "/task":
            ended = await self.speaker.end_task()
            self.terminal.talk(sleep_line(ended) if ended else "task ended; no sleep was due")
            reports = [sleep_document(ended)] if ended else []
            self.turns.append({"command": line, "sleeps": reports})
        elif line.startswith("/"):
            self.terminal.talk(f"no command {line.split()[0]}; there are {COMMANDS}")
        elif line:
            await self._say(line)

    async def _say(self, line: str) -> None:
        stream = self.speaker.stream(line, max_tokens=self.max_tokens)
        async with stream:  # an interrupted turn is aborted before the memory closes
            async for piece in stream:
                self.terminal.write(piece, end="")
        self.terminal.write()
        for report in stream.reply.sleeps:
            self.terminal.talk(sleep_line(report))
        self.turns.append({"message": line, **reply_document(stream.reply)})


async def typed_lines() -> AsyncIterator[str]:
    """Yield the lines of stdin, stripped, while the event loop stays free.

    A thread reads them, since a pending read cannot be cancelled. It reads unbuffered: a daemon
    thread that holds the buffer's lock would break the interpreter's shutdown.
    """
    if sys.stdin is None:  # closed before the start
        return
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    wanted = threading.Semaphore(0)
    encoding = sys.stdin.encoding or "utf-8"
    source = _unbuffered_stdin()

    def read() -> None:
        while wanted.acquire():
            data = source.readline()
            line = data.decode(encoding, errors="replace").strip() if data else None
            try:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            except RuntimeError:  # the loop closed while the read was pending
                return
            if line is None:
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while True:
        wanted.release()
        line = await lines.get()
        if line is None:
            return
        yield line


def _unbuffered_stdin() -> BinaryIO:
    try:
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    except OSError:  # not a real file, as in tests
        return sys.stdin.buffer
