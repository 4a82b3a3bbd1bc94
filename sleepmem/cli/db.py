"""`sleepmem db`."""

from __future__ import annotations

import asyncio

import click

from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.terminal import Terminal


@click.group()
def db() -> None:
    """Upgrade or check the database.

    A new database is made ready on first use, an older one only by `db upgrade`.

    \b
    Example:
      sleepmem db check --db agents.db
    """


@db.command()
@common
@pass_terminal
def upgrade(terminal: Terminal) -> None:
    """Bring the database to what this sleepmem needs; back it up first.

    \b
    Example:
      sleepmem db upgrade --db agents.db
    """
    from sleepmem.store import migrate

    revision = asyncio.run(migrate.upgrade(terminal.settings().database()))
    terminal.write(f"the database is at revision {revision}")
    terminal.write_document({"revision": revision, "needed": migrate.head()})


@db.command()
@common
@pass_terminal
def current(terminal: Terminal) -> None:
    """Show the revision of the database, and the one that this sleepmem needs.

    \b
    Example:
      sleepmem db current
    """
    from sleepmem.store import migrate

    revision = asyncio.run(migrate.current(terminal.settings().db))
    terminal.write(f"{revision or 'none'} (needed: {migrate.head()})")
    terminal.write_document({"revision": revision, "needed": migrate.head()})


@db.command()
@common
@pass_terminal
def check(terminal: Terminal) -> None:
    """Compare the database with what this sleepmem needs; exit 1 if they differ.

    \b
    Example:
      sleepmem db check
    """
    from sleepmem.store import migrate

    revision = asyncio.run(migrate.check(terminal.settings().db))
    terminal.write(f"the database is at revision {revision}, as needed")
    terminal.write_document({"revision": revision, "needed": migrate.head()})
