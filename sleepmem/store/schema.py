"""The tables of the log. Knows columns and constraints, runs no SQL.

Names and ids that callers choose are stored as they are; text that a person or a model wrote is
stored so that every database can hold every character of it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from sleepmem.types import MAX_NAME

BigInt = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER can be SQLite's row id


class Utc(TypeDecorator[datetime]):
    """Aware UTC on both sides, also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class AnyText(TypeDecorator[str]):
    """Text that may hold NUL, which Postgres refuses and SQLite's LIKE stops at.

    NUL is kept as DLE @, DLE itself as DLE P.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None else value.replace("\x10", "\x10P").replace("\0", "\x10@")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or "\x10" not in value:
            return value
        return value.replace("\x10@", "\0").replace("\x10P", "\x10")


class JsonText(TypeDecorator[Any]):
    """JSON as ASCII text, so that NaN, NUL and half a surrogate pair come back as they went in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class TokenIds(TypeDecorator[Sequence[int]]):
    """Token ids as little-endian uint32, four bytes each."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> bytes | None:
        return None if value is None else struct.pack(f"<{len(value)}I", *value)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], tuple[int, ...] | None]:
        return _unpacked  # the driver's value as it is: what a cell holds may not be bytes


def _unpacked(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise struct.error(f"token ids are bytes, not {type(value).__name__}")
    return struct.unpack(f"<{len(value) // 4}I", value)


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
    Column("epoch", BigInteger, nullable=False),
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
    Column("n_bytes", BigInteger, nullable=False),
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
    Column("data", LargeBinary, nullable=False),
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
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False, unique=True),
    Column("thread_id", ForeignKey(thread.c.id), nullable=False),
    Column("request_id", String(MAX_NAME)),
    Column("state", String(16), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("stop", BigInteger, nullable=False),
    Column("finish_reason", String(16)),
    Column("created_at", Utc, nullable=False),
    Index(None, "thread_id", "start", "stop"),
    # the id of an abandoned request is free again
    Index(
        "uq_sleepmem_turn_agent_id_request_id",
        "agent_id",
        "request_id",
        unique=True,
        sqlite_where=text("state <> 'abandoned'"),
        postgresql_where=text("state <> 'abandoned'"),
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
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("role", String(16), nullable=False),
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
    Column("start", BigInteger, nullable=False),
    Column("stop", BigInteger, nullable=False),
    Column("n", BigInteger),
    Column("parent", ForeignKey("sleepmem_episode.id")),
    Column("woke_from", ForeignKey("sleepmem_episode.id")),
    Column("reason", String(16)),
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
    Column("outcome", String(16), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("n_tokens", BigInteger, nullable=False),
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
