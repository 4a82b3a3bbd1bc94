"""Create the tables of the log.

Revision 0001, the first. There is no older code that could be live.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC = sa.DateTime(timezone=True)
NAME = sa.String(255)
EPISODE = sa.String(64)
DIGEST = sa.String(64)
WORD = sa.String(16)


def upgrade() -> None:
    _create_agents()
    _create_turns()
    _create_episodes()


def downgrade() -> None:
    # the head refers to episodes, which refer to threads, which refer to branches
    with op.batch_alter_table("sleepmem_branch") as branch:
        branch.drop_constraint("fk_sleepmem_branch_head", type_="foreignkey")
    for name in ("sleep", "episode", "message", "turn", "thread", "branch", "snapshot", "agent"):
        op.drop_table(f"sleepmem_{name}")


def _create_agents() -> None:
    op.create_table(
        "sleepmem_agent",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text()),
        sa.Column("claimed_at", UTC),
        sa.Column("expires_at", UTC),
        sa.Column("created_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sleepmem_agent"),
        sa.UniqueConstraint("name", name="uq_sleepmem_agent_name"),
    )
    op.create_table(
        "sleepmem_snapshot",
        sa.Column("agent_id", ROW_ID, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "digest", name="pk_sleepmem_snapshot"),
        _reference("snapshot", "agent_id", "agent"),
    )
    op.create_table(
        "sleepmem_branch",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("agent_id", ROW_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("head", EPISODE),
        sa.PrimaryKeyConstraint("id", name="pk_sleepmem_branch"),
        sa.UniqueConstraint("agent_id", "name", name="uq_sleepmem_branch_agent_id_name"),
        _reference("branch", "agent_id", "agent"),
    )
    op.create_index("ix_sleepmem_branch_head", "sleepmem_branch", ["head"])
    op.create_table(
        "sleepmem_thread",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("branch_id", ROW_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("system", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_sleepmem_thread"),
        sa.UniqueConstraint("branch_id", "name", name="uq_sleepmem_thread_branch_id_name"),
        _reference("thread", "branch_id", "branch"),
    )


def _create_turns() -> None:
    op.create_table(
        "sleepmem_turn",
        sa.Column("agent_id", ROW_ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("thread_id", ROW_ID, nullable=False),
        sa.Column("request_id", NAME),
        sa.Column("state", WORD, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("finish_reason", WORD),
        sa.Column("created_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "seq", name="pk_sleepmem_turn"),
        sa.UniqueConstraint("id", name="uq_sleepmem_turn_id"),
        _reference("turn", "agent_id", "agent"),
        _reference("turn", "thread_id", "thread"),
    )
    op.create_index(
        "ix_sleepmem_turn_thread_id_start_stop", "sleepmem_turn", ["thread_id", "start", "stop"]
    )
    _unique_where(
        "uq_sleepmem_turn_agent_id_request_id",
        "sleepmem_turn",
        ["agent_id", "request_id"],
        "state <> 'abandoned'",
    )
    _unique_where("uq_sleepmem_turn_staged", "sleepmem_turn", ["thread_id"], "state = 'staged'")
    op.create_table(
        "sleepmem_message",
        sa.Column("agent_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("role", WORD, nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("tool_calls", sa.Text()),
        sa.Column("tool_call_id", sa.Text()),
        sa.Column("token_ids", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "seq", "n", name="pk_sleepmem_message"),
        sa.ForeignKeyConstraint(
            ["agent_id", "seq"],
            ["sleepmem_turn.agent_id", "sleepmem_turn.seq"],
            name="fk_sleepmem_message_agent_id_seq",
        ),
    )


def _create_episodes() -> None:
    op.create_table(
        "sleepmem_episode",
        sa.Column("id", EPISODE, nullable=False),
        sa.Column("agent_id", ROW_ID, nullable=False),
        sa.Column("thread_id", ROW_ID, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger()),
        sa.Column("parent", EPISODE),
        sa.Column("woke_from", EPISODE),
        sa.Column("reason", WORD),
        sa.Column("snapshot", DIGEST),
        sa.Column("closed_at", UTC),
        sa.PrimaryKeyConstraint("id", name="pk_sleepmem_episode"),
        sa.ForeignKeyConstraint(
            ["agent_id", "snapshot"],
            ["sleepmem_snapshot.agent_id", "sleepmem_snapshot.digest"],
            name="fk_sleepmem_episode_agent_id_snapshot",
        ),
        _reference("episode", "agent_id", "agent"),
        _reference("episode", "thread_id", "thread"),
        _reference("episode", "parent", "episode"),
        _reference("episode", "woke_from", "episode"),
    )
    for columns in (
        ["agent_id", "closed_at"],
        ["agent_id", "n"],
        ["agent_id", "snapshot"],
        ["parent"],
        ["woke_from"],
        ["thread_id", "stop"],
    ):
        name = f"ix_sleepmem_episode_{'_'.join(columns)}"
        op.create_index(name, "sleepmem_episode", columns)
    _unique_where(
        "uq_sleepmem_episode_open", "sleepmem_episode", ["thread_id"], "closed_at IS NULL"
    )
    with op.batch_alter_table("sleepmem_branch") as branch:
        branch.create_foreign_key("fk_sleepmem_branch_head", "sleepmem_episode", ["head"], ["id"])
    op.create_table(
        "sleepmem_sleep",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("episode_id", EPISODE, nullable=False),
        sa.Column("outcome", WORD, nullable=False),
        sa.Column("reason", WORD, nullable=False),
        sa.Column("n_tokens", sa.BigInteger(), nullable=False),
        sa.Column("passes", sa.Integer(), nullable=False),
        sa.Column("measures", sa.Text()),
        sa.Column("numerics", sa.Text(), nullable=False),
        sa.Column("sleep_s", sa.Double(), nullable=False),
        sa.Column("measure_s", sa.Double(), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("recorded_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sleepmem_sleep"),
        _reference("sleep", "episode_id", "episode"),
    )
    op.create_index("ix_sleepmem_sleep_episode_id", "sleepmem_sleep", ["episode_id"])
    _unique_where("uq_sleepmem_sleep_slept", "sleepmem_sleep", ["episode_id"], "outcome = 'slept'")


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"sleepmem_{target}.id"], name=f"fk_sleepmem_{table}_{column}"
    )


def _unique_where(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)
