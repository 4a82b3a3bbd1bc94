"""The rule by the table, what is asked of it, and how far guessing gets."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.errors import ConfigError
from sleepmem.train.tasks import Batch, find_task
from sleepmem.train.tasks.held_out import is_held_out
from sleepmem.train.tasks.rule110 import Rule110Task, draw_states, evolve

TABLE = {
    (1, 1, 1): 0,
    (1, 1, 0): 1,
    (1, 0, 1): 1,
    (1, 0, 0): 0,
    (0, 1, 1): 1,
    (0, 1, 0): 1,
    (0, 0, 1): 1,
    (0, 0, 0): 0,
}
ANSWERS = ("first_bit", "whole")


def stepped(cells: list[int], n_steps: int) -> list[int]:
    for _ in range(n_steps):
        n = len(cells)
        cells = [TABLE[cells[i - 1], cells[i], cells[(i + 1) % n]] for i in range(n)]
    return cells


def states_of(task: Rule110Task, batch: Batch, row: int) -> list[list[int]]:
    """Decode the windows, and hold them to one state each with its own place."""
    states = []
    for n, (ids, mask) in enumerate(batch.windows):
        assert bool(mask.all())
        state, position, bit = ids[row].unbind(-1)
        assert state.tolist() == [n] * task.width
        assert (position - task.states).tolist() == list(range(task.width))
        states.append((bit - task.states - task.width).tolist())
    return states


def all_states(width: int) -> torch.Tensor:
    return (torch.arange(2**width)[:, None] >> torch.arange(width)) & 1


def test_evolve_is_the_rule_on_a_ring() -> None:
    states = all_states(8)
    later = evolve(states, 9)
    for t in range(10):
        assert later[t].tolist() == [stepped(cells, t) for cells in states.tolist()]


@pytest.mark.parametrize("stage", range(4))
def test_first_bit_asks_one_question_with_a_query_before_the_first_label(stage: int) -> None:
    task = Rule110Task(width=9, steps=4, states=3)
    batch = task.batch(Random(stage), 5, stage)
    assert batch.question_ids.shape == (5, 1, 3, 3)
    assert bool((batch.depth == stage + 1).all())  # type: ignore[union-attr]
    assert bool(batch.answer_at.all())
    zero = task.states + task.width + 2  # the id of the answer 0
    for row in range(5):
        bits = [stepped(cells, stage + 1)[0] for cells in states_of(task, batch, row)]
        assert (batch.labels[row, 0] - zero).tolist() == bits
        asked = batch.question_ids[row, 0, :, 2] - zero
        assert asked.tolist() == [2, *bits[:-1]]  # 2: the query token; no label is its own input


@pytest.mark.parametrize("stage", range(4))
def test_whole_asks_every_cell_of_every_state(stage: int) -> None:
    task = Rule110Task(width=8, steps=4, states=2, answer="whole")
    batch = task.batch(Random(stage), 5, stage)
    assert batch.question_ids.shape == (5, 16, 1, 3)
    assert batch.depth is not None
    assert set(batch.depth.flatten().tolist()) == set(range(1, stage + 2))
    zero = task.states + task.width + 2
    for row in range(5):
        states = states_of(task, batch, row)
        asked = batch.question_ids[row, :, 0] - torch.tensor([0, task.states, zero + 2])
        assert [(s, p) for s, p, _ in asked.tolist()] == [
            (s, p) for s in range(2) for p in range(8)
        ]
        assert asked[:, 2].tolist() == batch.depth[row].tolist()
        answers = [stepped(states[s], t)[p] for s, p, t in asked.tolist()]
        assert (batch.labels[row, :, 0] - zero).tolist() == answers


@given(
    width=st.integers(8, 30),
    steps=st.integers(1, 9),
    states=st.integers(1, 5),
    size=st.integers(1, 4),
    answer=st.sampled_from(ANSWERS),
    seed=st.integers(0, 99),
)
def test_any_size_fits_window_and_vocabulary(
    width: int, steps: int, states: int, size: int, answer: str, seed: int
) -> None:
    task = Rule110Task.model_validate(
        {"width": width, "steps": steps, "states": states, "answer": answer}
    )
    stage = seed % steps
    for batch in (task.batch(Random(seed), size, stage), task.held_out(Random(seed), size)):
        assert len(batch.windows) == states
        assert all(ids.shape == (size, width, 3) for ids, _ in batch.windows)
        assert width <= task.window
        assert batch.question_ids.shape[2] <= task.window
        assert batch.labels.shape == batch.question_ids.shape[:3] == batch.answer_at.shape
        every = [*(ids for ids, _ in batch.windows), batch.question_ids, batch.labels]
        assert all(int(ids.min()) >= 0 and int(ids.max()) < task.vocab_size for ids in every)
    depth = task.batch(Random(seed), size, stage).depth
    assert depth is not None
    assert int(depth.max()) <= stage + 1


@pytest.mark.parametrize("answer", ANSWERS)
def test_same_random_state_gives_the_same_batch(answer: str) -> None:
    task = find_task("rule110", {"answer": answer})
    one, other = (task.batch(Random("3:1"), 4, 2) for _ in range(2))
    another = task.batch(Random("3:2"), 4, 2)
    assert torch.equal(one.question_ids, other.question_ids)
    assert torch.equal(one.labels, other.labels)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one.windows, other.windows, strict=True))
    assert not torch.equal(one.windows[0][0], another.windows[0][0])


def test_training_never_draws_a_held_out_state() -> None:
    task = Rule110Task()
    bits_at = task.states + task.width

    def read(batch: Batch) -> set[tuple[int, ...]]:
        rows = torch.cat([ids[..., 2] - bits_at for ids, _ in batch.windows])
        return {tuple(row) for row in rows.tolist()}

    trained = read(task.batch(Random(0), 3000, 7))
    held_out = read(task.held_out(Random(0), 600))
    assert not trained & held_out
    closed = is_held_out(all_states(12))
    assert len(trained | held_out) > 3900  # of 4096: hardly a state is out of reach
    assert 0.08 < float(closed.float().mean()) < 0.12


@pytest.mark.parametrize("held_out", [False, True])
def test_four_first_bits_are_guessed_right_in_about_a_tenth(held_out: bool) -> None:
    width, n_steps = 12, 8
    states = all_states(width)
    side = states[is_held_out(states) == held_out]
    share = float(evolve(side, n_steps)[n_steps, :, 0].float().mean())
    task = Rule110Task(width=width, steps=n_steps)
    rng, size = Random(1), 4000
    batch = task.held_out(rng, size) if held_out else task.batch(rng, size, n_steps - 1)
    ones = (batch.labels - batch.labels.min()).float()
    assert abs(float(ones.mean()) - share) < 0.015
    all_right = float(ones.prod(dim=-1).mean())
    assert abs(all_right - share**4) < 0.02
    assert all_right < 0.11


def test_majority_share_on_a_ring_of_24_is_the_known_one() -> None:
    generator = torch.Generator().manual_seed(0)
    states = draw_states(generator, 40_000, 24, held_out=False)
    later = evolve(states, 32)
    for t, share in {4: 0.535, 8: 0.541, 16: 0.556, 32: 0.562}.items():
        assert abs(float(later[t, :, 0].float().mean()) - share) < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 3}, "width"),
        ({"steps": 0}, "steps"),
        ({"states": 0}, "states"),
        ({"answer": "all"}, "answer"),
        ({"bits": 4}, "no option 'bits'"),
    ],
)
def test_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_task("rule110", options)
