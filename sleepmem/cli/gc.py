"""`sleepmem gc`."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import click

from sleepmem.cli.documents import size
from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.screen import print_table, progress
from sleepmem.cli.terminal import Terminal
from sleepmem.history import Garbage, GcReport, Keep

WHY = {
    Garbage.NOT_KEPT: "no rule keeps it",
    Garbage.NO_EPISODE: "of no episode",
    Garbage.CUT_SHORT: "write cut short",
    Garbage.DELETED: "agent deleted",
}
KEPT = {Keep.HEAD: "head", Keep.PINNED: "pinned", Keep.LAST: "last", Keep.WITHIN: "young"}


class AgeType(click.ParamType[timedelta]):
    """Parses an age in hours, days or weeks: `12h`, `30d`, `2w`."""

    name = "age"
    units = {"h": "hours", "d": "days", "w": "weeks"}  # noqa: RUF012, a constant

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d{1,6})([hdw])", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not an age like 12h, 30d or 2w", param, ctx)
        return timedelta(**{self.units[found[2]]: int(found[1])})


@click.command()
@click.option("--agent", metavar="AGENT", help="Whose snapshots; without it, all agents'.")
@click.option(
    "--keep-last",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Keep the last N episodes of each branch.",
)
@click.option(
    "--keep-within",
    type=AgeType(),
    default="30d",
    show_default=True,
    metavar="AGE",
    help="Keep what is younger: 12h, 30d, 2w; 0d keeps nothing for its age.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@common
@pass_terminal
def gc(
    terminal: Terminal,
    agent: str | None,
    keep_last: int,
    keep_within: timedelta,
    dry_run: bool,
) -> None:
    """Remove the bytes of old snapshots, and what interrupted sleeps and deletions left behind.

    Heads, pinned episodes (sleepmem pin), the last N and what is young are kept. So is the whole
    log: replay --verify derives removed snapshots again. Agents may be awake meanwhile. A folder
    of snapshots belongs to one database: of its agents' snapshots, those are removed that it
    does not name.

    \b
    Example:
      sleepmem gc --dry-run
      sleepmem gc --keep-last 10 --keep-within 30d
    """

    async def run() -> GcReport:
        async with terminal.memory() as memory:
            planned = await memory.gc(
                agent, keep_last=keep_last, keep_within=keep_within, dry_run=True
            )
            if dry_run:
                return planned
            with progress("gc", len(planned.removed)) as step:
                return await memory.gc(
                    agent,
                    keep_last=keep_last,
                    keep_within=keep_within,
                    on_removed=lambda removed: step(),
                )

    report = asyncio.run(run())
    terminal.write_document(report.model_dump(mode="json"))
    if not terminal.as_json:
        _print(terminal, report)
    if report.n_missing:
        terminal.talk(
            f"{_counted(report.n_missing)} that should be kept {_has(report.n_missing)} no bytes"
            " · Derive again with: sleepmem replay --agent NAME --verify"
        )


def _print(terminal: Terminal, report: GcReport) -> None:
    rows = []
    found = Counter((removed.agent, removed.why) for removed in report.removed)
    for (agent, why), n_removed in sorted(found.items()):
        n_bytes = sum(r.n_bytes for r in report.removed if (r.agent, r.why) == (agent, why))
        rows.append((agent, WHY[why], str(n_removed), size(n_bytes)))
    if rows:
        print_table(("agent", "why", "#snapshots", "#size"), rows)
    verb = "would free" if report.dry_run else "freed"
    kept = ", ".join(f"{report.n_kept.get(why, 0)} {word}" for why, word in KEPT.items())
    terminal.write(f"{verb} {size(report.n_bytes)}; kept {kept}")


def _counted(n: int) -> str:
    return f"{n} snapshot{'' if n == 1 else 's'}"


def _has(n: int) -> str:
    return "has" if n == 1 else "have"
