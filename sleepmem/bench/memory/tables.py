"""Rows of the benchmark for people: who is who, and the table by kind."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.bench import DEFAULT_PASSES, Row

PASSES = (1, 2, 4, 8)
OURS = {passes: f"ours_passes{passes}" for passes in PASSES}
WHO = {
    "ours": f"ours, N={DEFAULT_PASSES}",
    **{who: f"ours, N={passes}" for passes, who in OURS.items()},
    "blank": "a newborn's fast weights",
    "other": "another's fast weights",
    "trained_passes1_steps": "trained with N=1, as many steps",
    "trained_passes1_compute": "trained with N=1, as much compute",
    "attention_full": "attention, nothing evicted",
    "attention_truncated": "attention, the last window",
}  # says who answers, for figures

Cells = dict[str, dict[str, Row]]  # by kind, age or load, then by who


def cells(rows: Sequence[Row]) -> Cells:
    """Return the rows `memory.KIND.WHO` by both."""
    found: Cells = {}
    for row in rows:
        _, kind, who = row.name.split(".", 2)
        if who in WHO:
            found.setdefault(kind, {})[who] = row
    return found


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return percentages with their intervals, a line a kind; the first line is the header."""
    found = cells(rows)
    columns = [who for who in WHO if who != OURS[DEFAULT_PASSES]]  # the same as ours
    header = ["% answered exactly", *("#" + who.replace("_", "\n") for who in columns)]
    lines = [
        [kind, *(_percent(by_who.get(who)) for who in columns)] for kind, by_who in found.items()
    ]
    return [header, *lines]


def _percent(row: Row | None) -> str:
    if row is None or row.lowest is None or row.highest is None:
        return ""
    return f"{100 * row.value:.0f} ({100 * row.lowest:.0f}-{100 * row.highest:.0f})"
