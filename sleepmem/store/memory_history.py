"""What is kept of the snapshots of an agent, in plain Python; a base of the log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sleepmem.errors import AgentNotFound, EpisodeNotFound
from sleepmem.history import Look
from sleepmem.types import MAIN, Episode, Head, Turn

NEWBORN = Head(episode=None, snapshot=None)


@dataclass
class AgentRow:
    name: str
    fingerprint: str
    epoch: int = 0
    holder: str | None = None
    expires_at: datetime | None = None
    heads: dict[str, Head] = field(default_factory=lambda: {MAIN: NEWBORN})
    turns: list[Turn] = field(default_factory=list)


class MemoryHistory:
    """The agents and their closed episodes, whose marks are set here."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentRow] = {}
        self._deletions: list[tuple[str, datetime]] = []
        self._episodes: dict[str, Episode] = {}
        self._sweeping = asyncio.Lock()  # held where a snapshot store is awaited

    async def history(self, agent: str, look: Look) -> None:
        show = look({name: head.episode for name, head in self._agent(agent).heads.items()})
        mine = [episode for episode in self._episodes.values() if episode.agent == agent]
        for episode in sorted(mine, key=lambda episode: episode.index, reverse=True):
            show(episode)

    async def pin(self, agent: str, episode: str, pinned: bool) -> None:
        self._agent(agent)
        found = self._episodes.get(episode)
        if found is None or found.agent != agent:
            raise EpisodeNotFound(agent, episode)
        self._episodes[episode] = found.model_copy(update={"pinned": pinned})

    async def drop(self, agent: str, digests: Sequence[str], now: datetime) -> None:
        spared = self._spared(agent)
        self._mark(agent, {digest for digest in digests if digest not in spared}, now)

    async def sweep(
        self, agent: str, digest: str, delete: Callable[[str, str], Awaitable[None]]
    ) -> bool:
        async with self._sweeping:
            if agent not in self._agents and agent in await self.deleted():
                await delete(agent, digest)
                return True
            named = [
                episode.snapshot
                for episode in self._episodes.values()
                if (episode.agent, episode.snapshot.digest) == (agent, digest)
            ]
            if any(s.dropped_at is None for s in named) or digest in self._spared(agent):
                return False
            await delete(agent, digest)
            return True

    async def deleted(self) -> list[str]:
        return sorted({agent for agent, _ in self._deletions})

    async def forget_deletions(self, before: datetime) -> None:
        self._deletions = [noted for noted in self._deletions if noted[1] >= before]

    async def restore(
        self, agent: str, digest: str, ensure_stored: Callable[[], Awaitable[None]]
    ) -> None:
        self._agent(agent)
        async with self._sweeping:
            await ensure_stored()
            self._mark(agent, {digest}, None)

    def _agent(self, agent: str) -> AgentRow:
        if agent not in self._agents:
            raise AgentNotFound(agent)
        return self._agents[agent]

    def _spared(self, agent: str) -> set[str | None]:
        """Return the digests that are never dropped: those of heads and of pinned episodes."""
        heads = {head.snapshot for head in self._agent(agent).heads.values()}
        mine = (episode for episode in self._episodes.values() if episode.agent == agent)
        return heads | {episode.snapshot.digest for episode in mine if episode.pinned}

    def _mark(self, agent: str, digests: Collection[str], dropped_at: datetime | None) -> None:
        for episode in list(self._episodes.values()):
            snapshot = episode.snapshot
            is_marked = snapshot.dropped_at is not None
            if episode.agent != agent or snapshot.digest not in digests:
                continue
            if is_marked != (dropped_at is not None):  # the first mark stays
                changed = snapshot.model_copy(update={"dropped_at": dropped_at})
                self._episodes[episode.id] = episode.model_copy(update={"snapshot": changed})
