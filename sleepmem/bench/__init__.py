"""What is claimed, measured. A benchmark returns rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

DEFAULT_PASSES = 4  # of an agent that names none
Report = Callable[[str, float], None]  # what is being measured, share done in [0, 1]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        value: in `unit`.
        reference: what it is compared with, measured interleaved in the same run, same unit.
        ratio: value / reference.
        difference: value - reference, where that is what counts.
        goal: the bound that `ratio` or `difference`, or else `value`, must keep; None is no goal.
        holds: whether it does; None without a goal.
        lowest, highest: the spread of `value` over repetitions, if it is a mean of some.
    """

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    goal: float | None = None
    holds: bool | None = None
    lowest: float | None = None
    highest: float | None = None
    difference: float | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)
