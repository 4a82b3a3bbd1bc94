"""How often a SQLite database was committed, as its write-ahead log tells it.

Every commit leaves one frame there that says so; who counts them believes neither the log that
wrote them nor its driver.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")


def n_commits(database: Path) -> int:
    """Return the commits in the write-ahead log, of which `kept` lets none go."""
    data = database.with_name(f"{database.name}-wal").read_bytes()
    _, _, page_bytes, _, *salts, _, _ = _HEADER.unpack_from(data)
    n = 0
    for start in range(_HEADER.size, len(data) - _FRAME.size, _FRAME.size + page_bytes):
        _, n_pages, *frame_salts, _, _ = _FRAME.unpack_from(data, start)
        if frame_salts != salts:  # left by an earlier round of the log
            break
        n += n_pages != 0  # what ends a commit says how large the database is now
    return n


@contextmanager
def kept(database: Path) -> Iterator[None]:
    """Keep the write-ahead log from beginning anew: somebody still reads what is in it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield
