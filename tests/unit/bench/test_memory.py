"""The memory benchmark as a whole, on checkpoints that know nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from small_talkers import small_talker

from sleepmem.bench import Row
from sleepmem.bench.memory import checkpoints, spoken, study, suite
from sleepmem.bench.memory.exam import AGES, Asked, Exam
from sleepmem.bench.memory.handwritten import Said, handwritten, handwritten_lives, handwritten_rows
from sleepmem.bench.memory.judged import Answers, others, slept
from sleepmem.bench.memory.retention import retention
from sleepmem.bench.memory.study import Request, run_memory
from sleepmem.bench.memory.suite import Judge, Judged, memory
from sleepmem.bench.memory.tables import OURS
from sleepmem.cli import main
from sleepmem.cli.terminal import Terminal
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.train.dialogues.demo import bare
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.tasks.dialogue_rows import text_ids
from sleepmem.train.tokenizer import build_tokenizer, save_tokenizer

pytestmark = pytest.mark.timeout(300)  # the first test waits for the whole benchmark

KINDS = (
    *("single", "changed", "code", "two_hop", "three_hop", "several", "list", "order"),
    *("preference", "interference", "repeated", "abstain", "apart", "link", "relative"),
)
LOADS = (8, 16, 32, 64, 128)
SLEEPERS = (
    *("ours", "ours_passes1", "ours_passes2", "ours_passes4", "ours_passes8"),
    *("blank", "other", "trained_passes1_steps", "trained_passes1_compute"),
    "attention_truncated",
)


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1


@pytest.fixture(scope="module")
def opponents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opponents")
    small_talker(1).save_pretrained(folder / "passes1_steps")
    small_talker(2).save_pretrained(folder / "passes1_compute")
    small_talker(3, "AA").save_pretrained(folder / "attention")
    return folder


@pytest.fixture(scope="module")
def judged(talker: str, opponents: Path) -> Judged:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "FOLDER", opponents)
        patch.setattr(suite, "slept", lambda lm, passes: slept(lm, min(passes, 2)))
        patch.setattr(suite, "others", lambda lm, passes: others(lm, 1))
        patch.setattr(spoken, "MAX_TOKENS", 3)
        return memory(talker, 0, silent, n_lives=16)


def test_every_kind_is_judged_for_everybody(judged: Judged) -> None:
    names = [row.name for row in judged.rows]
    assert len(names) == len(set(names))
    every = [*KINDS, *(f"age{age}" for age in AGES), *(f"load{load}" for load in LOADS)]
    assert {f"memory.{kind}.{who}" for kind in every for who in SLEEPERS} <= {*names}
    spanned = [*KINDS, *(f"age{age}" for age in (1, 2, 4, 8, 16)), "load8", "load16", "load32"]
    full = {name for name in names if name.endswith(".attention_full")}
    assert {f"memory.{kind}.attention_full" for kind in spanned} <= full
    assert not {f"memory.{kind}.attention_full" for kind in every if kind not in spanned} & full


def test_rows_are_fractions_with_intervals_and_ours_has_goals(judged: Judged) -> None:
    rows = {row.name: row for row in judged.rows}
    for name, row in rows.items():
        if row.unit == "fraction" and row.lowest is not None:
            assert 0 <= row.lowest <= row.value + 1e-9 <= row.highest + 2e-9, name
    goals = {name: row.goal for name, row in rows.items() if row.goal is not None}
    assert goals == {
        "memory.single.ours": 0.85,
        "memory.changed.ours": 0.75,
        "memory.code.ours": 0.60,
        "memory.abstain.ours": 0.75,
        "memory.retention.rank_correlation": 0.6,
        **{
            f"memory.{kind}.gain_over_{who}": 0.0
            for kind in ("two_hop", "three_hop")
            for who in ("ours_passes1", "trained_passes1_steps", "trained_passes1_compute")
        },
    }
    assert rows["memory.single.ours"].value == rows["memory.single.ours_passes4"].value
    assert rows["memory.single.ours"].holds is False


def test_what_was_said_to_each_handwritten_question_is_kept(judged: Judged) -> None:
    asked = [question for life in handwritten_lives() for question in life["asked"]]
    assert [said.question for said in judged.said] == [one["question"] for one in asked]
    names = {row.name for row in judged.rows}
    assert {"memory.handwritten.ours"} <= names
    assert {f"memory.handwritten_{one['kind']}.ours" for one in asked} <= names


def test_gain_holds_only_with_intervals_apart() -> None:
    def rows(lowest: float, highest: float) -> list[Row]:
        ours = Row("memory.two_hop.ours", 0.6, "fraction", lowest=lowest, highest=0.7)
        one = Row("memory.two_hop.ours_passes1", 0.4, "fraction", lowest=0.3, highest=highest)
        return [ours, one]

    for lowest, highest, holds in ((0.51, 0.5, True), (0.5, 0.5, False), (0.45, 0.5, False)):
        [gain] = suite._gains(rows(lowest, highest))
        assert gain.name == "memory.two_hop.gain_over_ours_passes1"
        assert (gain.value, gain.holds) == (pytest.approx(0.2), holds)


def test_abstaining_always_or_never_is_worth_a_half() -> None:
    unknown, other = text_ids(UNKNOWN)[0], text_ids("Rex.")[0]
    kinds = ["single", "single", "abstain", "code", "abstain"]
    exam = Exam([], [Asked(n % 2, kind, 1) for n, kind in enumerate(kinds)])

    def found(right: list[bool], first: list[int]) -> float:
        answers = Answers(torch.tensor(right), torch.tensor(first))
        return dict(suite._by_kind(exam, Judge(("x",), lambda _: []), answers))["abstain"].value

    is_unknown = [kind == "abstain" for kind in kinds]
    assert found(is_unknown, [unknown] * 5) == 0.5
    assert found([False] * 5, [other] * 5) == 0.5
    assert found(is_unknown, [unknown if no else other for no in is_unknown]) == 1
    # a right answer that begins like "I don't know." does not abstain
    assert found([True] * 5, [unknown] * 5) == 1


@pytest.mark.parametrize("name", ["passes1_steps", "passes1_compute", "attention"])
def test_a_missing_opponent_is_one_error_before_the_work(
    talker: str, opponents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "opponents"
    shutil.copytree(opponents, folder)
    shutil.rmtree(folder / name)
    monkeypatch.setattr(checkpoints, "FOLDER", folder)
    monkeypatch.setattr(suite, "mixed", lambda *_: pytest.fail("it drew lives"))
    with pytest.raises(ConfigError, match=f"no opponent '{name}'") as caught:
        memory(talker, 0, silent, n_lives=2)
    assert f"--without {name}" in caught.value.hint


def test_without_opponents_nobody_else_is_judged(
    talker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "nothing")
    judges: list[str] = []
    monkeypatch.setattr(suite, "answer", lambda exam, way: pytest.fail("it asked"))

    def sittings(seed: int, n_lives: int, found: list[suite.Judge]) -> list[suite.Sitting]:
        judges.extend(name for judge in found for name in judge.names)
        return []

    monkeypatch.setattr(suite, "_sittings", sittings)
    monkeypatch.setattr(suite, "retention", lambda *_: [])
    monkeypatch.setattr(suite, "handwritten", lambda *_: [])
    monkeypatch.setattr(suite, "handwritten_rows", lambda said: [])
    assert memory(talker, 0, silent, n_lives=2, without=checkpoints.OPPONENTS).rows == []
    assert {*judges} == {"ours", *OURS.values(), "other", "blank"}


def test_checkpoints_of_other_words_are_refused(
    talker: str, opponents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(talker, folder)
    save_tokenizer(build_tokenizer(["a b c"]), folder)
    with pytest.raises(ConfigError, match="does not know the words") as caught:
        memory(str(folder), 0, silent)
    assert "--model" in caught.value.hint
    config = json.loads((opponents / "attention/config.json").read_text())
    lm = small_talker()
    lm.resize_token_embeddings(config["vocab_size"] - 1)
    lm.save_pretrained(tmp_path / "opponents/attention")
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path / "opponents")
    with pytest.raises(ConfigError, match="words, not"):
        checkpoints.opponent("attention")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, judged: Judged) -> None:
    """Let the benchmark find at once what it found before."""
    monkeypatch.setattr(study, "memory", lambda *_, **__: judged)


@pytest.mark.usefixtures("at_once")
def test_command_writes_record_and_figures_and_fails_with_its_goals(
    talker: str, tmp_path: Path, judged: Judged
) -> None:
    out = tmp_path / "out"
    given = ["bench", "memory", "--model", talker, "--out", str(out), "--lives", "16"]
    result = CliRunner().invoke(main, [*given, "--json"], obj=Terminal())
    assert result.exit_code == 1
    document: dict[str, Any] = json.loads(result.stdout)
    record = json.loads((out / "record.json").read_text("utf-8"))
    assert document == {"bench": "memory", **record}
    assert [row["name"] for row in record["rows"]] == [row.name for row in judged.rows]
    assert record["n_lives"] == 16
    assert record["environment"]["torch"] == torch.__version__
    assert {"question", "answers", "said", "is_right"} < record["handwritten"][0].keys()
    drawn = {f"{name}.{kind}" for name in ("age", "load", "kinds") for kind in ("svg", "png")}
    assert {path.name for path in out.iterdir()} == {"record.json", *drawn}
    assert all(path.stat().st_size > 1000 for path in out.iterdir())
    shutil.rmtree(out)
    result = CliRunner().invoke(main, [*given, "--no-figures"], obj=Terminal())
    assert [path.name for path in out.iterdir()] == ["record.json"]
    lines = result.stdout.splitlines()
    assert sum(line.startswith("two_hop ") for line in lines) == 1
    assert len(lines) < 80


@pytest.mark.usefixtures("at_once")
def test_figures_that_cannot_be_drawn_are_found_out_first(
    talker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="figures need matplotlib"):
        run_memory(Request(talker, tmp_path / "out", 0, 2, without=(), figures=True), silent)
    assert not (tmp_path / "out").exists()


def test_retention_that_cannot_be_measured_misses_its_goal(
    talker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[retention.__module__]
    monkeypatch.setattr(module, "loss_from", lambda *_: 1.0)
    monkeypatch.setattr(module, "loss_cached", lambda *_: 0.95)
    [row] = retention(load_checkpoint(talker), 0, 2)
    assert (row.value, row.holds) == (0.0, False)


def test_floor_is_judged_by_sleeps_that_did_nothing_and_by_whole_ones(
    talker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[retention.__module__]
    kept = [(0.0, 0.0), (0.5, 0.2), (1.0, 0.4), (1.0, 0.04), (0.0, 0.0), (0.25, 0.1)]
    found = [module.Damaged(scale, retention, 1.0) for scale, retention in kept]
    monkeypatch.setattr(module, "_damaged", lambda *_: found)
    monkeypatch.setattr(module, "SCALES", (0.0, 0.25, 0.5, 1.0))
    agent = load_checkpoint(talker)
    assert not [row for row in retention(agent, 0, 1) if "rejected" in row.name]
    for floor, nothing, whole in ((0.05, 1.0, 0.5), (0.0, 0.0, 0.0)):
        agent.retention_floor = floor
        rows = {row.name: row for row in retention(agent, 0, 1)}
        rejected = rows["memory.retention.zero_update_rejected"]
        assert (rejected.value, rejected.holds) == (nothing, nothing == 1)
        assert rows["memory.retention.whole_update_rejected"].value == whole


def test_handwritten_lives_are_told_noted_slept_on_and_judged_by_their_bare_words(
    talker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[handwritten.__module__]
    told: list[list[str]] = []

    def living(lm: object, episodes: list[list[Any]], passes: int) -> int:
        told.extend([[line.text for line in lines] for lines in episodes])
        return passes

    said = {"Who?": "«MAR\u0130A»!", "Where?": "cafe\u0301 Oslo", "When?": "at noon"}
    monkeypatch.setattr(module, "living", living)
    monkeypatch.setattr(module, "answered", lambda lm, weights, question: said[question])
    asked = [
        {"question": "Who?", "answers": ["nobody", "mar\u0130a."], "kind": "single"},
        {"question": "Where?", "answers": ["Caf\u00e9 Oslo"], "kind": "single"},
        {"question": "When?", "answers": ["noon"], "kind": "code"},
    ]
    life = {"who": "Ann", "told": [["a", "b"], ["c"]], "asked": asked}
    found = handwritten(load_checkpoint(talker), [life])
    assert told == [["a", "Noted.", "b", "Noted."], ["c", "Noted."]]
    assert [one.is_right for one in found] == [True, True, False]
    rows = {row.name: row.value for row in handwritten_rows(found)}
    assert rows == {
        "memory.handwritten.ours": pytest.approx(2 / 3),
        "memory.handwritten_single.ours": 1,
        "memory.handwritten_code.ours": 0,
    }
    assert found[2] == Said(0, "Ann", "code", "When?", ["noon"], "at noon", False)


@pytest.mark.parametrize(("text", "expected"), [("  «Rex!»", "rex"), ("...", ""), ("", ""),
                                                ("Dr. O'Neil.", "dr. o'neil")])  # fmt: skip
def test_bare_keeps_what_is_inside(text: str, expected: str) -> None:
    assert bare(text) == expected
