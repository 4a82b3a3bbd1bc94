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
        if template.format(depth=1) in found  # an arm that was not trained has no line
    ]


HOPS = range(1, 7)
DEPO = {
    "depo.k{depth}.n1": "N=1, the hybrid without sleep",
    "depo.k{depth}.n2": "N=2",
    "depo.k{depth}.n4": "N=4",
    "depo.equal_compute.k{depth}": "N=1, as much compute as N=4: 2.5 times the steps",
    "depo.deeper.k{depth}": "N=1, 8 layers: 1.6 times the compute of N=4",
    "depo.attention_only.k{depth}": "attention only, evicted",
    "depo.full_context.k{depth}": "N=1, nothing evicted",
    "depo.full_context_deep.k{depth}": "attention only, 8 layers, nothing evicted",
    "depo.trained_n4.k{depth}.n1": "trained at N=4, asked at N=1",
    "depo.trained_n4.k{depth}.n8": "trained at N=4, asked at N=8",
}
ELASTIC = {
    f"depo.elastic.k{{depth}}.n{n}": f"the same checkpoint, `passes={n}`{note}"
    for n, note in ((1, ""), (2, ""), (4, ""), (8, ""), (12, ", more than trained"), (16, ""))
}
WINDOWS = {
    "depo.windows2.k{depth}.n1": "two windows, N=1",
    "depo.windows2.k{depth}.n4": "two windows, N=4",
    "depo.windows2.again.k{depth}.n2": "two windows, slept on twice, N=2",
    "depo.windows2.cues.k{depth}.n4": "two windows, N=4, with cues",
    "depo.windows4.k{depth}.n4": "four windows, N=4",
    "depo.windows4.again.k{depth}.n2": "four windows, slept on twice, N=2",
    "depo.windows4.cues.k{depth}.n4": "four windows, N=4, with cues",
}
ABLATIONS = {
    "depo.ablation.embed.k{depth}": "hidden states dropped, tokens read again in every pass",
    "depo.ablation.inject.k{depth}": "tokens added to the hidden states in every pass",
    "depo.ablation.reset.k{depth}": "fast weights reset between passes",
    "depo.ablation.wake_loops.k{depth}": "one pass in sleep, four over each question",
}
LARGE = {f"depo.large.k{{depth}}.n{n}": f"16 nodes, N={n}" for n in (1, 2, 4, 8)}
MATH = {
    "math.ops{depth}.n1": "N=1, the hybrid without sleep",
    "math.ops{depth}.n2": "N=2",
    "math.ops{depth}.n4": "N=4",
    "math.attention_only.ops{depth}": "attention only, evicted",
}
RULE110 = {f"rule110.t{{depth}}.n{n}": f"N={n}" for n in (1, 4)}


def paper_sentences() -> list[str]:
    found = {row["name"]: row for row in paper("depo")["rows"]}
    five, six = (found[f"depo.gain_at_{depth}"]["value"] for depth in (5, 6))
    minutes = sum(run["seconds"] for run in paper("depo")["arms"]) / 60
    return [
        f"N=4 leads N=1 by {five:.0f} points at five hops and {six:.0f} at six",
        f"{found['wake_cost_ratio']['ratio']:.2f} times",
        f"took {minutes:.0f} minutes in all",
    ]


def test_figures_of_the_paper_are_those_of_the_records() -> None:
    text = (ROOT / "README.md").read_text()
    for sentence in paper_sentences():
        assert sentence in " ".join(text.split()), sentence
    for study, names, depths in (
        ("depo", DEPO, HOPS),
        ("elastic", ELASTIC, HOPS),
        ("ablations", ABLATIONS, HOPS),
        ("windows", WINDOWS, HOPS),
        ("large", LARGE, range(1, 11)),
        ("math", MATH, range(1, 9)),
        ("rule110", RULE110, range(1, 9)),
    ):
        lines = paper_lines(study, names, depths)
        for line in lines:
            assert line in text, "\n".join(lines)


def test_goals_of_the_paper_hold_in_the_record() -> None:
    found = {row["name"]: row for row in paper("depo")["rows"]}
    for name in ("depo.gain_at_5", "depo.gain_at_6", "depo.shallow_min", "wake_cost_ratio"):
        assert found[name]["holds"], found[name]
    for depth in (5, 6):
        low, between, high = (found[f"depo.k{depth}.n{n}"]["value"] for n in (1, 2, 4))
        assert low < between < high
    gains = [round(found[f"depo.gain_at_{depth}"]["value"]) for depth in HOPS]
    assert gains == sorted(gains)
    assert {run["seed"] for run in paper("depo")["arms"]} == {0, 1, 2}
