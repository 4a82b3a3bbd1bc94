"""The pictures: what is remembered by sleep age, by load and by kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sleepmem.bench import Row
from sleepmem.bench.figures import Curve, Point, draw, draw_dots
from sleepmem.bench.memory.tables import OURS, WHO, Cells, cells, numbered
from sleepmem.train.dialogues.plots import KINDS

TRAINED = ("trained_passes1_steps", "trained_passes1_compute")
ATTENTIVE = ("attention_full", "attention_truncated")
BY_KIND = ("ours", *TRAINED, *ATTENTIVE, "other", "blank")


def draw_memory(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draw age, load and kinds into a folder, and return the files.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    found = cells(rows)
    ages = _curves(found, "age", (*OURS.values(), *TRAINED))
    loads = _curves(found, "load", (*OURS.values(), *TRAINED, *ATTENTIVE))
    dots = {
        WHO[who]: {
            kind.replace("_", "-"): _point(found[kind][who])
            for kind in KINDS
            if who in found.get(kind, {})
        }
        for who in BY_KIND
    }
    title = "Held-out lives"
    return [
        *draw(folder / "age", [(title, ages)], x="sleeps since it was told", is_logarithmic=True),
        *draw(folder / "load", [(title, loads)], x="facts held at once", is_logarithmic=True),
        *draw_dots(folder / "kinds", dots),
    ]


def _curves(found: Cells, kind: str, among: Sequence[str]) -> dict[str, Curve]:
    """Return a curve for each who, over the number that follows the kind."""
    at = numbered(found, kind)
    curves = {
        WHO[who]: {
            float(x): _point(found[name][who]) for x, name in at.items() if who in found[name]
        }
        for who in among
    }
    return {label: curve for label, curve in curves.items() if curve}


def _point(row: Row) -> Point:
    assert row.lowest is not None
    assert row.highest is not None
    return Point(row.value, row.lowest, row.highest)
