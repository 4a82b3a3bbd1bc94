"""What all sections share: how much is measured, and how ours and its reference take turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter

from sleepmem.bench import Report, Row
from sleepmem.model.native import NativeSleepLM

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        n_rounds: interleaved rounds of what takes milliseconds.
        n_tokens: decoded in a round.
        short, long: histories, in tokens.
        n_sleeps: timed, in turns with what they are compared with.
        n_reread: tokens that are read again instead of restored.
        mib: sizes of fast weights that are restored.
        n_together: agents that decode as one batch.
        n_agents: that live and rest, and
        n_resident: of them that are kept awake.
    """

    n_rounds: int
    n_tokens: int
    short: int
    long: int
    n_sleeps: int
    n_reread: int
    mib: tuple[float, float]
    n_together: int
    n_agents: int
    n_resident: int


FULL = Size(60, 16, 1_024, 65_536, 12, 4_096, (1, 16), 32, 10_000, 32)
SMALL = Size(3, 2, 128, 512, 2, 256, (0.0625, 0.125), 4, 16, 4)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a section measures with.

    Attributes:
        model: name or folder of the checkpoint that `lm` is.
        folder: for files, on a disk; emptied by whoever made it.
    """

    lm: NativeSleepLM
    model: str
    seed: int
    folder: Path
    size: Size

    def ids(self, n_tokens: int) -> list[int]:
        """Return random ids, the same in every call."""
        rng = Random(self.seed)
        return [rng.randrange(20, self.lm.vocabulary_size) for _ in range(n_tokens)]


async def in_turns(
    what: str, report: Report, n_rounds: int, calls: Sequence[Call]
) -> list[list[float]]:
    """Return the seconds of each call in each round.

    They are called in turns, nobody always first: a slow moment of the machine hits them all.
    """
    times: list[list[float]] = [[] for _ in calls]
    for round_ in range(n_rounds):
        report(what, round_ / n_rounds)
        for turn in range(len(calls)):
            place = (turn + round_) % len(calls)
            began_s = perf_counter()
            await calls[place]()
            times[place].append(perf_counter() - began_s)
    return times


def at_most(name: str, value: float, reference: float, unit: str, goal: float) -> Row:
    """Return a row that holds if value / reference is no more than `goal`."""
    ratio = value / reference
    return Row(name, value, unit, reference, ratio, goal, ratio <= goal)


def at_least(name: str, value: float, reference: float, unit: str, goal: float) -> Row:
    """Return a row that holds if value / reference is no less than `goal`."""
    ratio = value / reference
    return Row(name, value, unit, reference, ratio, goal, ratio >= goal)
