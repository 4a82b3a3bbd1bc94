"""Remember which deleted agents may have left bytes, so that a deletion that was killed is ended.

Revision 0005. Code of 0004 does not know the table, and refuses the database. The way back forgets
them: snapshot files of agents whose deletion was killed then stay until somebody removes them.
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
        sa.Column("agent", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("agent", name="pk_sleepmem_deletion"),
    )


def downgrade() -> None:
    op.drop_table("sleepmem_deletion")
