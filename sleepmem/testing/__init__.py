"""Shipped twins and contract suites: what every store and model must obey, and fakes that do.

The contract suites import pytest and are imported from their own modules.
"""

from __future__ import annotations

from sleepmem.testing.fake_clock import FakeClock
from sleepmem.testing.fake_model import FakeSleepLM
from sleepmem.testing.memory_log import MemoryEpisodeLog
from sleepmem.testing.memory_snapshots import MemorySnapshotStore

__all__ = ["FakeClock", "FakeSleepLM", "MemoryEpisodeLog", "MemorySnapshotStore"]
