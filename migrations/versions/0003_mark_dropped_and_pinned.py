"""Add the mark of a dropped snapshot and the one of a pinned episode.

Revision 0003. Code of 0002 does not know them, and refuses the database. The way back forgets
both: pinned is nothing any more, and a dropped snapshot is one whose bytes are missing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # ADD and DROP COLUMN as they are: a copy of the table would be in the way of what refers to it
    op.add_column("sleepmem_snapshot", sa.Column("dropped_at", sa.DateTime(timezone=True)))
    op.add_column(
        "sleepmem_episode",
        sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    op.drop_column("sleepmem_episode", "pinned")
    op.drop_column("sleepmem_snapshot", "dropped_at")
