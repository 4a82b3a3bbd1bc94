"""Index requests that have an id alone, so that an append without one writes to one index less.

Revision 0006. Code of 0005 would work with it, and refuses the database all the same.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NAME, _TABLE = "uq_sleepmem_turn_agent_id_request_id", "sleepmem_turn"
_COUNTS = "state <> 'abandoned'"


def upgrade() -> None:
    _replace(f"{_COUNTS} AND request_id IS NOT NULL")


def downgrade() -> None:
    _replace(_COUNTS)


def _replace(condition: str) -> None:
    op.drop_index(_NAME, table_name=_TABLE)
    where = sa.text(condition)
    op.create_index(
        _NAME,
        _TABLE,
        ["agent_id", "request_id"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
