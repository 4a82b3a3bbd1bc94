"""`sleepmem replay`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sleepmem.cli.documents import episode_document, share, size, sleep_document
from sleepmem.cli.options import Address, agent_option, common, pass_terminal
from sleepmem.cli.screen import print_table, progress
from sleepmem.cli.terminal import Terminal, error_document
from sleepmem.errors import ReplayDiverged
from sleepmem.history import ReplayedEpisode
from sleepmem.types import SleepReport

if TYPE_CHECKING:
    from sleepmem.memory import SleepMemory


@click.command()
@agent_option(episode=True)
@click.option("--since", metavar="EPISODE",
              help="Begin after this episode, by index or id.")  # fmt: skip
@click.option("--until", metavar="EPISODE", help="Stop at this episode, by index or id.")
@click.option("--verify", is_flag=True, help="Derive every snapshot again and compare bytes.")
@click.option("--attempts", is_flag=True,
              help="Show every sleep that was recorded, whatever came of it.")  # fmt: skip
@common
@pass_terminal
def replay(
    terminal: Terminal,
    address: Address,
    since: str | None,
    until: str | None,
    verify: bool,
    attempts: bool,
) -> None:
    """Show the life of an agent episode by episode: when and why it slept, and what came of it.

    With --verify every snapshot is derived again from the log; the first that differs ends the
    replay with exit code 1. One that was interrupted says how to go on: --since takes the stored
    snapshot of the last verified episode to begin from.

    \b
    Example:
      sleepmem replay --agent demo --verify
      sleepmem replay --agent demo --attempts
    """
    until = until or address.episode
    if attempts:
        if since or until or verify:
            raise click.UsageError("--attempts shows all of them and verifies nothing.")
        _show_attempts(terminal, address)
        return

    async def run() -> tuple[list[ReplayedEpisode], ReplayDiverged | None]:
        async with terminal.memory() as memory:
            life = memory.replay(address.agent, branch=address.branch, since=since, until=until)
            shown = [replayed async for replayed in life]
            diverged = await _verify(memory, address, since, shown) if verify and shown else None
            return shown, diverged

    shown, diverged = asyncio.run(run())
    document: dict[str, Any] = {
        "agent": address.agent,
        "verified": (diverged is None) if verify else None,
        "episodes": [episode_document(replayed) for replayed in shown],
    }
    if diverged:
        document["error"] = error_document(diverged, str(diverged), diverged.hint)
    terminal.write_document(document)
    if not shown:
        terminal.talk(f"{address.agent} has not slept {'since then' if since else 'yet'}")
    elif not terminal.as_json:
        _print_life(shown, verify)
    if diverged:
        raise diverged


def _show_attempts(terminal: Terminal, address: Address) -> None:
    async def run() -> list[SleepReport]:
        async with terminal.memory() as memory:
            return await memory.sleeps(address.agent, branch=address.branch)

    tried = asyncio.run(run())
    terminal.write_document(
        {"agent": address.agent, "sleeps": [sleep_document(report) for report in tried]}
    )
    if not tried:
        terminal.talk(f"{address.agent} has not tried to sleep yet")
    elif not terminal.as_json:
        columns = ("tried at", "thread", "began by", "outcome", "#tokens", "#passes", "#retention")
        print_table((*columns, "problem"), [_attempt_row(report) for report in tried])


def _attempt_row(report: SleepReport) -> tuple[str, ...]:
    return (
        f"{report.recorded_at:%Y-%m-%d %H:%M:%S}",
        report.thread,
        report.reason.value.replace("_", " "),
        report.outcome.value.replace("_", " "),
        str(report.n_tokens),
        str(report.passes),
        share(report.retention),
        report.problem or "",
    )


async def _verify(
    memory: SleepMemory, address: Address, since: str | None, shown: list[ReplayedEpisode]
) -> ReplayDiverged | None:
    """Mark what is shown as verified, up to the first that differs."""
    last = shown[-1].episode.id  # the agent may sleep meanwhile
    life = memory.replay(address.agent, branch=address.branch, since=since, until=last, verify=True)
    n_done = 0
    with progress("verify", len(shown)) as step:
        try:
            async for replayed in life:
                shown[n_done] = replayed
                n_done += 1
                step()
        except ReplayDiverged as diverged:
            shown[n_done] = shown[n_done].model_copy(update={"verified": False})
            return diverged
        except asyncio.CancelledError:  # Ctrl-C
            if n_done:
                last_verified = shown[n_done - 1].episode.index
                click.echo(f"\nverified up to {last_verified}: --since {last_verified}", err=True)
            raise
    return None


def _print_life(shown: Sequence[ReplayedEpisode], verify: bool) -> None:
    columns = ["#episode", "slept at", "thread", "ended by", "#tokens", "#passes", "#retention"]
    columns += ["snapshot", "#size"] + ["verified"] * verify
    marks = {True: "yes", False: "no", None: "not compared"}
    rows = []
    for replayed in shown:
        episode = replayed.episode
        row = [
            str(episode.index),
            f"{episode.closed_at:%Y-%m-%d %H:%M:%S}",
            episode.thread,
            episode.reason.value.replace("_", " "),
            str(episode.n_tokens),
            str(episode.passes),
            share(episode.measures.retention if episode.measures else None),
            episode.snapshot.digest[:12] + " pinned" * episode.pinned,
            "dropped" if episode.snapshot.dropped_at else size(episode.snapshot.n_bytes),
        ]
        rows.append(row + [marks[replayed.verified]] * verify)
    print_table(columns, rows)
