"""Figures in README and model cards are those that the shipped records hold.

The records are what `sleepmem bench recall --json` and `sleepmem bench wake --json` printed, and
the files that `sleepmem bench paper` wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sleepmem.model.checkpoint import checkpoint_folder, load_checkpoint

ROOT = Path(__file__).parents[1]
FOLDER = checkpoint_folder("sleepmem/tiny")
CARD = FOLDER / "README.md"


def record(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def rows(name: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in record(name)["rows"]}


def recall_table() -> list[str]:
    """Return the lines of the table, one for each row of the record."""
    lines = [
        "| 20 lives of 24 facts, 8 sleeps | right | worst to best life |",
        "| --- | --- | --- |",
    ]
    meaning = {
        "recall.own": "its own fast weights",
        "recall.blank": "blank fast weights",
        "recall.other": "those of an agent that was told other values",
        "recall.own_passes1": "own, `passes=1`",
        "recall.own_passes2": "own, `passes=2`",
        "recall.own_passes4": "own, `passes=4`, the default",
        "recall.own_passes8": "own, `passes=8`, more than trained",
        "recall.age1": "own, told 1 sleep ago",
        "recall.age8": "own, told 8 sleeps ago",
    }
    found = rows("recall")
    for name, words in meaning.items():
        row = found[name]
        spread = f"{row['lowest']:.0%} to {row['highest']:.0%}"
        lines.append(f"| {words} | {row['value']:.1%} | {spread} |")
    return lines


def wake_sentence() -> str:
    row = rows("wake")["wake_64k_over_1k"]
    return f"{row['value']:.2f} ms after 64,000 tokens, {row['reference']:.2f} ms after 1,000"


@pytest.mark.parametrize("path", [ROOT / "README.md", CARD], ids=["README", "card"])
def test_figures_are_those_of_the_records(path: Path) -> None:
    text = " ".join(path.read_text().split())
    for line in recall_table():
        assert line in text, "\n".join(recall_table())
    assert wake_sentence() in text, wake_sentence()


def test_goals_hold_in_the_records() -> None:
    for name in ("recall", "wake"):
        assert not [row for row in record(name)["rows"] if row["holds"] is False]
    assert rows("recall")["recall.own"]["value"] >= 0.80


def test_card_names_the_checkpoint_it_lies_beside() -> None:
    assert load_checkpoint("sleepmem/tiny").fingerprint[:12] in CARD.read_text()


PAPER = ROOT / "sleepmem/pretrained/paper"


def paper(study: str) -> dict[str, Any]:
    return json.loads((PAPER / "records" / f"{study}.json").read_text())


def percent(row: dict[str, Any]) -> str:
    """Return a cell: the mean, and the range over seeds where there are several."""
    mean, low, high = (f"{100 * row[key]:.0f}" for key in ("value", "lowest", "highest"))
    return mean if low == high else f"{mean} ({low}-{high})"


def paper_lines(study: str, names: dict[str, str], depths: range) -> list[str]:
    """Return lines of a table, one for each template of row names."""
    found = {row["name"]: row for row in paper(study)["rows"]}
    return [
        f"| {words} | "
        + " | ".join(percent(found[template.format(depth=depth)]) for depth in depths)
        + " |"
        for template, words in names.items()
    ]
