"""What a sleep kept, and what it cost earlier memories: losses, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.protocols import FastWeights, SleepLM
from sleepmem.runtime.parts import Parts
from sleepmem.types import Episode, LoggedMessage, Measures, Role

MAX_EARLIER = 4  # episodes of the lineage on which interference is measured
SCORED = frozenset({Role.USER, Role.TOOL})


async def measure(
    parts: Parts,
    told: Sequence[LoggedMessage],
    earlier: Sequence[Episode],
    parent: FastWeights,
    child: FastWeights,
) -> Measures | None:
    """Measure a sleep that led from `parent` to `child`; None if nothing can be scored.

    Args:
        told: the messages of the episode.
        earlier: episodes before it, on which interference is measured.
    """
    run, lm = parts.engine.run, parts.lm
    limit = lm.window // 2
    ids = scored_ids(told, limit)
    if len(ids) < 2:
        return None
    first = await run(loss_from, lm, parent, ids)
    again = await run(loss_from, lm, child, ids)
    cached = await run(loss_cached, lm, parent, ids)
    rises = []
    for episode in earlier:
        messages = await parts.log.messages_between(episode.thread_id, episode.start, episode.stop)
        old_ids = scored_ids(messages, limit)
        if len(old_ids) > 1:
            before = await run(loss_from, lm, parent, old_ids)
            rises.append(await run(loss_from, lm, child, old_ids) - before)
    return Measures(
        first=first, again=again, cached=cached, interference=_mean(rises) if rises else None
    )


def scored_ids(messages: Sequence[LoggedMessage], limit: int) -> list[int]:
    """Return the ids of the latest user and tool messages that fit `limit` as a whole."""
    chosen: list[tuple[int, ...]] = []
    n_left = limit
    for message in reversed(messages):
        if message.role in SCORED:
            n_left -= len(message.token_ids)
            if n_left < 0:
                break
            chosen.append(message.token_ids)
    return [token_id for ids in reversed(chosen) for token_id in ids]


def loss_from(lm: SleepLM, weights: FastWeights, ids: Sequence[int]) -> float:
    """Return the loss of reading ids awake, nats per token."""
    # position 0 of a fresh state has no loss
    return _mean(lm.loss(lm.wake(weights), ids)[1:])


def loss_cached(lm: SleepLM, weights: FastWeights, ids: list[int]) -> float:
    """Return the loss of reading ids a second time, after a first, nats per token."""
    state = lm.wake(weights)
    lm.read(state, ids)
    return _mean(lm.loss(state, ids)[1:])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
