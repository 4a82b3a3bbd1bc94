"""What a sleep kept, and what it cost earlier memories: losses, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sleepmem.protocols import FastWeights, SleepLM
from sleepmem.runtime.parts import Parts
from sleepmem.types import Episode, Measures, Role

MAX_EARLIER = 4  # episodes of the lineage on which interference is measured
BLOCK = 12  # tokens that are read in one call, which takes about as long as a step of a sleep
SCORED = frozenset({Role.USER, Role.TOOL})


async def measure(
    parts: Parts,
    told: Sequence[Sequence[int]],
    earlier: Sequence[Episode],
    parent: FastWeights,
    child: FastWeights,
) -> Measures | None:
    """Measure a sleep that led from `parent` to `child`; None if nothing can be scored.

    Args:
        told: the ids of the messages of the episode whose roles are `SCORED`.
        earlier: episodes before it, on which interference is measured.
    """
    lm = parts.lm
    limit = lm.window // 2
    ids = scored_ids(told, limit)
    if len(ids) < 2:
        return None

    async def loss(steps: Iterator[list[float]]) -> float:
        losses: list[float] = []
        while (step := await parts.engine.step(steps)) is not None:
            losses += step
        return _mean(losses)

    first = await loss(_losses(lm, parent, ids))
    again = await loss(_losses(lm, child, ids))
    cached = await loss(_losses(lm, parent, ids, is_cached=True))
    rises = []
    for episode in earlier:
        # one by one: what is read of them at once keeps others waiting
        messages = await parts.log.ids_between(
            episode.thread_id, episode.start, episode.stop, SCORED
        )
        old_ids = scored_ids(messages, limit)
        if len(old_ids) > 1:
            before = await loss(_losses(lm, parent, old_ids))
            rises.append(await loss(_losses(lm, child, old_ids)) - before)
    return Measures(
        first=first, again=again, cached=cached, interference=_mean(rises) if rises else None
    )


def scored_ids(messages: Sequence[Sequence[int]], limit: int) -> list[int]:
    """Return the ids of the latest messages that fit `limit` as a whole.

    Of a latest one that does not, its first `limit` ids: no sleep goes unmeasured for its length.
    """
    ids = list(messages[-1][:limit]) if messages else []
    for earlier in reversed(messages[:-1]):
        if len(earlier) + len(ids) > limit:
            break
        ids[:0] = earlier
    return ids


def loss_from(lm: SleepLM, weights: FastWeights, ids: Sequence[int]) -> float:
    """Return the loss of reading ids awake, nats per token."""
    return _mean([loss for step in _losses(lm, weights, ids) for loss in step])


def loss_cached(lm: SleepLM, weights: FastWeights, ids: Sequence[int]) -> float:
    """Return the loss of reading ids a second time, after a first, nats per token."""
    steps = _losses(lm, weights, ids, is_cached=True)
    return _mean([loss for step in steps for loss in step])


def _losses(
    lm: SleepLM, weights: FastWeights, ids: Sequence[int], *, is_cached: bool = False
) -> Iterator[list[float]]:
    """Yield the losses of all ids but the first, some at a step.

    Args:
        is_cached: read them once before.
    """
    state = lm.wake(weights)
    blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
    for block in blocks if is_cached else ():
        lm.read(state, block)
        yield []
    for n, block in enumerate(blocks):
        losses = lm.loss(state, block)
        yield losses if n else losses[1:]  # position 0 of a fresh state has no loss


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
