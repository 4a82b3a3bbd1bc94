"""Run migrations on the connection that the store hands over, or on SLEEPMEM_DB for developers."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from sleepmem.store.engine import normalised, sync_engine
from sleepmem.store.migrate import MIGRATION_OPTIONS
from sleepmem.store.schema import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, **MIGRATION_OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    with sync_engine(normalised(os.environ["SLEEPMEM_DB"])).begin() as own:
        run(own)
