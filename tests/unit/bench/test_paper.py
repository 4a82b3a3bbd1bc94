"""The paper's comparison: what is trained, judged, claimed and drawn."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from sleepmem.bench import figures
from sleepmem.bench.paper import ship
from sleepmem.bench.paper import study as studies
from sleepmem.bench.paper.arms import STUDIES, Arm, depo, elastic
from sleepmem.bench.paper.evaluate import Measured, commonest, load_arm, measure
from sleepmem.bench.paper.report import depo_claims, rows_of
from sleepmem.bench.paper.scales import arms_of
from sleepmem.bench.paper.study import Request, run_study
from sleepmem.bench.paper.training import Job, RunFailed, is_finished, train_arms
from sleepmem.errors import CheckpointInvalid, ConfigError
from sleepmem.train.loop import build_model
from sleepmem.train.run import run
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import find_task

DEPTHS = range(1, 7)


def measured(arm: str, seed: int, passes: int, accuracy: dict[int, int]) -> Measured:
    """Return what an arm did, in percent."""
    return Measured("depo", arm, seed, passes, accuracy, dict.fromkeys(accuracy, 100))


def known(n: int, seed: int, deep: int) -> Measured:
    return measured(f"n{n}", seed, n, {depth: 99 if depth < 5 else deep for depth in DEPTHS})


def small(arm: Arm, **changed: object) -> Arm:
    update = {"steps": 2, "batch": 2, "hidden_size": 16, "d_k": 8, "d_v": 8} | changed
    return replace(arm, settings=arm.settings.model_copy(update=update))


def silent(what: str, share: float) -> None:
    assert 0 <= share <= 1


def test_rows_are_means_over_seeds_with_their_range() -> None:
    arms = [arm for arm in depo() if arm.name == "n4"]
    rows = rows_of(arms, [known(4, 0, 90), known(4, 1, 70)])
    found = {row.name: row for row in rows}
    assert list(found) == [f"depo.k{depth}.n4" for depth in DEPTHS]
    row = found["depo.k6.n4"]
    assert (row.value, row.lowest, row.highest) == (pytest.approx(0.8), 0.7, 0.9)


def test_gain_compares_runs_of_the_same_seed() -> None:
    runs = [known(1, 0, 10), known(1, 1, 30), known(2, 0, 50), known(2, 1, 50)]
    rows = {row.name: row for row in depo_claims([*runs, known(4, 0, 95), known(4, 1, 95)])}
    gain = rows["depo.gain_at_6"]
    assert (gain.value, gain.lowest, gain.highest) == pytest.approx((75.0, 65.0, 85.0))
    assert gain.holds
    assert rows["depo.gain_at_1"].goal is None
    assert rows["depo.shallow_min"].holds


def test_claims_that_do_not_hold_are_said_to_fail() -> None:
    runs = [known(1, 0, 60), known(2, 0, 70), known(4, 0, 90)]
    runs[0].right[2] = 90
    rows = {row.name: row for row in depo_claims(runs)}
    assert rows["depo.gain_at_6"].holds is False
    assert rows["depo.shallow_min"].holds is False
    assert rows["depo.shallow_min"].value == pytest.approx(0.90)


def test_no_claim_without_all_three_dedicated_models() -> None:
    assert depo_claims([known(1, 0, 10), known(4, 0, 99)]) == []


def test_no_claim_where_some_depth_was_never_asked() -> None:
    runs = [measured(f"n{n}", 0, n, {1: 50, 3: 50}) for n in (1, 2, 4)]
    assert depo_claims(runs) == []
    assert depo_claims([]) == []


def test_arms_of_a_study_differ_in_what_their_name_says_alone() -> None:
    by_name = {arm.name: arm.settings for arm in depo()}
    reference = by_name["n4"]
    allowed = {
        "n1": {"passes"},
        "n2": {"passes"},
        "equal_compute": {"passes", "steps"},
        "deeper": {"passes", "layers"},
        "attention_only": {"passes", "layers"},
        "full_context": {"passes", "loop"},
        "full_context_deep": {"passes", "layers", "loop"},
    }
    for name, settings in by_name.items():
        changed = {k for k, v in settings.model_dump().items() if reference.model_dump()[k] != v}
        assert changed == allowed.get(name, set()), name


def test_equal_compute_is_equal() -> None:
    def token_passes(settings: TrainSettings) -> int:
        task = find_task(settings.task, settings.options)
        slept, asked = task.held_out(Random(0), settings.batch).n_tokens
        return settings.steps * (settings.passes[0] * slept + asked)

    by_name = {arm.name: arm.settings for arm in depo()}
    assert token_passes(by_name["equal_compute"]) == token_passes(by_name["n4"])


@pytest.mark.parametrize("study", STUDIES)
def test_every_arm_can_be_built_and_has_a_folder_of_its_own(study: str, tmp_path: Path) -> None:
    arms = STUDIES[study]()
    assert len({arm.folder(tmp_path, 0) for arm in arms}) == len(arms)
    names = [name for arm in arms for name in arm.rows.values()]
    assert len(set(names)) == len(names)
    for arm in arms:
        settings = arm.settings
        build_model(settings, find_task(settings.task, settings.options))


def test_a_study_trains_judges_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [small(arm) for arm in depo() if arm.name in ("n1", "n2", "n4")]
    monkeypatch.setattr(studies, "arms_of", lambda study, scale, steps: (arms, ["a note"]))
    request = Request("depo", tmp_path, n_seeds=1, n_contexts=5)
    outcome = run_study(request, silent)
    names = [row["name"] for row in outcome.record["rows"]]
    assert outcome.table[0] == ["", *(f"#{depth}" for depth in DEPTHS)]
    assert len(outcome.table) == 2 + sum(len(arm.rows) for arm in arms)
    assert {"depo.k6.n4", "depo.gain_at_6", "wake_cost_ratio"} <= set(names)
    record, *pictures = outcome.files
    assert json.loads(record.read_text())["rows"] == outcome.record["rows"]
    assert all(path.stat().st_size > 1000 for path in pictures)
    assert {path.suffix for path in pictures} == {".svg", ".png"}
    assert {run["arm"] for run in outcome.record["arms"]} == {"n1", "n2", "n4"}
    trained = (tmp_path / "laptop/depo/n1-s0/run.json").stat().st_mtime_ns
    again = run_study(request, silent)
    assert again.table == outcome.table
    assert (tmp_path / "laptop/depo/n1-s0/run.json").stat().st_mtime_ns == trained


def test_figures_that_cannot_be_drawn_are_found_out_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(studies, "train_arms", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match="figures need matplotlib") as caught:
        run_study(Request("elastic", tmp_path, scale="smoke"), silent)
    assert "--no-figures" in caught.value.hint


def test_the_record_is_written_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> list[Path]:
        raise OSError("no room for a picture")

    arms = [small(arm) for arm in elastic()]
    monkeypatch.setattr(studies, "arms_of", lambda study, scale, steps: (arms, []))
    monkeypatch.setattr(studies, "draw", fail)
    with pytest.raises(OSError, match="no room"):
        run_study(Request("elastic", tmp_path, n_seeds=1, n_contexts=5), silent)
    assert json.loads((tmp_path / "elastic.json").read_text())["measured"]


def test_what_is_tried_on_the_side_overwrites_no_record() -> None:
    asked = [("laptop", False), ("laptop", True), ("smoke", False), ("paper", False)]
    names = [Request("depo", Path(), scale=s, pretrained=p).name for s, p in asked]
    assert names == ["depo", "depo-pretrained", "depo-smoke", "depo-paper"]


@pytest.mark.parametrize("given", [{"scale": "smoke"}, {"scale": "paper"}, {"steps": 7}])
def test_shipped_checkpoints_are_not_taken_for_another_scale(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="are of the laptop scale") as caught:
        run_study(Request("depo", tmp_path, pretrained=True, **given), silent)
    assert caught.value.hint


def test_every_line_of_a_picture_is_drawn_and_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_line, strokes = figures._line, []

    def drawn(axes: Any, label: str, curve: figures.Curve, *how: str) -> None:
        strokes.append(how)
        draw_line(axes, label, curve, *how)

    monkeypatch.setattr(figures, "_line", drawn)
    curves = {
        f"arm {n}": {at: figures.over_seeds([0.5, 0.25]) for at in (1.0, 2.0)} for n in range(20)
    }
    figures.draw(tmp_path / "many", [("All", curves)], x="hops", guessing={1.0: 0.1})
    assert len(strokes) == len(set(strokes)) == 20


def test_a_run_that_diverges_is_named(tmp_path: Path) -> None:
    arm = small(elastic()[0], lr=1e30, warmup=1, steps=5)
    with pytest.raises(RunFailed, match=r"^elastic elastic seed 0: step \d: .* is not finite$"):
        train_arms([arm], [0], tmp_path, 1, silent)


def test_a_run_that_is_killed_is_one_error(tmp_path: Path) -> None:
    def kill(what: str, share: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    arm = small(elastic()[0], steps=100_000)
    with pytest.raises(RunFailed, match="was killed") as caught:
        train_arms([arm], [0], tmp_path, 1, kill)
    assert caught.value.hint


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    arm = small(depo()[0])
    run(arm.seeded(0), tmp_path, lambda *_: None)
    other = arm.seeded(0).model_copy(update={"options": {"nodes": 12}})
    with pytest.raises(CheckpointInvalid, match=r"options \{\}, not \{'nodes': 12\}"):
        load_arm(tmp_path, other)
    with pytest.raises(ConfigError, match="no readable record"):
        load_arm(tmp_path / "nothing", other)


def test_a_run_with_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    arm = small(depo()[0])
    job = Job("n1", arm.seeded(0), tmp_path)
    assert not is_finished(job)
    run(job.settings, tmp_path, lambda *_: None)
    assert is_finished(job)
    with pytest.raises(ConfigError, match="other settings"):
        is_finished(Job("n1", arm.seeded(1), tmp_path))
    shutil.rmtree(tmp_path / "checkpoint")  # one that was cut short is no other
    assert not is_finished(job)
    with pytest.raises(ConfigError, match="other settings"):
        is_finished(Job("n1", job.settings.model_copy(update={"steps": 9}), tmp_path))


def test_arms_alone_are_shipped_and_only_as_they_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = small(elastic()[0])
    monkeypatch.setitem(ship.STUDIES, "elastic", lambda: [arm])
    for name in ("elastic-s0", "elastic-s1", "other-s0"):
        seeded = arm.seeded(int(name[-1]))
        run(seeded, tmp_path / "runs/elastic" / name, lambda *_: None)
    shipped = ship.ship(tmp_path / "runs", "elastic", tmp_path / "shipped")
    assert [folder.name for folder in shipped] == ["elastic-s0", "elastic-s1"]
    lm = load_arm(shipped[0], arm.seeded(0))
    whole = load_arm(tmp_path / "runs/elastic/elastic-s0", arm.seeded(0))
    for half, full in zip(lm.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(half, full, rtol=1e-3, atol=1e-4)
    monkeypatch.setitem(ship.STUDIES, "elastic", lambda: [small(arm, batch=3)])
    with pytest.raises(ConfigError, match="other settings than elastic has now"):
        ship.ship(tmp_path / "runs", "elastic", tmp_path / "shipped")


def test_judging_is_the_same_for_the_same_seed_and_counts_every_question() -> None:
    arm = small(depo()[2])
    settings = arm.seeded(0)
    lm = build_model(settings, find_task(settings.task, settings.options))
    first, again, other = (measure(lm, settings, 2, seed, 130) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert sum(first[1].values()) == 130 * 10


def test_commonest_answer_is_what_is_known_without_reading() -> None:
    depo_base = commonest(depo()[0].seeded(0), 0, 200)
    assert set(depo_base) == {*DEPTHS}
    assert all(1 / 10 <= share < 1 / 6 for share in depo_base.values())
    cells = commonest(STUDIES["rule110"]()[0].seeded(0), 0, 200)
    assert all(0.5 < share < 0.65 for share in cells.values())


def test_paper_scale_without_a_gpu_is_shortened_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arms, notes = arms_of("depo", "paper")
    assert "no GPU" in notes[0]
    assert {arm.settings.steps for arm in arms} == {2}
    assert arms[0].settings.options["nodes"] == 75
    assert arms[0].settings.hidden_size == 64  # the paper's is not judged on a CPU in minutes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    arms, notes = arms_of("depo", "paper")
    assert not notes
    assert {(arm.settings.steps, arm.settings.device) for arm in arms} == {(100_000, "cuda")}
    with pytest.raises(ConfigError, match="no scale 'paper'"):
        arms_of("windows", "paper")
