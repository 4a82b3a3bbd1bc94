"""What a wake token costs: after a long life, beside a twin of attention alone, and in company."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from statistics import median

from sleepmem.bench import Report, Row
from sleepmem.bench.runtime.measured import Call, Setting, at_least, at_most, in_turns
from sleepmem.bench.runtime.twin import AttentionTwin
from sleepmem.model.checkpoint import checkpoint_folder, read_weights
from sleepmem.model.native import FastWeights, NativeSleepLM, WakeState
from sleepmem.runtime.engine import Engine
from sleepmem.types import Sampling

FILLS = (25, 100)  # percent of the window in the KV cache
FLAT, TWIN, TOGETHER = 1.10, 10, 5  # goals


async def decode_rows(setting: Setting, report: Report) -> list[Row]:
    """Return `decode_64k_over_1k` for both fills, and `attention_twin_over_ours_64k`."""
    size = setting.size
    lives = [lived(setting, n_tokens, report) for n_tokens in (size.long, size.short)]
    rows = []
    for fill in FILLS:
        calls = [_decoding(setting, weights, fill) for weights in lives]
        what = f"decoding at {fill} % of the window"
        long, short = await _per_token(setting, report, what, calls)
        rows.append(at_most(f"decode_64k_over_1k.fill_{fill}", long, short, "ms/token", FLAT))
    # apart from those: whoever comes after the twin finds the processor's caches full of its keys
    config = read_weights(checkpoint_folder(setting.model)).config
    twin = AttentionTwin(config, size.long, size.n_tokens)
    calls = [_twin_decoding(twin, setting.ids(size.n_tokens)), _decoding(setting, lives[0], 100)]
    theirs, ours = await _per_token(setting, report, "decoding beside a twin", calls)
    rows.append(at_least("attention_twin_over_ours_64k", theirs, ours, "ms/token", TWIN))
    return rows


async def _per_token(
    setting: Setting, report: Report, what: str, calls: Sequence[Call]
) -> list[float]:
    """Return the median milliseconds for a token of each call."""
    times = await in_turns(what, report, setting.size.n_rounds, calls)
    return [1000 * median(samples) / setting.size.n_tokens for samples in times]


async def together_rows(setting: Setting, report: Report) -> list[Row]:
    """Return the throughput of the engine with many agents that speak, over that with one."""
    lm, size = setting.lm, setting.size
    n_read = lm.window // 4
    start = lm.wake(lived(setting, size.short, report))
    lm.read(start, setting.ids(n_read))
    async with aclosing(Engine()) as engine:

        async def speak(state: WakeState) -> None:
            for _ in range(size.n_tokens):
                await engine.decoder.next(lm, state, Sampling())

        async def talk(n_agents: int) -> None:
            await asyncio.gather(*(speak(lm.copy(start)) for _ in range(n_agents)))

        what = f"{size.n_together} agents together"
        calls = [partial(talk, size.n_together), partial(talk, 1)]
        many, one = await in_turns(what, report, size.n_rounds, calls)
    per_s = size.n_together * size.n_tokens / median(many), size.n_tokens / median(one)
    return [at_least("decode_32_agents_over_one", *per_s, "tokens/s", TOGETHER)]


def lived(setting: Setting, n_tokens: int, report: Report) -> FastWeights:
    """Return the fast weights after so many tokens, slept on window by window in one pass."""
    lm, ids = setting.lm, setting.ids(setting.lm.window)
    weights = lm.blank()
    for done in range(0, n_tokens, lm.window):
        report(f"living {n_tokens} tokens", done / n_tokens)
        weights = slept(lm, weights, ids[: n_tokens - done], 1)
    return weights


def slept(lm: NativeSleepLM, weights: FastWeights, ids: Sequence[int], passes: int) -> FastWeights:
    """Return what a sleep makes of fast weights."""
    *_, last = lm.sleep(weights, ids, passes)
    assert last.weights is not None
    return last.weights


def _decoding(setting: Setting, weights: FastWeights, fill: int) -> Call:
    lm = setting.lm
    start = lm.wake(weights)
    # with what is decoded in a round the window is as full as it says
    lm.read(start, setting.ids(fill * lm.window // 100 - setting.size.n_tokens))

    async def decode() -> None:
        state = lm.copy(start)
        for _ in range(setting.size.n_tokens):
            lm.next([state], [Sampling()])

    return decode


def _twin_decoding(twin: AttentionTwin, ids: Sequence[int]) -> Call:
    async def decode() -> None:
        twin.decode(ids)

    return decode
