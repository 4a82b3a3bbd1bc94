"""The card and its part of README hold the figures of the records, and nothing that was not found.

The records are made up; they are of a checkpoint that knows nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sleepmem.bench import Row
from sleepmem.bench.memory.card import BEGIN, END, card, refreshed, remembers, write
from sleepmem.bench.memory.card_words import command_of
from sleepmem.bench.memory.checkpoints import OPPONENTS
from sleepmem.bench.memory.evidence import WAKE, read_evidence
from sleepmem.bench.memory.exam import AGES
from sleepmem.bench.memory.ship import ship
from sleepmem.bench.memory.study import RECORD
from sleepmem.bench.memory.suite import LOADS
from sleepmem.bench.memory.tables import KIND_IS, WHO, cells, numbers_table
from sleepmem.cli import main
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import fingerprint
from sleepmem.train import run as train_run
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.runs import environment
from sleepmem.train.settings import Loop, TrainSettings

README = f"# ours\n\nbefore\n\n{BEGIN}stale\n{END}\nafter\n"
RETENTION = "memory.retention.rank_correlation"


def memory_rows() -> Iterator[Row]:
    names = (*KINDS, *(f"age{age}" for age in AGES), *(f"load{load}" for load in LOADS))
    for n, kind in enumerate(names):
        for m, who in enumerate(WHO):
            if who == "attention_full" and kind == "age64":
                continue  # does not span it
            value = (n + 30 * m) / 1000
            goal = 0.0 if (kind, who) == ("single", "ours") else None
            yield Row(f"memory.{kind}.{who}", value, "fraction", goal=goal, holds=goal is not None,
                      lowest=value, highest=value + 0.5)  # fmt: skip
    yield Row("memory.two_hop.gain_over_ours_passes1", 0.237, "fraction", goal=0.0, holds=False)
    yield Row(RETENTION, 0.812, "Spearman", goal=0.6, holds=True)
    for kind in ("handwritten", "handwritten_code"):
        yield Row(f"memory.{kind}.ours", 0.5, "fraction", lowest=0.31, highest=0.69)


def wake_rows() -> list[Row]:
    return [
        Row("wake_64k_over_1k", 1.234, "ms/token", 1.199, 1.234 / 1.199, 1.1, True),
        Row("wake.decode", 811.2, "tokens/s", goal=150, holds=True),
        Row("wake.sleep", 23456.7, "token-passes/s", goal=1500, holds=True),
        Row("snapshot_bytes", 4242, "bytes"),
    ]


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Give a shipped checkpoint with its records."""
    folder = tmp_path / "pretrained" / "tiny-9"
    ship(finished, folder)
    common = {"fingerprint": fingerprint(folder), "seed": 5, "environment": environment()}
    said = [{"life": n // 2, "is_right": n == 0} for n in range(4)]
    memory = {"n_lives": 77, "without": [], "rows": [row.document() for row in memory_rows()]}
    (folder / RECORD).write_text(json.dumps(common | memory | {"handwritten": said}))
    rows = {"rows": [row.document() for row in wake_rows()]}
    (folder / WAKE).write_text(json.dumps(common | rows))
    return folder


def flat(text: str) -> str:
    return " ".join(text.split())


def test_card_says_what_was_other_before_a_branch(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["progress"]["branched"] = [{"step": 1}, {"step": 2000, "shallow": 9, "decay": 8}]
    (folder / "run.json").write_text(json.dumps(record))
    text = flat(card(read_evidence(folder)))
    assert "Until step 2,000 it ran with shallow 9 and decay 8." in text
    assert text.count("it ran with") == 1
    loops = [{"loop_input": "carry", "evict": True}, {"loop_input": "inject"}]
    record["progress"]["branched"] = [
        {"step": 3, "options": {}, "passes": [1, 2], "loop": loops[0]},
        {"step": 4, "options": {"chained": 60}, "loop": loops[1], "forcing_from": 7},
    ]
    (folder / "run.json").write_text(json.dumps(record))
    text = flat(card(read_evidence(folder)))
    default = "options as they are by default and passes 1,2 and loop as they are by default"
    assert f"Until step 3 it ran with {default}." in text
    other = "options of chained 60 and loop of loop input inject and forcing from 7"
    assert f"Until step 4 it ran with {other}." in text


def test_card_says_of_which_steps_its_weights_are_the_mean(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    assert "the mean of those" not in flat(card(read_evidence(folder)))
    shares = [{"step": 1000, "share": 0.2}, {"step": 2000, "share": 0.8}]
    became = "its weights became the mean of those along the way: 20% step 1,000, 80% step 2,000."
    step = f"{record['progress']['step']:,}"
    for averaged, branched, of in (
        (shares, [], step),
        ([], [{"step": 2000, "averaged": shares}], "2,000"),
    ):
        record["progress"] |= {"averaged": averaged, "branched": branched}
        (folder / "run.json").write_text(json.dumps(record))
        text = flat(card(read_evidence(folder)))
        assert f"At step {of} {became}" in text
        assert text.count(became) == 1
        assert "it ran with" not in text


REWRITE = {"loop": Loop(loop_input="rewrite"), "loop_layers": 2}


@pytest.mark.parametrize(
    "others",
    [
        {"passes": (1, 2)},
        {"forcing": 2.0, "forcing_from": 10, "forcing_to": 30, **REWRITE},
        {"loop_alone": True, "passes": (2, 3), **REWRITE},
        {"loop": Loop(loop_state="reset", wake_passes=3)},
        {"loop": Loop(evict=False), "passes": (1,), "tied": False},
    ],
)
def test_the_command_of_a_card_is_that_of_its_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, others: dict[str, object]
) -> None:
    given = TrainSettings(task="dialogues", steps=9, options={"chained": 60}, **others)
    ran: list[TrainSettings] = []
    monkeypatch.setattr(train_run, "run", lambda settings, *_, **__: ran.append(settings) or {})
    words = shlex.split(command_of(given, str(tmp_path / "again")).replace("\\\n", ""))
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, result.output
    assert ran == [given]


def test_every_kind_has_words() -> None:
    assert tuple(sorted(KIND_IS)) == tuple(sorted(KINDS))


def test_card_holds_what_was_measured(folder: Path) -> None:
    text = flat(card(read_evidence(folder)))
    assert text.startswith("# sleepmem/tiny-9 ")
    assert fingerprint(folder)[:12] in text
    assert "| one fact | 0 (0-50) | 3 (3-53) |" in text
    assert "| one fact, % | 0 (0-50) | at least 0 | yes |" in text
    assert (
        "| two hops, told at once, points over ours, N=1 | +24 | above, intervals apart | no |"
        in text
    )
    assert "rank correlation | 0.81 | at least 0.6 | yes |" in text
    assert "1 of 4 questions to 2 lives: 50 (31-69) %" in text
    assert "| a code, letter by letter | 50 (31-69) |" in text
    assert "1.23 ms after 64,000 tokens and 1.20 ms after 1,000 (ratio 1.03" in text
    assert "23,457 tokens x passes a second" in text
    assert text.count("4,242 bytes") == 2
    assert "77 lives" in text
    assert "--seed 5" in text
    assert not {*"{}"} & {*text}


def test_everybody_is_in_the_card_and_the_main_ones_in_readme(folder: Path) -> None:
    evidence = read_evidence(folder)
    whole, part = card(evidence), remembers(evidence, "pretrained/tiny-9")
    assert all(words in whole for words in WHO.values())
    assert {who for who, words in WHO.items() if words not in part} == {
        "ours_passes2",
        "ours_passes8",
    }


def test_who_was_not_judged_has_no_column_and_is_said_to_be_missing(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    judged = {*WHO} - {who for who in WHO if who.startswith(("trained", "attention"))}
    record["rows"] = [row for row in record["rows"] if row["name"].split(".")[-1] in judged]
    record["rows"] += [row.document() for row in memory_rows() if row.name == RETENTION]
    (folder / RECORD).write_text(json.dumps(record | {"without": [*OPPONENTS]}))
    evidence = read_evidence(folder)
    for text in map(flat, (card(evidence), remembers(evidence, "pretrained/tiny-9"))):
        assert WHO["blank"] in text
        assert WHO["attention_full"] not in text
        assert WHO["trained_passes1_steps"] not in text
        assert "Yet to be trained beside it: the same with N=1 for as many steps; " in text


def test_what_was_not_measured_has_an_empty_cell() -> None:
    [header, line] = numbers_table(cells(list(memory_rows())), "age", "age", ["attention_full"])
    assert header[1:] == [str(age) for age in AGES]
    assert [cell == "" for cell in line[1:]] == [age == 64 for age in AGES]


def test_readme_is_changed_between_its_marks_alone_and_only_once(
    folder: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    write(folder, readme)
    text = readme.read_text()
    assert text.startswith(README.partition("stale")[0])
    assert text.endswith(README.partition("stale\n")[2])
    assert "stale" not in text
    assert "(pretrained/tiny-9/README.md)" in text
    assert (folder / "README.md").read_text() == card(read_evidence(folder))
    write(folder, readme)
    assert readme.read_text() == text


def test_pictures_are_shown_where_they_were_drawn(folder: Path) -> None:
    assert "![" not in card(read_evidence(folder))
    for name in ("age.svg", "kinds.svg"):
        (folder / name).write_text("<svg/>")
    evidence = read_evidence(folder)
    assert card(evidence).count("![") == 2
    part = remembers(evidence, "pretrained/tiny-9")
    assert part.count("![") == part.count("](pretrained/tiny-9/age.svg)") == 1


@pytest.mark.parametrize("readme", ["", BEGIN, END + BEGIN])
def test_readme_without_a_place_is_refused(readme: str) -> None:
    with pytest.raises(ConfigError, match="no place") as caught:
        refreshed(readme, "x")
    assert BEGIN.strip() in caught.value.hint


@pytest.mark.parametrize(("name", "command"), [(RECORD, "bench memory"), (WAKE, "bench wake")])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fingerprint": "0" * 64}, "is of checkpoint 000000000000, and here lies"),
        ({"rows": None}, "no readable record"),
        (None, "no readable record"),
    ],
)
def test_record_that_is_missing_or_of_another_checkpoint_is_refused(
    folder: Path, name: str, command: str, change: dict[str, Any] | None, why: str
) -> None:
    path = folder / name
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=why) as caught:
        read_evidence(folder)
    assert command in caught.value.hint
