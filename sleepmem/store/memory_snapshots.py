"""Snapshots in a dictionary, for tests; obeys the whole contract of `SnapshotStore`."""

from __future__ import annotations

import re

from blake3 import blake3

from sleepmem.errors import SnapshotCorrupt, SnapshotNotFound
from sleepmem.types import Snapshot, checked_name


class MemorySnapshotStore:
    """Keep snapshots in memory.

    Attributes:
        data: bytes by (agent, digest); tests may change them to see corruption refused.
    """

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], bytes] = {}

    async def put(self, agent: str, data: bytes) -> Snapshot:
        snapshot = Snapshot(digest=blake3(data).hexdigest(), n_bytes=len(data))
        self.data[checked_name("agent name", agent), snapshot.digest] = bytes(data)
        return snapshot

    async def get(self, agent: str, digest: str) -> bytes:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise SnapshotCorrupt(f"{digest[:80]!a}", "its name is not a BLAKE3-256 digest")
        data = self.data.get((checked_name("agent name", agent), digest))
        if data is None:
            raise SnapshotNotFound(agent, digest)
        if blake3(data).hexdigest() != digest:
            raise SnapshotCorrupt(digest, "its bytes have another digest")
        return data

    async def digests(self, agent: str) -> list[str]:
        checked_name("agent name", agent)
        return sorted(digest for owner, digest in self.data if owner == agent)

    async def delete(self, agent: str, digest: str) -> None:
        self.data.pop((checked_name("agent name", agent), digest), None)
