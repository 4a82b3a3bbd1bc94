"""One run of the command line: its flags, how it opens a memory, and where it prints.

Results go to stdout, talk to stderr. With `--json` stdout carries exactly one JSON document.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from sleepmem.errors import AgentHeld, ConfigError

if TYPE_CHECKING:
    from sleepmem.cli.options import Address
    from sleepmem.memory import SleepMemory
    from sleepmem.runtime.agent import Agent
    from sleepmem.settings import Settings

UNTOLD_S = 1.0  # a wait that is not worth a word: commands that follow each other

OpenMemory = Callable[["Settings"], "AbstractAsyncContextManager[SleepMemory]"]


def open_memory(settings: Settings) -> AbstractAsyncContextManager[SleepMemory]:
    """Return the memory that the settings name, not yet open."""
    from sleepmem.memory import SleepMemory

    return SleepMemory(settings.database(), model=settings.model, data=settings.data)


@dataclass
class Terminal:
    """The context object of every command.

    Attributes:
        opener: makes the memory; tests give their own.
        db, model: given on the command line, else the settings decide.
        written: the JSON document is out; nothing may follow it on stdout.
    """

    opener: OpenMemory = open_memory
    db: str | None = None
    model: str | None = None
    as_json: bool = False
    verbose: bool = False
    written: bool = False

    def settings(self) -> Settings:
        """Return the settings, the command line's options first."""
        from sleepmem.settings import Settings

        given = {"db": self.db, "model": self.model}
        return Settings(**{name: value for name, value in given.items() if value is not None})

    def memory(self) -> AbstractAsyncContextManager[SleepMemory]:
        """Return the memory of this run, to be opened with `async with`."""
        return self.opener(self.settings())

    async def agent(
        self, memory: SleepMemory, address: Address, *, create: bool = True, take_over: bool = False
    ) -> Agent:
        """Claim the agent of an address, and tell if another process has to be waited for."""
        claim = partial(memory.agent, address.agent, branch=address.branch, create=create)
        try:
            return await claim(wait_s=UNTOLD_S, take_over=take_over)
        except AgentHeld as held:
            self.talk(f"waiting for {held.holder}, which holds {held.agent} ...")
            return await claim()

    def write(self, text: str = "", *, end: str = "\n") -> None:
        """Print a result for people; with `--json` it is only talk."""
        click.echo(text + end, nl=False, err=self.as_json)

    def talk(self, text: str) -> None:
        """Print what is not the result."""
        click.echo(text, err=True)

    def write_document(self, document: dict[str, Any]) -> None:
        """Print the one JSON document, if it was asked for."""
        if self.as_json and not self.written:
            click.echo(json.dumps(document, ensure_ascii=False))
            self.written = True

    def write_error(self, error: BaseException, message: str, hint: str) -> None:
        """Print the error as the one JSON document, if it was asked for."""
        self.write_document({"error": error_document(error, message, hint)})

    def fail(self, error: Exception, hint: str = "") -> None:
        """Tell an error in one line; with `-v` its causes and traceback too."""
        line = f"error: {error}" + (f" · {hint}" if hint else "")
        self.talk(" ".join(line.split()))
        if self.verbose:
            self.talk("".join(traceback.format_exception(error)).rstrip())
        self.write_error(error, str(error), hint)  # last: it is stdout that may fail


def error_document(error: BaseException, message: str, hint: str) -> dict[str, str]:
    """Return the agreed JSON shape of an error."""
    return {"type": type(error).__name__, "message": message, "hint": hint}


def read_stdin() -> bytes:
    """Return all of stdin.

    Raises:
        ConfigError: it is closed.
    """
    if sys.stdin is None:
        raise ConfigError("stdin is closed", hint="Pipe a text into it.")
    return sys.stdin.buffer.read()
