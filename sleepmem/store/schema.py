"""The tables of the log. Knows columns and constraints, runs no SQL."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from sleepmem.store.columns import AnyText, Bytes, Checked, JsonText, OneOf, TokenIds, Utc, Whole
from sleepmem.types import MAX_NAME, FinishReason, Outcome, Role, SleepReason, TurnState

BigInt = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER can be SQLite's row id


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# `expires_at` is for waiting, never for safety: every write is conditional on `epoch`.
agent = Table(
    "sleepmem_agent",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("name", String(MAX_NAME), nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False),
    Column("epoch", Whole, nullable=False),
    Column("holder", Text),
    Column("claimed_at", Utc),
    Column("expires_at", Utc),
    Column("created_at", Utc, nullable=False),
    Index(None, "holder"),
)

snapshot = Table(
    "sleepmem_snapshot",
    metadata,
    Column("agent_id", ForeignKey(agent.c.id), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("n_bytes", Whole, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("dropped_at", Utc),  # by gc; the bytes are gone or going
)

# The bytes of a snapshot in order, where they are kept as rows and not as files. They are stored
# before the log names them, so they refer to the agent and not to `snapshot`.
snapshot_chunk = Table(
    "sleepmem_snapshot_chunk",
    metadata,
    Column("agent_id", ForeignKey(agent.c.id), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("data", Bytes, nullable=False),
)

branch = Table(
    "sleepmem_branch",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("agent_id", ForeignKey(agent.c.id), nullable=False),
    Column("name", String(MAX_NAME), nullable=False),
    Column("head", ForeignKey("sleepmem_episode.id", use_alter=True)),
    UniqueConstraint("agent_id", "name"),
    Index(None, "head"),
)

thread = Table(
    "sleepmem_thread",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("branch_id", ForeignKey(branch.c.id), nullable=False),
    Column("name", String(MAX_NAME), nullable=False),
    Column("system", AnyText),
    UniqueConstraint("branch_id", "name"),
)

turn = Table(
    "sleepmem_turn",
    metadata,
    Column("agent_id", ForeignKey(agent.c.id), primary_key=True),
    Column("seq", Whole, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False, unique=True),
    Column("thread_id", ForeignKey(thread.c.id), nullable=False),
    Column("request_id", String(MAX_NAME)),
    Column("state", OneOf(TurnState), nullable=False),
    Column("start", Whole, nullable=False),
    Column("stop", Whole, nullable=False),
    Column("finish_reason", OneOf(FinishReason)),
    Column("created_at", Utc, nullable=False),
    Index(None, "thread_id", "start", "stop"),
    # the id of an abandoned request is free again; one without an id would be written for nothing
    Index(
        "uq_sleepmem_turn_agent_id_request_id",
        "agent_id",
        "request_id",
        unique=True,
        sqlite_where=text("state <> 'abandoned' AND request_id IS NOT NULL"),
        postgresql_where=text("state <> 'abandoned' AND request_id IS NOT NULL"),
    ),
    Index(
        "uq_sleepmem_turn_staged",
        "thread_id",
        unique=True,
        sqlite_where=text("state = 'staged'"),
        postgresql_where=text("state = 'staged'"),
    ),
)

message = Table(
    "sleepmem_message",
    metadata,
    Column("agent_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Whole, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("role", OneOf(Role), nullable=False),
    Column("content", AnyText, nullable=False),
    Column("tool_calls", JsonText),
    Column("tool_call_id", AnyText),
    Column("token_ids", TokenIds, nullable=False),
    ForeignKeyConstraint(["agent_id", "seq"], [turn.c.agent_id, turn.c.seq]),
)

# Open (a sleep of it was tried) while `closed_at` is null; `n`, parent, reason and snapshot come
# with the close. `n` counts the episodes of the lineage up to this one.
episode = Table(
    "sleepmem_episode",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("agent_id", ForeignKey(agent.c.id), nullable=False),
    Column("thread_id", ForeignKey(thread.c.id), nullable=False),
    Column("start", Whole, nullable=False),
    Column("stop", Whole, nullable=False),
    Column("n", Whole),
    Column("parent", ForeignKey("sleepmem_episode.id")),
    Column("woke_from", ForeignKey("sleepmem_episode.id")),
    Column("reason", OneOf(SleepReason)),
    Column("snapshot", String(64)),
    Column("closed_at", Utc),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    ForeignKeyConstraint(["agent_id", "snapshot"], [snapshot.c.agent_id, snapshot.c.digest]),
    Index(None, "agent_id", "closed_at"),
    Index(None, "agent_id", "n"),
    # to delete an episode or a snapshot is to look for what still refers to it
    Index(None, "agent_id", "snapshot"),
    Index(None, "parent"),
    Index(None, "woke_from"),
    Index(None, "thread_id", "stop"),
    Index(
        "uq_sleepmem_episode_open",
        "thread_id",
        unique=True,
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
)

sleep = Table(
    "sleepmem_sleep",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("episode_id", ForeignKey(episode.c.id), nullable=False),
    Column("outcome", OneOf(Outcome), nullable=False),
    Column("reason", OneOf(SleepReason), nullable=False),
    Column("n_tokens", Whole, nullable=False),
    Column("passes", Integer, nullable=False),
    Column("measures", JsonText),
    Column("numerics", JsonText, nullable=False),
    Column("sleep_s", Double, nullable=False),
    Column("measure_s", Double, nullable=False),
    Column("problem", AnyText),
    Column("recorded_at", Utc, nullable=False),
    Index(None, "episode_id"),
    Index(
        "uq_sleepmem_sleep_slept",
        "episode_id",
        unique=True,
        sqlite_where=text("outcome = 'slept'"),
        postgresql_where=text("outcome = 'slept'"),
    ),
)

# of an agent that may have left bytes in a store beside the database; nothing refers to it
deletion = Table(
    "sleepmem_deletion",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("agent", String(MAX_NAME), nullable=False),
    Column("deleted_at", Utc, nullable=False),
    Index(None, "agent"),
)

for _table in metadata.tables.values():
    for _column in _table.c:
        if isinstance(_column.type, Checked):
            _column.type.place = str(_column)
