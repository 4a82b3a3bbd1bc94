"""The loop: it learns, follows its curriculum, and a resumed run equals an unbroken one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_tasks import EchoTask, TalkingTask, settings, silent
from transformers import AutoModelForCausalLM

from sleepmem.errors import ConfigError
from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.checkpoint import load_checkpoint, read_weights
from sleepmem.train import loop
from sleepmem.train import run as runs
from sleepmem.train.loop import Progress, build_model, forced_stage, train
from sleepmem.train.loops import loop_sleep
from sleepmem.train.objective import Score, score
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.run import run
from sleepmem.train.runs import load_run
from sleepmem.train.settings import Loop, TrainSettings
from sleepmem.train.tasks import Batch

pytestmark = pytest.mark.usefixtures("small_tasks")


def test_it_learns_and_exports_a_checkpoint_that_loads(tmp_path: Path) -> None:
    figures = run(settings(task="talking"), tmp_path, silent)
    assert figures["passes_1"] > 0.95
    assert figures["passes_2"] > 0.95
    assert figures["blank"] < 0.6
    assert load_checkpoint(str(tmp_path / "checkpoint")).window == 16
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["task"] == "talking"
    assert [point["step"] for point in record["progress"]["curve"]] == list(range(1, 61))
    assert record["progress"]["curve"][-1]["depth_1"] > 0.95
    assert record["progress"]["held_out"] == figures
    assert record["environment"]["torch"] == torch.__version__


@torch.no_grad()
def test_an_agent_sleeps_in_the_loop_that_its_checkpoint_was_trained_with(tmp_path: Path) -> None:
    ids = [20, 21, 22, 23, 20]
    for name, other, n_layers in (("carry", "inject", 0), ("rewrite", "carry", 2)):
        loop = {"loop_input": name}
        given = settings(task="talking", steps=3, loop=loop, loop_layers=n_layers, lr=0.05)
        with torch.enable_grad():
            run(given, tmp_path / name, silent)
        agent = load_checkpoint(str(tmp_path / name / "checkpoint"))
        trained = build_model(given, TalkingTask())
        trained.load_state_dict(load_file(tmp_path / name / "model.safetensors"), strict=False)
        *_, last = agent.sleep(agent.blank(), ids, 3)
        assert last.weights is not None
        start = trained.model.blank(), torch.tensor([ids]), 3, None
        for loop_input in (name, other):
            [after] = loop_sleep(trained, *start, Loop(loop_input=loop_input))
            is_same = torch.allclose(last.weights[0], after, rtol=1e-4, atol=1e-5)
            assert is_same == (loop_input == name)


def test_checkpoint_of_a_task_without_words_is_the_network_alone(tmp_path: Path) -> None:
    run(settings(steps=2, tied=False), tmp_path, silent)
    lm = read_weights(tmp_path / "checkpoint")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    assert torch.equal(again.lm_head.weight, lm.lm_head.weight)
    assert not torch.equal(lm.lm_head.weight, lm.model.embed_tokens.weight)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], p) for name, p in lm.named_parameters())
    assert not (tmp_path / "checkpoint/tokenizer.json").exists()


def test_attention_alone_learns_nothing_of_what_was_evicted(tmp_path: Path) -> None:
    figures = run(settings(layers="AA", steps=40), tmp_path, silent)
    assert figures["passes_1"] == figures["passes_2"] == figures["blank"] < 0.6


def test_attention_alone_learns_what_it_keeps_before_its_eyes(tmp_path: Path) -> None:
    kept = settings(layers="AA", passes=(1,), loop={"evict": False})
    figures = run(kept, tmp_path, silent)
    assert figures["passes_1"] > 0.95
    assert figures["blank"] < 0.6


def test_a_model_that_talks_needs_fast_weights_unless_it_keeps_everything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layers AA have no fast weights to sleep into"):
        run(settings(task="talking", layers="AA", steps=1), tmp_path / "evicts", silent)
    assert not (tmp_path / "evicts").exists()
    kept = settings(task="talking", layers="AA", passes=(1,), steps=1, loop={"evict": False})
    run(kept, tmp_path / "keeps", silent)
    assert read_weights(tmp_path / "keeps/checkpoint").model.blank() == ()


class Killed(BaseException):
    """Stands for a kill between two steps."""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_that_was_cut_and_resumed_equals_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(runs, "SAVE_EVERY_S", 0.0)
    how = settings(steps=24, optimizer=optimizer)

    def kill(progress: Progress, loss: float) -> None:
        if progress.step == 13:
            raise Killed

    with pytest.raises(Killed):
        run(how, tmp_path / "cut", kill)
    run(how, tmp_path / "cut", silent)
    run(how, tmp_path / "whole", silent)
    for file in ("checkpoint/model.safetensors", "optimizer.safetensors"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    cut, whole = (
        json.loads((tmp_path / name / "run.json").read_text())["progress"]
        for name in ("cut", "whole")
    )
    for record in (cut, whole):
        for timed in (record, *record["curve"]):
            timed.pop("seconds")
    assert cut == whole


def test_a_branch_goes_on_from_another_run_with_settings_of_its_own(tmp_path: Path) -> None:
    shallow = settings(steps=6, shallow=100)
    run(shallow, tmp_path / "shared", silent)
    one = settings(steps=9, shallow=100, passes=(1,))
    run(one, tmp_path / "one", silent, branch=tmp_path / "shared")
    run(one, tmp_path / "fresh", silent)  # until then the passes that were offered made no odds
    branch, fresh = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "fresh"))
    assert branch.keys() == fresh.keys()
    assert all(torch.equal(branch[name], fresh[name]) for name in branch)
    progress = json.loads((tmp_path / "one/run.json").read_text())["progress"]
    assert progress["step"] == 9
    assert progress["branched"] == [{"step": 6, "passes": [1, 2]}]
    run(settings(steps=10), tmp_path / "two", silent, branch=tmp_path / "one")
    progress = json.loads((tmp_path / "two/run.json").read_text())["progress"]
    assert [branch["step"] for branch in progress["branched"]] == [6, 9]


def test_a_branch_goes_on_from_a_checkpoint_beside_its_record(tmp_path: Path) -> None:
    run(settings(steps=3), tmp_path / "shared", silent)
    shipped = tmp_path / "shipped"
    shutil.copytree(tmp_path / "shared/checkpoint", shipped)
    shutil.copy(tmp_path / "shared/run.json", shipped)
    run(settings(steps=3), tmp_path / "none", silent, branch=shipped)
    shared, none = (load_file(tmp_path / name / "model.safetensors") for name in ("shared", "none"))
    assert all(torch.equal(shared[name], none[name]) for name in shared)
    run(settings(steps=4), tmp_path / "one", silent, branch=shipped)
    progress = json.loads((tmp_path / "one/run.json").read_text())["progress"]
    assert (progress["step"], progress["branched"]) == (4, [{"step": 3}])
    shutil.copy(tmp_path / "one/model.safetensors", shipped)  # which says of which step it is
    with pytest.raises(ConfigError, match="of step 4, not 3"):
        run(settings(steps=4), tmp_path / "two", silent, branch=shipped)


def test_a_branch_that_was_cut_is_resumed_and_not_begun_again(tmp_path: Path) -> None:
    run(settings(steps=4), tmp_path / "shared", silent)
    run(settings(steps=6), tmp_path / "branch", silent, branch=tmp_path / "shared")
    run(settings(steps=8), tmp_path / "shared", silent)
    run(settings(steps=7), tmp_path / "branch", silent, branch=tmp_path / "shared")
    progress = json.loads((tmp_path / "branch/run.json").read_text())["progress"]
    assert progress["step"] == 7
    assert progress["branched"] == [{"step": 4}]


def test_a_branch_of_another_model_or_of_nothing_is_refused(tmp_path: Path) -> None:
    run(settings(steps=1), tmp_path / "shared", silent)
    for name, how in (("shared", settings(hidden_size=24)), ("nowhere", settings())):
        with pytest.raises(ConfigError, match=name):
            run(how, tmp_path / "branch", silent, branch=tmp_path / name)
        assert not (tmp_path / "branch/run.json").exists()


def test_looking_at_the_held_out_does_not_change_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for points in (1, 40):
        monkeypatch.setattr(runs, "CURVE_POINTS", points)
        run(settings(steps=40), tmp_path / str(points), silent)
    seldom, often = (tmp_path / name / "model.safetensors" for name in ("1", "40"))
    assert seldom.read_bytes() == often.read_bytes()


@pytest.mark.parametrize("n_renamed", [0, 1, 2])
def test_a_save_that_was_cut_anywhere_is_finished_or_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_renamed: int
) -> None:
    # weights of one save beside the record of another would be trained twice over some steps
    run(settings(steps=4), tmp_path, silent)
    rename, left = os.replace, iter([True] * n_renamed)

    def cut(source: Path, target: Path) -> None:
        if not next(left, False):
            raise Killed
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", cut)
        with pytest.raises(Killed):
            run(settings(steps=6), tmp_path, silent)
    lm, task_settings = build_model(settings(), EchoTask()), settings(steps=6)
    progress = load_run(tmp_path, task_settings, lm, build_optimizers(task_settings, lm))
    assert progress.step == (6 if n_renamed else 4)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], p) for name, p in lm.named_parameters())


def test_a_run_of_before_there_was_a_setting_is_resumed(tmp_path: Path) -> None:
    run(settings(steps=2), tmp_path, silent)
    record = json.loads((tmp_path / "run.json").read_text())
    for name in ("window", "bf16", "loop"):
        del record["settings"][name]
    (tmp_path / "run.json").write_text(json.dumps(record))
    seen: list[int] = []
    run(settings(steps=4), tmp_path, lambda progress, _: seen.append(progress.step))
    assert seen == [3, 4]


@pytest.mark.parametrize("file", ["optimizer.safetensors", "model.safetensors"])
def test_a_folder_that_cannot_be_resumed_says_why(tmp_path: Path, file: str) -> None:
    run(settings(steps=2), tmp_path, silent)
    (tmp_path / file).write_bytes(b"x" * 20)
    with pytest.raises(ConfigError, match="cannot be resumed"):
        run(settings(steps=4), tmp_path, silent)


@pytest.mark.parametrize("file", ["optimizer.safetensors", "model.safetensors"])
def test_tensors_of_another_age_are_not_resumed(tmp_path: Path, file: str) -> None:
    run(settings(steps=2), tmp_path, silent)
    tensors = {name.removeprefix("0."): x for name, x in load_file(tmp_path / file).items()}
    tensors.pop("model.norm.weight", None)
    save_file(tensors, tmp_path / file, {"step": "2"})
    with pytest.raises(ConfigError, match="cannot be resumed"):
        run(settings(steps=4), tmp_path, silent)


def test_a_folder_that_cannot_be_written_fails_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(settings(), tmp_path / "file", lambda *_: pytest.fail("it trained"))


def test_checkpoint_says_where_generation_stops(tmp_path: Path) -> None:
    run(settings(task="talking", steps=1), tmp_path, silent)
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    chat = ChatTokens(TalkingTask().tokenizer())
    assert (lm.generation_config.eos_token_id, lm.config.pad_token_id) == (chat.end, chat.pad)


def test_other_settings_do_not_resume_and_are_named(tmp_path: Path) -> None:
    run(settings(steps=2), tmp_path, silent)
    with pytest.raises(ConfigError, match=r"with other settings: loop, lr$"):
        run(settings(steps=4, lr=0.5, loop={"loop_input": "embed"}), tmp_path, silent)


def followed(
    monkeypatch: pytest.MonkeyPatch,
    how: TrainSettings,
    is_right: Callable[[int], bool],
    task: EchoTask | None = None,
) -> tuple[list[int], list[int]]:
    """Train; return passes and stage of each step, the answers being right as `is_right` says."""
    drawn: list[int] = []
    stages: list[int] = []

    def marked(lm, batch: Batch, passes: int, **more: object) -> Score:
        drawn.append(passes)
        found = score(lm, batch, passes, **more)  # type: ignore[arg-type]
        return replace(found, right=torch.full_like(found.right, is_right(passes)))

    monkeypatch.setattr(loop, "score", marked)
    task = task or EchoTask()
    lm = build_model(how, task)
    optimizers = build_optimizers(how, lm)
    train(how, task, lm, optimizers, Progress(), lambda p, _: stages.append(p.stage))
    return drawn, stages


def test_the_gate_looks_at_the_most_passes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings(steps=100, passes=(3, 1))
    drawn, stages = followed(monkeypatch, how, lambda passes: passes == 1)
    assert set(drawn) == {1, 3}
    assert set(stages) == {0}
    drawn, stages = followed(monkeypatch, how, lambda passes: passes == 3)
    opened = stages.index(1)
    # 1 - 0.95^n passes 0.85 with the 37th batch at the most passes
    assert drawn[: opened + 1].count(3) == 37
    assert drawn[opened] == 3


def test_shallow_steps_take_the_fewest_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings(steps=90, passes=(4, 2), shallow=40)
    drawn, _ = followed(monkeypatch, how, lambda _: True)
    assert set(drawn[:40]) == {2}
    assert set(drawn[40:]) == {2, 4}


def test_a_forced_curriculum_opens_evenly_whatever_was_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how = settings(steps=100, curriculum="forced", forced_share=0.4)
    stages = [forced_stage(how, step, 5) for step in range(100)]
    assert [stages.count(stage) for stage in range(5)] == [10, 10, 10, 10, 60]
    assert stages == sorted(stages)
    assert [forced_stage(how, step, 1) for step in (0, 99)] == [0, 0]
    _, seen = followed(monkeypatch, how, lambda _: False)
    assert seen == [0] * 40 + [1] * 60


def test_batches_in_which_nothing_counts_leave_the_accuracy_as_it_is(tmp_path: Path) -> None:
    seen: list[float] = []
    how = settings(task="uncounted", steps=3)
    run(how, tmp_path, lambda progress, _: seen.append(progress.accuracy))
    assert seen == [0.0] * 3


def test_mixed_precision_trains_float32_weights(tmp_path: Path) -> None:
    figures = run(settings(bf16=True, steps=100), tmp_path, silent)
    assert figures["passes_2"] > 0.95
    tensors = load_file(tmp_path / "model.safetensors")
    assert {x.dtype for x in tensors.values()} == {torch.float32}


def test_window_of_the_model_is_the_task_s_unless_a_longer_one_is_given() -> None:
    assert build_model(settings(), EchoTask()).config.window == 16
    longer, same = (build_model(settings(window=w), EchoTask()) for w in (64, None))
    assert longer.config.window == 64
    assert all(map(torch.equal, longer.parameters(), same.parameters()))
    with pytest.raises(ConfigError, match=r"a window of 15 does not fit .* windows of 16"):
        build_model(settings(window=15), EchoTask())
