"""Options that commands share, and the one place where an address is parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from sleepmem.cli.terminal import Terminal
from sleepmem.types import MAIN

Command = TypeVar("Command", bound=Callable[..., Any])

pass_terminal = click.make_pass_decorator(Terminal, ensure=True)


class Address(NamedTuple):
    """`AGENT[/BRANCH][@EPISODE]`: an agent, a line of its memory, a point on that line."""

    agent: str
    branch: str = MAIN
    episode: str | None = None


class AddressType(click.ParamType[Address]):
    """Parses an address; `episode` says whether `@EPISODE` makes sense here."""

    name = "agent"

    def __init__(self, *, episode: bool = False) -> None:
        self.episode = episode

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        line, at, episode = str(value).partition("@")
        agent, slash, branch = line.partition("/")
        if not agent or (slash and not branch) or (at and not episode):
            self.fail(f"{value!r} is not AGENT[/BRANCH][@EPISODE]", param, ctx)
        if at and not self.episode:
            self.fail(f"{value!r} names an episode; only replay and pin take one", param, ctx)
        return Address(agent, branch or MAIN, episode or None)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep a common option on the terminal instead of handing it to every command."""
    if value:
        setattr(ctx.ensure_object(Terminal), param.name or "", value)


def common(command: Command) -> Command:
    """Add the options that every command takes."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _remember}
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Show causes and traceback.", **kept),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Print one JSON document on stdout.",
            **kept,
        ),
        click.option(
            "--model",
            metavar="NAME",
            help="Checkpoint, by name or folder. [SLEEPMEM_MODEL]",
            **kept,
        ),
        click.option(
            "--db", metavar="URL", help="Database URL or SQLite file. [SLEEPMEM_DB]", **kept
        ),
    ):
        command = option(command)
    return command


def agent_option(*, episode: bool = False) -> Callable[[Command], Command]:
    """Add the required `--agent`."""
    form = "AGENT[/BRANCH][@EPISODE]" if episode else "AGENT[/BRANCH]"
    return click.option(
        "--agent",
        "address",
        required=True,
        type=AddressType(episode=episode),
        metavar=form,
        help="Whose memory.",
    )


thread_option = click.option(
    "--thread", default=MAIN, show_default=True, metavar="NAME", help="Which conversation."
)

take_over_option = click.option(
    "--take-over", is_flag=True, help="Do not wait for a process that holds the agent."
)
