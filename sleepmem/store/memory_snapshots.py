"""Snapshots in a dictionary, for tests; obeys the whole contract of `SnapshotStore`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar

from blake3 import blake3

from sleepmem.errors import SnapshotCorrupt, SnapshotNotFound
from sleepmem.protocols import SnapshotBytes
from sleepmem.types import Snapshot, checked_name

T = TypeVar("T")


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
        data = self.data.get((checked_name("agent name", agent), _checked(digest)))
        if data is None:
            raise SnapshotNotFound(agent, digest)
        if blake3(data).hexdigest() != digest:
            raise SnapshotCorrupt(digest, "its bytes have another digest")
        return data

    async def restore(self, agent: str, digest: str, load: Callable[[SnapshotBytes], T]) -> T:
        return await asyncio.to_thread(load, await self.get(agent, digest))

    async def digests(self, agent: str) -> list[str]:
        checked_name("agent name", agent)
        return sorted(digest for owner, digest in self.data if owner == agent)

    async def sizes(self, agent: str) -> dict[str, int]:
        return {digest: len(self.data[agent, digest]) for digest in await self.digests(agent)}

    async def has(self, agent: str, digest: str) -> bool:
        return (checked_name("agent name", agent), _checked(digest)) in self.data

    async def leftovers(self, agent: str, *, remove: bool = False) -> list[int]:
        checked_name("agent name", agent)
        return []

    async def delete(self, agent: str, digest: str) -> None:
        self.data.pop((checked_name("agent name", agent), digest), None)


def _checked(digest: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise SnapshotCorrupt(f"{digest[:80]!a}", "its name is not a BLAKE3-256 digest")
    return digest
