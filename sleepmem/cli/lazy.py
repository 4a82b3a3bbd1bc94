"""The root group: imports a command when it is run, and turns errors into lines and exit codes."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

import click

from sleepmem.cli.terminal import Terminal
from sleepmem.errors import SleepmemError

INTERRUPTED = 130  # what a shell reports for a program that ended by Ctrl-C


class Lazy(NamedTuple):
    """Where a command is (`module:name`), and the line that help shows without importing it."""

    place: str
    short_help: str


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported on use."""

    def __init__(self, *args: Any, commands_by_name: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands_by_name:
            return None
        module, name = self.commands_by_name[cmd_name].place.split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, lazy.short_help) for name, lazy in self.commands_by_name.items()]
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _document(ctx.ensure_object(Terminal), error, given)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        terminal = ctx.ensure_object(Terminal)
        arguments = list(ctx.args)
        try:
            return super().invoke(ctx)
        except SleepmemError as error:
            terminal.fail(error, error.hint)
            ctx.exit(1)
        except click.UsageError as error:
            _document(terminal, error, arguments)
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads on; click ends without a word
            with suppress(OSError):  # it may be stdout that is full
                terminal.fail(DeviceFailed(error), "See to it, then try again.")
            ctx.exit(1)
        except KeyboardInterrupt as error:
            terminal.write_error(error, "interrupted", "What was acknowledged is kept.")
            ctx.exit(INTERRUPTED)


class DeviceFailed(SleepmemError):
    """A file or device that a command reads or writes fails: full, away, not permitted."""

    def __init__(self, error: OSError) -> None:
        what = error.strerror or str(error)
        super().__init__(f"{error.filename}: {what}" if error.filename else what)


def _document(terminal: Terminal, error: click.UsageError, arguments: Sequence[str]) -> None:
    """Write a usage error as the one document; `--json` itself may not have been reached."""
    if "--json" in arguments:
        terminal.as_json = True
        with suppress(OSError):  # stdout may be full; the error goes to stderr anyway
            terminal.write_error(error, error.format_message(), "Ask the command with --help.")
