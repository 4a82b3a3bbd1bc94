"""Replay: the life of a branch, episode by episode, derived again from the log if asked to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

from blake3 import blake3

from sleepmem.errors import (
    CannotVerify,
    CheckpointInvalid,
    CheckpointNotFound,
    EpisodeNotFound,
    FingerprintMismatch,
    ReplayDiverged,
    SnapshotCorrupt,
    SnapshotNotFound,
)
from sleepmem.history import ReplayedEpisode
from sleepmem.protocols import EpisodeLog, FastWeights, SnapshotBytes
from sleepmem.runtime.measure import loss_from
from sleepmem.runtime.parts import Parts
from sleepmem.runtime.sleeper import sleep_through
from sleepmem.types import Episode, Head

log = logging.getLogger(__name__)


async def episodes_between(
    store: EpisodeLog, agent: str, branch: str, since: str | int | None, until: str | int | None
) -> tuple[Episode | None, list[Episode]]:
    """Return the closed episode `since`, and those after it up to `until`.

    Args:
        since: an id or an index; None means birth.
        until: the same; None means the head.

    Raises:
        AgentNotFound, BranchNotFound, EpisodeNotFound
    """
    episodes = await store.lineage(agent, branch)
    start = 0 if since is None else _place(agent, episodes, since)
    stop = len(episodes) if until is None else _place(agent, episodes, until)
    return episodes[start - 1] if start else None, episodes[start:stop]


def _place(agent: str, episodes: Sequence[Episode], name: str | int) -> int:
    """Return which of them, from 1, has this id or else this index."""
    for names in ([e.id for e in episodes], [str(e.index) for e in episodes]):
        if str(name) in names:
            return names.index(str(name)) + 1
    raise EpisodeNotFound(agent, str(name))


async def verified_episodes(
    opened: Callable[[], Awaitable[Parts]],
    agent: str,
    before: Episode | None,
    episodes: Sequence[Episode],
) -> AsyncIterator[ReplayedEpisode]:
    """Derive every snapshot from the log and its own derived parent; compare bytes.

    A snapshot whose bytes are missing is stored again, if the log gives the digest it had.

    Args:
        opened: gives the parts, the model among them.
        before: the episode whose stored snapshot is where it begins; None begins at birth.

    Raises:
        CannotVerify: the model that the agent lived with is not at hand.
        SnapshotNotFound: that of `before` was dropped.
        ReplayDiverged: the first snapshot whose bytes differ.
        SnapshotCorrupt: there is nothing to compare with.
    """
    try:
        parts = await opened()
    except (CheckpointNotFound, CheckpointInvalid) as problem:
        raise CannotVerify(agent, str(problem)) from problem
    fingerprint = (await parts.log.summary(agent)).fingerprint
    if fingerprint != parts.lm.fingerprint:
        stranger = FingerprintMismatch("it", fingerprint, parts.lm.fingerprint)
        raise CannotVerify(agent, str(stranger)) from stranger
    start = Head(episode=None, snapshot=None)
    if before is not None:
        start = Head(episode=before.id, snapshot=before.snapshot.digest)
    weights = await parts.weights_at(agent, start)
    for episode in episodes:
        weights, restored = await _verified(parts, weights, episode)
        if restored:
            snapshot = episode.snapshot.model_copy(update={"dropped_at": None})
            episode = episode.model_copy(update={"snapshot": snapshot})
        yield ReplayedEpisode(episode=episode, verified=True, restored=restored)


async def _verified(
    parts: Parts, parent: FastWeights, episode: Episode
) -> tuple[FastWeights, bool]:
    """Return the derived fast weights of an episode and whether they had to be stored again."""
    ids = await parts.log.tokens(episode.thread_id, episode.start, episode.stop)
    child = await sleep_through(parts, parent, ids, episode.passes)
    derived = await parts.engine.run(parts.lm.dump, child)
    digest = await asyncio.to_thread(_digest, derived)
    try:
        stored: SnapshotBytes | None
        stored = await parts.snapshots.get(episode.agent, episode.snapshot.digest)
    except SnapshotNotFound:
        stored = None
    if stored is None:
        same = digest == episode.snapshot.digest
    else:
        same = await asyncio.to_thread(_is_same, derived, stored)
    if not same:
        again = await sleep_through(parts, parent, ids, episode.passes)
        raise ReplayDiverged(
            episode.id,
            episode.snapshot.digest,
            digest,
            differences=_differences(episode.numerics, parts.lm.numerics),
            repeats=await parts.engine.run(parts.lm.dump, again) == derived,
            apart=await _apart(parts, ids, child, stored),
        )
    if stored is None:
        restored = partial(parts.ensure_stored, episode.agent, digest, derived)
        await parts.log.restore(episode.agent, digest, restored)
        log.info("snapshot restored", extra={"agent": episode.agent, "digest": digest})
    return child, stored is None


def _digest(data: bytes) -> str:
    return blake3(data).hexdigest()


def _is_same(derived: bytes, stored: SnapshotBytes) -> bool:
    return derived == bytes(stored)  # a memoryview would be compared item by item


async def _apart(
    parts: Parts, ids: Sequence[int], derived: FastWeights, stored: SnapshotBytes | None
) -> float | None:
    """Return by how much losses awake on two fast weights differ, nats per token."""
    if stored is None or len(ids) < 2:
        return None
    run, lm = parts.engine.run, parts.lm
    try:
        other = await run(lm.load, stored)
    except (SnapshotCorrupt, FingerprintMismatch):
        return None
    losses = [await run(loss_from, lm, weights, ids) for weights in (derived, other)]
    return abs(losses[0] - losses[1])


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what the numerics of a sleep have different from those of this machine."""
    both = {
        name: (then.get(name, "unknown"), now.get(name, "unknown"))
        for name in sorted({*then, *now})
    }
    return {name: (was, is_) for name, (was, is_) in both.items() if was != is_}
