"""Index who holds an agent, so that a process renews and gives back all that it holds at once.

Revision 0004. A claim made by the code of 0003 never expires nor is renewed: it holds nobody up.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_sleepmem_agent_holder", "sleepmem_agent", ["holder"])


def downgrade() -> None:
    op.drop_index("ix_sleepmem_agent_holder", table_name="sleepmem_agent")
