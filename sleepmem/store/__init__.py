"""The log in SQL and snapshots in files, and both in memory. Knows no torch and no runtime."""

from __future__ import annotations

from sleepmem.store.files import SnapshotFiles
from sleepmem.store.log import SqlEpisodeLog, open_log
from sleepmem.store.memory_log import MemoryEpisodeLog
from sleepmem.store.memory_snapshots import MemorySnapshotStore

__all__ = [
    "MemoryEpisodeLog",
    "MemorySnapshotStore",
    "SnapshotFiles",
    "SqlEpisodeLog",
    "open_log",
]
