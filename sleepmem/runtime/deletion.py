"""Ending what `EpisodeLog.delete_agent` began: the bytes that it leaves in a snapshot store.

The log notes which agents were deleted until their bytes are gone, so a deletion that was killed
is ended by the next collection. A namesake that was born meanwhile keeps what its own log names.
"""

from __future__ import annotations

from sleepmem.errors import AgentNotFound
from sleepmem.protocols import EpisodeLog, SnapshotStore

Bytes = tuple[str | None, int]  # a digest, None where a write was cut short, and how many


async def left_by(snapshots: SnapshotStore, agent: str) -> list[Bytes]:
    """Return what is stored of an agent."""
    whole = sorted((await snapshots.sizes(agent)).items())
    return [*whole, *((None, n_bytes) for n_bytes in await snapshots.leftovers(agent))]


async def end_deletion(log: EpisodeLog, snapshots: SnapshotStore, agent: str) -> list[Bytes]:
    """Remove the bytes of an agent that was deleted, and return those that were."""
    removed: list[Bytes] = []
    for digest, n_bytes in sorted((await snapshots.sizes(agent)).items()):
        try:
            is_gone = await log.sweep(agent, digest, snapshots.delete)
        except AgentNotFound:  # another process has ended it
            return removed
        if is_gone:
            removed.append((digest, n_bytes))
    removed += [(None, n_bytes) for n_bytes in await snapshots.leftovers(agent, remove=True)]
    await log.end_deletion(agent)
    return removed
