from __future__ import annotations

from pathlib import Path

import pytest

from sleepmem.store import MemorySnapshotStore, SnapshotFiles
from sleepmem.testing.snapshot_contract import SnapshotStoreContract


class TestMemorySnapshotStore(SnapshotStoreContract):
    @pytest.fixture
    def store(self) -> MemorySnapshotStore:
        return MemorySnapshotStore()


class TestSnapshotFiles(SnapshotStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SnapshotFiles:
        return SnapshotFiles(tmp_path / "not" / "yet" / "there")
