"""`sleepmem import`: all of a file is checked before the first message of it is lived."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from sleepmem.cli.documents import sleep_document, sleep_line
from sleepmem.cli.options import (
    Address,
    agent_option,
    common,
    pass_terminal,
    take_over_option,
    thread_option,
)
from sleepmem.cli.screen import progress
from sleepmem.cli.terminal import Terminal, read_stdin
from sleepmem.errors import ImportFileError, InvalidMessage
from sleepmem.runtime.incoming import checked_messages
from sleepmem.types import Message, Role, SleepReport


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@agent_option()
@thread_option
@click.option("--end-task", is_flag=True, help="End the task after the last message.")
@take_over_option
@common
@pass_terminal
def import_file(
    terminal: Terminal,
    file: str,
    address: Address,
    thread: str,
    end_task: bool,
    take_over: bool,
) -> None:
    """Let an agent live through FILE as it stands; nothing is generated.

    FILE holds {"role": ..., "content": ...} objects, one a line, or one JSON array of them; `-`
    is stdin. It is checked as a whole before the first message is lived.

    \b
    Example:
      sleepmem import --agent ana talks.jsonl
    """
    if file == "-":
        messages = read_messages("stdin", read_stdin())
    else:
        messages = read_messages(file, Path(file).read_bytes())
    turns = list(split_turns(messages))

    async def run() -> list[SleepReport]:
        sleeps: list[SleepReport] = []
        async with terminal.memory() as memory:
            agent = await terminal.agent(memory, address, take_over=take_over)
            listener = agent.thread(thread)
            with progress("import", len(turns)) as step:
                for turn in turns:
                    sleeps.extend(await listener.observe(turn))
                    step()
            if end_task and (report := await listener.end_task()):
                sleeps.append(report)
        return sleeps

    sleeps = asyncio.run(run())
    for report in sleeps:
        terminal.talk(sleep_line(report))
    terminal.write(f"{address.agent} lived through {len(messages)} messages")
    terminal.write_document(
        {
            "agent": address.agent,
            "thread": thread,
            "n_messages": len(messages),
            "n_turns": len(turns),
            "sleeps": [sleep_document(report) for report in sleeps],
        }
    )


def split_turns(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Yield the messages in turns: a turn begins where a user speaks after somebody else."""
    turn: list[Message] = []
    for message in messages:
        if turn and message.role is Role.USER and turn[-1].role is not Role.USER:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def read_messages(path: str, data: bytes) -> list[Message]:
    """Return the messages of an import file.

    Raises:
        ImportFileError: names the first line that cannot be read.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise ImportFileError(path, line, "not UTF-8") from problem
    is_array = text.lstrip().startswith("[")
    objects = _array_objects(path, text) if is_array else _line_objects(path, text)
    messages = [_message(path, line, found) for line, found in objects]
    if not messages:
        raise ImportFileError(path, 1, "no message in it")
    return messages


def _line_objects(path: str, text: str) -> Iterator[tuple[int, Any]]:
    # not splitlines: JSON strings may hold U+2028 and its kin as they are
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as problem:
                raise ImportFileError(path, number, _what(problem)) from problem


def _array_objects(path: str, text: str) -> Iterator[tuple[int, Any]]:
    try:
        json.loads(text)
    except json.JSONDecodeError as problem:
        raise ImportFileError(path, problem.lineno, _what(problem)) from problem
    except (ValueError, RecursionError) as problem:
        raise ImportFileError(path, 1, _what(problem)) from problem
    # it is well formed, so only the places of its members are to be found
    decoder = json.JSONDecoder()
    at, blank = text.index("[") + 1, " \t\r\n,"
    while True:
        while text[at] in blank:
            at += 1
        if text[at] == "]":
            return
        found, end = decoder.raw_decode(text, at)
        yield text.count("\n", 0, at) + 1, found
        at = end


def _what(problem: Exception) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"not JSON: {problem.msg} (column {problem.colno})"
    if isinstance(problem, ValueError):
        return "not a message: a number with too many digits"
    return "not a message: nested too deeply"


def _message(path: str, line: int, found: Any) -> Message:
    if not isinstance(found, dict):
        raise ImportFileError(path, line, f"not an object but {json.dumps(found)[:40]}")
    try:
        (message,) = checked_messages(found)
    except InvalidMessage as problem:
        raise ImportFileError(path, line, str(problem)) from problem
    return message
