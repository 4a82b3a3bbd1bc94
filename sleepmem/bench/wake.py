"""Does a wake token cost the same however long the life was, and whatever `passes`?

Two states of the same window fill, one after a long life and one after a short one, are decoded in
turns, so that a slow moment of the machine hits both. The window fill is what may cost; history
may not. Beside it stand the speeds of decoding and of sleeping: one agent, one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import median
from time import perf_counter

import torch

from sleepmem.bench import DEFAULT_PASSES, Report, Row
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.model.native import FastWeights, NativeSleepLM, WakeState
from sleepmem.types import Sampling

SHORT, LONG = 1_000, 64_000  # tokens lived through
N_ROUNDS, N_TOKENS = 40, 16  # interleaved rounds, tokens in each
FILL = 0.25  # share of the window that is in the KV cache before a round
N_SLEEPS = 5  # that are timed
GOAL = 1.10
DECODE_GOAL, SLEEP_GOAL = 150, 1500  # tokens, and tokens x passes, per second


def wake(model: str, seed: int, report: Report) -> list[Row]:
    """Return rows on the time of a wake token and on the speeds of decoding and of sleeping."""
    torch.set_num_threads(1)
    lm = load_checkpoint(model)
    rng = Random(seed)
    ids = [rng.randrange(20, lm.vocabulary_size) for _ in range(lm.window)]
    lives: dict[str, FastWeights] = {}
    for n_tokens in (SHORT, LONG):
        lives[f"after {n_tokens} tokens"] = _lived(lm, ids, n_tokens, 1, report)
    for passes in (2, 4):
        lives[f"passes {passes}"] = _lived(lm, ids, SHORT, passes, report)
    times = _interleaved(lm, list(lives.values()), ids[: int(FILL * lm.window)], report)
    short, long, two, four = (median(samples) * 1000 for samples in times)
    n_bytes = len(lm.dump(lives[f"after {LONG} tokens"]))
    return [
        _row("wake_64k_over_1k", long, short),
        _row("wake_passes_2_over_1", two, short),
        _row("wake_passes_4_over_1", four, short),
        _speed("wake.decode", 1000 / short, "tokens/s", DECODE_GOAL),
        _speed("wake.sleep", _slept_per_s(lm, ids, report), "token-passes/s", SLEEP_GOAL),
        Row("snapshot_bytes", n_bytes, "bytes"),
    ]


def _speed(name: str, per_s: float, unit: str, goal: float) -> Row:
    return Row(name, per_s, unit, goal=goal, holds=per_s >= goal)


def _slept_per_s(lm: NativeSleepLM, window: Sequence[int], report: Report) -> float:
    """Return tokens x passes of the median sleep over a window, per second."""
    times = []
    for n in range(N_SLEEPS):
        report("sleeping on a window", n / N_SLEEPS)
        started = perf_counter()
        for _ in lm.sleep(lm.blank(), window, DEFAULT_PASSES):
            pass
        times.append(perf_counter() - started)
    return DEFAULT_PASSES * len(window) / median(times)


def _row(name: str, value: float, reference: float) -> Row:
    ratio = value / reference
    return Row(name, value, "ms/token", reference, ratio, GOAL, ratio <= GOAL)


def _lived(
    lm: NativeSleepLM, ids: Sequence[int], n_tokens: int, passes: int, report: Report
) -> FastWeights:
    """Return the fast weights after so many tokens, slept on window by window."""
    weights = lm.blank()
    for done in range(0, n_tokens, lm.window):
        *_, last = lm.sleep(weights, ids[: min(lm.window, n_tokens - done)], passes)
        assert last.weights is not None
        weights = last.weights
        report(f"living {n_tokens} tokens", done / n_tokens)
    return weights


def _interleaved(
    lm: NativeSleepLM, lives: Sequence[FastWeights], window: Sequence[int], report: Report
) -> list[list[float]]:
    """Return for each life the seconds per token of each round, measured in turns."""
    times: list[list[float]] = [[] for _ in lives]
    for round_ in range(N_ROUNDS):
        for turn in range(len(lives)):
            place = (turn + round_) % len(lives)  # nobody is always first
            samples, state = times[place], lm.wake(lives[place])
            lm.read(state, window)
            samples.append(_decode_s(lm, state) / N_TOKENS)
        report("decoding in turns", round_ / N_ROUNDS)
    return times


def _decode_s(lm: NativeSleepLM, state: WakeState) -> float:
    started = perf_counter()
    for _ in range(N_TOKENS):
        lm.next([state], [Sampling()])
    return perf_counter() - started
