"""The types of the columns: how a value is kept, and that what is read is such a value.

Names and ids that callers choose are stored as they are; text that a person or a model wrote is
stored so that every database can hold every character of it. SQLite takes anything in any column,
so what a cell should hold is looked at where it is read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import BigInteger, DateTime, LargeBinary, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")


class Damaged(ValueError):
    """A cell of the column that it names holds what was never written there."""


class Checked(TypeDecorator[T]):
    """A type whose cells are looked at when they are read.

    Attributes:
        place: the column, for messages; a cell may hold what somebody said, so it is not quoted.
    """

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    place = "a column"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], T | None]:
        restored, place = self.restored, self.place

        def read(value: Any) -> T | None:
            if value is None:
                return None
            try:
                return restored(value)
            except (ValueError, TypeError, RecursionError, struct.error) as problem:
                raise Damaged(place) from problem

        return read

    def restored(self, value: Any) -> T:
        """Return the value of a cell; whatever it raises says that the cell holds none."""
        raise NotImplementedError


class Whole(Checked[int]):
    """A whole number."""

    impl = BigInteger
    cache_ok = True

    def restored(self, value: Any) -> int:
        if type(value) is not int:
            raise TypeError("not a whole number")
        return value


class OneOf(Checked[StrEnum]):
    """A word of a list."""

    impl = String(16)
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def restored(self, value: Any) -> StrEnum:
        return self.words(value)


class Utc(Checked[datetime]):
    """Aware UTC on both sides, also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def restored(self, value: Any) -> datetime:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class AnyText(Checked[str]):
    """Text that may hold NUL, which Postgres refuses and SQLite's LIKE stops at.

    NUL is kept as DLE @, DLE itself as DLE P.
    """

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None else value.replace("\x10", "\x10P").replace("\0", "\x10@")

    def restored(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError("not text")
        if "\x10" not in value:
            return value
        return value.replace("\x10@", "\0").replace("\x10P", "\x10")


class JsonText(Checked[Any]):
    """JSON as ASCII text, so that NaN, NUL and half a surrogate pair come back as they went in."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def restored(self, value: Any) -> Any:
        return json.loads(value)


class Bytes(Checked[bytes]):
    """Bytes as they are."""

    impl = LargeBinary
    cache_ok = True

    def restored(self, value: Any) -> bytes:
        return checked_bytes(value)


class TokenIds(Checked[Sequence[int]]):
    """Token ids as little-endian uint32, four bytes each."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> bytes | None:
        return None if value is None else struct.pack(f"<{len(value)}I", *value)

    def restored(self, value: Any) -> tuple[int, ...]:
        data = checked_bytes(value)
        return struct.unpack(f"<{len(data) // 4}I", data)


def checked_bytes(value: Any) -> bytes:
    """Return what a cell of bytes holds. Raises TypeError if that is something else."""
    if not isinstance(value, bytes):
        raise TypeError("not bytes")
    return value
