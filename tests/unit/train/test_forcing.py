"""Teacher forcing from pass to pass, against passes that are spelled out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
import torch
import torch.nn.functional as F
from small_tasks import EchoTask, settings
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import sleep
from sleepmem.train.forcing import Forcing, forced_sleep, hint_loss
from sleepmem.train.loop import build_model, draw_forcing
from sleepmem.train.objective import score
from sleepmem.train.tasks import Batch, Hint, Places
from sleepmem.train.tasks.dialogues import DialoguesTask

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])
MASK = torch.tensor([[True] * 5, [True] * 4 + [False]])
FIRST = Places(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([[20, 21], [22, -1]]))
SECOND = FIRST._replace(parts=torch.tensor([[23, -1], [24, 25]]))
HINT: Hint = (FIRST, SECOND)
INJECT = {"loop_input": "inject"}


def make() -> SleepForCausalLM:
    return build_model(settings(layers="AG", n_heads=2, loop=INJECT), EchoTask()).eval()


def slept(lm: SleepForCausalLM, passes: int, forcing: Forcing) -> tuple[tuple[Tensor, ...], Tensor]:
    return forced_sleep(lm, lm.model.blank(2), IDS, passes, MASK, HINT, forcing)


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_without_force_it_is_a_sleep(passes: int) -> None:
    lm = make()
    after, _ = slept(lm, passes, Forcing(is_forced=False, withheld=1.0))
    for found, wanted in zip(after, sleep(lm, lm.model.blank(2), IDS, passes, MASK), strict=True):
        assert torch.equal(found, wanted)


def test_one_pass_is_the_first_of_a_longer_sleep() -> None:
    lm = make()
    after, off = slept(lm, 1, Forcing(is_forced=True, withheld=1.0))
    assert torch.equal(off, slept(lm, 2, Forcing())[1])
    assert torch.equal(after[0], sleep(lm, lm.model.blank(2), IDS, 1, MASK)[0])


@pytest.mark.parametrize("withheld", [0.0, 0.25, 1.0])
def test_a_forced_pass_reads_the_hint_beside_the_tokens_and_less_of_the_rest(
    withheld: float,
) -> None:
    lm = make()
    embeddings, embedded = lm.model.embed_tokens.weight, lm.embed(IDS)
    h, weights = embedded, lm.model.blank(2)
    for parts in ([(20, 21), (22,)], [(23,), (24, 25)], [(23,), (24, 25)], None):
        h, states = lm.model(h, lm.model.window_start(weights), MASK)
        weights = fast_weights(states)
        if parts:
            left = (1 - withheld) * F.rms_norm(h, h.shape[-1:])
            left[0, 2] = F.rms_norm(embeddings[[*parts[0]]].sum(0), h.shape[-1:])
            left[1, 3] = F.rms_norm(embeddings[[*parts[1]]].sum(0), h.shape[-1:])
            h = embedded + left
    found, _ = slept(lm, 4, Forcing(is_forced=True, withheld=withheld))
    torch.testing.assert_close(found[0], weights[0], rtol=1e-4, atol=1e-5)


def test_nothing_is_nearer_than_a_place_that_holds_its_parts_in_equal_shares() -> None:
    embeddings = torch.eye(40)
    h = torch.zeros(2, 5, 40)
    h[0, 2, [20, 21]] = h[1, 3, 22] = 3.0
    near = float(hint_loss(h, embeddings, FIRST))
    assert near == pytest.approx(math.log(2) / 2, abs=1e-3)  # two parts, and one
    h[0, 2, 20] = 4.0
    assert float(hint_loss(h, embeddings, FIRST)) > near + 0.1
    h[1, 3] = embeddings[7]
    assert float(hint_loss(h, embeddings, FIRST)) > near + 5


def test_training_on_the_distance_alone_brings_the_first_pass_to_the_hint() -> None:
    torch.manual_seed(1)
    lm = make().train()
    optimizer = torch.optim.Adam(lm.parameters(), lr=1e-2)
    offs = []
    for _ in range(30):
        _, off = slept(lm, 2, Forcing())
        off.backward()
        optimizer.step()
        optimizer.zero_grad()
        offs.append(float(off.detach()))
    assert offs[-1] < offs[0] / 3


def test_only_where_it_is_asked_for_is_a_batch_with_hints_forced() -> None:
    lm = make()
    batch = EchoTask().batch(Random(1), 2, 0)
    window = (IDS, MASK)
    batch = Batch((window, window), *(batch.question_ids, batch.labels, batch.answer_at))
    hinted = replace(batch, hints=(HINT, None))
    plain = score(lm, batch, 2)
    for left_alone in (score(lm, hinted, 2), score(lm, batch, 2, forcing=Forcing(True, 1.0))):
        assert left_alone.hint_loss is None
        assert torch.equal(left_alone.loss, plain.loss)
    forced = score(lm, hinted, 2, forcing=Forcing(True, 1.0))
    assert forced.hint_loss is not None
    assert not torch.equal(forced.loss, plain.loss)
    late = score(lm, hinted, 2, forcing=Forcing(True, 1.0), backward=1)
    assert late.hint_loss is None  # no gradient reaches the window that has hints
    assert torch.equal(late.loss, plain.loss)
    free = score(lm, hinted, 2, forcing=Forcing())
    assert free.hint_loss is not None
    assert torch.equal(free.loss, plain.loss)


def test_forcing_gives_way_from_one_step_to_another() -> None:
    given = settings(forcing=0.3, forcing_from=100, forcing_to=300, loop=INJECT)
    rng = Random(1)
    shares = {}
    for step in (0, 100, 150, 200, 250, 300, 1000):
        drawn = [draw_forcing(rng, given, step) for _ in range(400)]
        [withheld] = {forcing.withheld for forcing in drawn}
        shares[step] = withheld, Counter(forcing.is_forced for forcing in drawn)[True] / 400
    assert [withheld for withheld, _ in shares.values()] == [1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert [share for _, share in shares.values()] == pytest.approx(
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0], abs=0.1
    )


def test_batches_of_chains_come_with_hints_and_go_where_the_batch_goes() -> None:
    batch = DialoguesTask(chained=100).batch(Random(2), 3, DialoguesTask().n_stages - 1)
    assert any(batch.hints)
    assert len(batch.hints) == len(batch.windows)
    moved = batch.to("meta")
    for before, after in zip(batch.hints, moved.hints, strict=True):
        assert (before is None) == (after is None)
        assert after is None or {tensor.device.type for place in after for tensor in place} == {
            "meta"
        }
