"""The log in SQL and snapshots in files. Knows no torch, no model and no runtime."""

from __future__ import annotations

from sleepmem.store.files import SnapshotFiles
from sleepmem.store.log import SqlEpisodeLog, open_log

__all__ = ["SnapshotFiles", "SqlEpisodeLog", "open_log"]
