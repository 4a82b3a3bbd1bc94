"""Remember which deleted agents may have left bytes, so that a deletion that was killed is ended.

Revision 0005. Code of 0004 does not know the table, and refuses the database. The way back forgets
them: snapshot files that a deletion has left behind then stay until somebody removes them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sleepmem_deletion",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("agent", sa.String(255), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sleepmem_deletion"),
    )
    op.create_index("ix_sleepmem_deletion_agent", "sleepmem_deletion", ["agent"])


def downgrade() -> None:
    op.drop_table("sleepmem_deletion")
