"""The log in SQL, snapshots in files or rows, and both in memory. Knows no torch and no runtime."""

from __future__ import annotations

from sleepmem.store.files import SnapshotFiles
from sleepmem.store.log import SqlEpisodeLog, open_log
from sleepmem.store.memory_log import MemoryEpisodeLog
from sleepmem.store.memory_snapshots import MemorySnapshotStore
from sleepmem.store.snapshot_rows import SnapshotRows

__all__ = [
    "MemoryEpisodeLog",
    "MemorySnapshotStore",
    "SnapshotFiles",
    "SnapshotRows",
    "SqlEpisodeLog",
    "open_log",
]
