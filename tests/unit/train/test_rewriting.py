"""What loop layers are taught, against passes that are spelled out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from small_tasks import EchoTask, settings, silent
from torch import Tensor

from sleepmem.errors import ConfigError
from sleepmem.model.network import SleepForCausalLM
from sleepmem.model.sleep import sleep
from sleepmem.train import run as train_run
from sleepmem.train.loop import Progress, build_model, draw_forced
from sleepmem.train.objective import score
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.rewriting import (
    POINTING,
    confusion_loss,
    pointing_loss,
    rewriting_loss,
    taught_alone,
    taught_sleep,
    wanted,
)
from sleepmem.train.runs import branch_run, load_run, read_run, save_run
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import Batch, Hint, Retold
from sleepmem.train.tasks.dialogues import DialoguesTask

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])
MASK = torch.tensor([[True] * 5, [True] * 4 + [False]])
FIRST = Retold(
    torch.tensor([[3, 20, 21, 5, 6, 7], [8, 22, 11, 0, 0, 0]]),
    torch.tensor([[True] * 6, [True] * 3 + [False] * 3]),
    torch.tensor([[0, -1, 3, 4, 5], [0, -1, -1, 2, -1]]),
)
SECOND = FIRST._replace(ids=FIRST.ids.flip(0), mask=FIRST.mask.flip(0), token=FIRST.token.flip(0))
NAMES = torch.tensor([[0, 0, 4, 1], [0, 1, 2, 0], [1, 0, 3, 2], [0, 1, 3, 1]]).unbind(1)
HINT = Hint((FIRST, SECOND), ((SECOND, FIRST),), *NAMES)
REWRITE = {"loop_input": "rewrite"}


def given(**others: object) -> TrainSettings:
    return settings(layers="AG", n_heads=2, loop=REWRITE, loop_layers=2, **others)


def make() -> SleepForCausalLM:
    """Return a model whose loop layers change what they are given."""
    lm = build_model(given(), EchoTask()).eval()
    torch.manual_seed(4)
    for parameter in lm.model.loop_layers.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return lm


def taught(lm: SleepForCausalLM, passes: int, *, is_forced: bool = False):
    return taught_sleep(lm, lm.model.blank(2), IDS, passes, MASK, HINT, is_forced=is_forced)


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_without_force_it_is_a_sleep(passes: int) -> None:
    lm = make()
    after, loss = taught(lm, passes)
    for found, expected in zip(after, sleep(lm, lm.model.blank(2), IDS, passes, MASK), strict=True):
        assert torch.equal(found, expected)
    assert (loss is None) == (passes == 1)


def spelled(lm: SleepForCausalLM, retold: Retold) -> Tensor:
    """Place by place: what the prelude makes of the same token in other words."""
    h = lm.model.begin(lm.embed(IDS), MASK).clone()
    for life in range(2):
        ids = retold.ids[life][retold.mask[life]][None]
        told = lm.model.begin(lm.embed(ids))[0]
        for token, went in enumerate(retold.token[life].tolist()):
            if went >= 0:
                h[life, token] = told[went]
    return h


def test_what_is_wanted_is_what_the_prelude_makes_of_other_words() -> None:
    lm = make()
    first = lm.model.begin(lm.embed(IDS), MASK)
    for retold in HINT.retold:
        want = wanted(lm, first, MASK, retold)
        assert torch.equal(want.known, MASK & (retold.token >= 0))
        expected = spelled(lm, retold)
        torch.testing.assert_close(want.h[MASK], expected[MASK], rtol=1e-4, atol=1e-5)
        changed = (expected - first)[want.known].square().sum()
        torch.testing.assert_close(want.unit, changed, rtol=1e-4, atol=1e-4)
        assert not want.h.requires_grad
    same = wanted(lm, first, MASK, None)
    assert torch.equal(same.h, first)
    assert torch.equal(same.known, MASK)


def test_a_forced_pass_writes_what_was_to_be_handed_on() -> None:
    lm = make()
    weights = lm.model.write(lm.model.begin(lm.embed(IDS), MASK), lm.model.blank(2), MASK)
    for retold in (HINT.after(n)[0] for n in range(3)):
        weights = lm.model.write(spelled(lm, retold), weights, MASK)
    after, _ = taught(lm, 4, is_forced=True)
    torch.testing.assert_close(after[0], weights[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(after[0], taught(lm, 4)[0][0], atol=1e-3)


def test_the_loss_is_what_is_missing_of_what_was_to_change_where_that_is_known() -> None:
    lm = make()
    first = lm.model.begin(lm.embed(IDS), MASK)
    want = wanted(lm, first, MASK, FIRST)
    assert float(rewriting_loss(want.h, want)) == 0
    assert float(rewriting_loss(first.detach(), want)) == pytest.approx(1)
    halfway = (first.detach() + want.h) / 2
    assert float(rewriting_loss(halfway, want)) == pytest.approx(0.25)
    halfway[~want.known] = 100.0
    assert float(rewriting_loss(halfway, want)) == pytest.approx(0.25)


@torch.no_grad()
def test_confusion_is_what_is_as_near_to_what_others_would_make_of_it() -> None:
    lm = make()
    first = lm.model.begin(lm.embed(IDS), MASK)
    told = FIRST, FIRST._replace(ids=FIRST.ids + 1), FIRST._replace(ids=FIRST.ids + 2)
    each = [wanted(lm, first, MASK, retold) for retold in told]
    middle = torch.stack([one.h for one in each]).mean(0)
    right, *wrong = [float(confusion_loss(one.h, each[0], each[1:])) for one in each]
    assert right < float(confusion_loss(middle, each[0], each[1:])) < min(wrong)
    unlike = each[0].h.clone()
    unlike[~each[0].known] = 100.0
    assert float(confusion_loss(unlike, each[0], each[1:])) == right
    assert float(confusion_loss(middle, each[0], [each[0], each[0]])) == 0  # nothing to confuse
    assert float(confusion_loss(each[0].h, each[0], [each[0], each[1]])) < 0.1  # ln 2 with himself


@torch.no_grad()
def test_pointing_is_attention_of_the_first_loop_layer_at_where_a_name_is_explained() -> None:
    lm = make()
    block = lm.model.loop_layers[0]
    h = lm.model.begin(lm.embed(IDS), MASK)
    for n, names in ((0, ((0, 4, 1), (1, 2, 0), (1, 3, 1))), (1, ((0, 3, 2),))):
        nats = []
        for life, named, told in names:
            seen = h[life : life + 1, : named + 1]  # nothing later
            q, k, _, _ = block.mixer.inputs(block.mixer_norm(seen), None, None)
            attention = ((q[0, :, -1:] @ k[0].mT) / q.shape[-1] ** 0.5).softmax(-1)
            nats.append(-attention[:, 0, told].log())
        found = pointing_loss(lm, h, MASK, HINT, n)
        torch.testing.assert_close(found, torch.stack(nats).mean(), rtol=1e-4, atol=1e-5)
        h = lm.model.rewrite(h, MASK)
    assert float(pointing_loss(lm, h, MASK, HINT, 2)) == 0  # where nobody is to be found


@torch.no_grad()
def test_every_pass_is_told_where_to_look() -> None:
    lm = make()
    _, both = taught(lm, 3)
    first = HINT._replace(of_pass=torch.zeros_like(HINT.of_pass) - (HINT.of_pass == 1).int())
    _, once = taught_sleep(lm, lm.model.blank(2), IDS, 3, MASK, first, is_forced=False)
    h = lm.model.rewrite(lm.model.begin(lm.embed(IDS), MASK), MASK)
    missed = POINTING * pointing_loss(lm, h, MASK, HINT, 1) / 2  # a mean of two passes
    torch.testing.assert_close(both - once, missed, rtol=1e-3, atol=1e-5)


def test_fresh_loop_layers_hand_on_what_they_are_given() -> None:
    lm = build_model(given(), EchoTask())
    h = lm.model.begin(lm.embed(IDS), MASK)
    assert torch.equal(lm.model.rewrite(h, MASK), h)
    batch = EchoTask().batch(Random(1), 2, 0)  # whose windows are to be handed on as they are
    assert float(taught_alone(lm, batch, 3, is_forced=False).detach()) == 0


def test_a_window_that_is_retold_as_it_is_has_a_loss_all_the_same() -> None:
    lm = make()
    first = lm.model.begin(lm.embed(IDS), MASK)
    same = wanted(lm, first, MASK, Retold(IDS, MASK, torch.arange(5).expand(2, 5)))
    assert float(same.unit) > 0
    assert float(rewriting_loss(first.detach(), same)) == pytest.approx(0, abs=1e-6)


def test_training_alone_reaches_the_loop_layers_and_nothing_else() -> None:
    lm = make().train()
    batch = EchoTask().batch(Random(1), 2, 0)
    batch = Batch(((IDS, MASK),) * 2, batch.question_ids, batch.labels, batch.answer_at)
    batch = replace(batch, hint=(HINT, None).__getitem__)
    optimizers = build_optimizers(given(lr=3e-3), lm)
    before = {name: p.detach().clone() for name, p in lm.named_parameters()}
    losses = []
    for _ in range(60):
        loss = taught_alone(lm, batch, 3, is_forced=True)
        loss.backward()
        optimizers.step(1.0)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    changed = {name for name, p in lm.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all(name.startswith("model.loop_layers.") for name in changed)


def test_only_where_it_is_asked_for_is_a_batch_with_hints_taught() -> None:
    lm = make()
    batch = EchoTask().batch(Random(1), 2, 0)
    window = (IDS, MASK)
    batch = Batch((window, window), *(batch.question_ids, batch.labels, batch.answer_at))
    hinted = replace(batch, hint=(HINT, None).__getitem__)
    plain = score(lm, batch, 2)
    for left_alone in (score(lm, hinted, 2), score(lm, batch, 2, is_forced=True)):
        assert left_alone.rewriting is None
        assert torch.equal(left_alone.loss, plain.loss)
    forced = score(lm, hinted, 2, is_forced=True)
    assert forced.rewriting is not None
    assert not torch.equal(forced.loss, plain.loss)
    late = score(lm, hinted, 2, is_forced=True, backward=1)
    assert late.rewriting is None  # no gradient reaches the window that has hints
    assert torch.equal(late.loss, plain.loss)
    free = score(lm, hinted, 2, is_forced=False)
    assert free.rewriting is not None
    assert torch.equal(free.loss, plain.loss)
    assert score(lm, hinted, 1, is_forced=True).rewriting is None


def test_forcing_gives_way_from_one_step_to_another() -> None:
    run = given(forcing=0.3, forcing_from=100, forcing_to=300)
    rng = Random(1)
    shares = [
        sum(draw_forced(rng, run, step) for _ in range(400)) / 400 for step in range(0, 401, 50)
    ]
    assert shares == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0], abs=0.1)
    assert not draw_forced(rng, given(forcing=0.3), 0)


def test_batches_of_chains_come_with_hints_and_go_where_the_batch_goes() -> None:
    batch = DialoguesTask(chained=100).batch(Random(2), 3, DialoguesTask().n_stages - 1)
    hints = [batch.hint(n) for n in range(len(batch.windows))]
    assert any(hints)
    moved = batch.to("meta")
    for n, before in enumerate(hints):
        after = moved.hint(n)
        assert (before is None) == (after is None)
        if after is not None:
            told = [each for hand_on in (after.retold, *after.confused) for each in hand_on]
            parts = [after.of_pass, after.context, after.named, after.told]
            parts += [part for each in told for part in each]
            assert {tensor.device.type for tensor in parts} == {"meta"}


def test_a_run_without_loop_layers_goes_on_with_fresh_ones_by_a_branch_alone(
    tmp_path: Path,
) -> None:
    plain = settings(layers="AG", n_heads=2)
    lm = build_model(plain, EchoTask())
    progress = load_run(tmp_path / "none", plain, lm, build_optimizers(plain, lm))
    save_run(tmp_path, plain, lm, build_optimizers(plain, lm), progress)
    grown = build_model(given(), EchoTask())
    fresh = {n: p.detach().clone() for n, p in grown.model.loop_layers.named_parameters()}
    branch_run(tmp_path, given(), grown, build_optimizers(given(), grown))
    for name, parameter in lm.named_parameters():
        assert torch.equal(parameter, dict(grown.named_parameters())[name])
    for name, parameter in grown.model.loop_layers.named_parameters():
        assert torch.equal(parameter, fresh[name])
    with pytest.raises(ConfigError, match="another model"):
        read_run(tmp_path, build_model(given(), EchoTask()))


class Killed(Exception):
    pass


@pytest.mark.usefixtures("small_tasks")
@pytest.mark.parametrize("how", [{"loop_alone": True, "passes": (2, 3)}, {"forcing": 0.3}])
def test_a_run_that_was_killed_and_resumed_teaches_as_an_unbroken_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, object]
) -> None:
    monkeypatch.setattr(train_run, "SAVE_EVERY_S", 0.0)
    plain = settings(layers="AG", n_heads=2, steps=5)
    train_run.run(plain, tmp_path / "plain", silent)
    looped = given(task="hinted", steps=30, forcing_from=5, forcing_to=20, **how)

    def killed(progress: Progress, loss: float) -> None:
        if progress.step == 12:
            raise Killed

    with pytest.raises(Killed):
        train_run.run(looped, tmp_path / "cut", killed, branch=tmp_path / "plain")
    train_run.run(looped, tmp_path / "cut", silent)
    losses: list[float] = []
    train_run.run(
        looped, tmp_path / "whole", lambda _, loss: losses.append(loss), branch=tmp_path / "plain"
    )
    before, cut, whole = (
        load_file(tmp_path / name / "model.safetensors") for name in ("plain", "cut", "whole")
    )
    assert all(torch.equal(cut[name], whole[name]) for name in whole)
    stays = {name for name in before if torch.equal(before[name], whole[name])}
    assert (stays == before.keys()) == looped.loop_alone
    if looped.loop_alone:
        assert losses[-1] < losses[0] / 2


@pytest.mark.usefixtures("small_tasks")
def test_loop_layers_alone_are_trained_in_a_model_that_has_learned_something(
    tmp_path: Path,
) -> None:
    alone = given(task="hinted", steps=3, loop_alone=True, passes=(2, 3))
    with pytest.raises(ConfigError, match="learned nothing") as caught:
        train_run.run(alone, tmp_path / "run", silent)
    assert "--branch" in (caught.value.hint or "")
