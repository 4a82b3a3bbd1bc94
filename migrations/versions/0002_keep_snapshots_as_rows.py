"""Add the table that keeps the bytes of snapshots as rows.

Revision 0002. Code of 0001 does not know the table, and refuses the database. The way back drops
the bytes: where they were rows, `sleepmem replay --verify` derives them again, into files.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sleepmem_snapshot_chunk",
        sa.Column("agent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "digest", "n", name="pk_sleepmem_snapshot_chunk"),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["sleepmem_agent.id"], name="fk_sleepmem_snapshot_chunk_agent_id"
        ),
    )


def downgrade() -> None:
    op.drop_table("sleepmem_snapshot_chunk")
