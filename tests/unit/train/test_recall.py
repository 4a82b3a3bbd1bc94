"""Facts that are set and set again, against a dictionary."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.errors import ConfigError
from sleepmem.train.tasks import Batch, find_task
from sleepmem.train.tasks.held_out import is_held_out
from sleepmem.train.tasks.recall import RecallTask

Fact = tuple[int, int]


def facts_of(task: RecallTask, batch: Batch, row: int) -> list[list[Fact]]:
    """Return (source, target) by window, and hold padding to the end of a window."""
    windows = []
    for ids, mask in batch.windows:
        n_facts = int(mask[row].sum())
        assert mask[row].tolist() == [True] * n_facts + [False] * (ids.shape[1] - n_facts)
        assert n_facts > 0
        facts = [(source, target - task.keys) for source, target in ids[row, :n_facts].tolist()]
        assert all(s != t and s < task.keys and 0 <= t < task.keys for s, t in facts)
        windows.append(facts)
    return windows


def lived(windows: list[list[Fact]]) -> tuple[dict[int, int], dict[int, int]]:
    """Return value and age in sleeps of each key that was set."""
    value, age = {}, {}
    for n_window, facts in enumerate(windows):
        for source, target in facts:
            value[source], age[source] = target, len(windows) - n_window
    return value, age


def followed(value: dict[int, int], age: dict[int, int], source: int, hops: int) -> Fact:
    """Return the answer and the age of the oldest fact behind it; KeyError if one is unknown."""
    oldest = 0
    for _ in range(hops):
        oldest = max(oldest, age[source])
        source = value[source]
    return source, oldest


@pytest.mark.parametrize("hops", [1, 2, 4])
@pytest.mark.parametrize("by", ["hops", "age"])
@pytest.mark.parametrize("side", ["training", "held out"])
def test_answers_are_the_last_values(hops: int, by: str, side: str) -> None:
    task = RecallTask.model_validate({"keys": 8, "hops": hops, "by": by})
    ages: Counter[int] = Counter()
    for seed in range(6):
        rng = Random(seed)
        batch = task.batch(rng, 20, hops - 1) if side == "training" else task.held_out(rng, 20)
        assert batch.depth is not None
        for row in range(20):
            known = lived(facts_of(task, batch, row))
            asked = batch.question_ids[row, :, 0] - torch.tensor([0, 2 * task.keys - 1])
            expected = [followed(*known, source, n) for source, n in asked.tolist()]
            assert (batch.labels[row, :, 0] - task.keys).tolist() == [e[0] for e in expected]
            depth = batch.depth[row].tolist()
            assert depth == (asked[:, 1].tolist() if by == "hops" else [e[1] for e in expected])
            ages.update(e[1] for e in expected)
    assert set(ages) == {1, 2, 3, 4}


def test_values_are_set_again_in_the_same_and_in_later_windows() -> None:
    task = RecallTask()
    batch = task.held_out(Random(0), 200)
    within = across = 0
    for row in range(200):
        seen: set[int] = set()
        for facts in facts_of(task, batch, row):
            sources = [source for source, _ in facts]
            within += len(sources) - len(set(sources))
            across += len(seen & set(sources))
            seen |= set(sources)
    assert within > 50
    assert across > 200


def test_hops_are_even_and_answers_not_guessable() -> None:
    task = RecallTask(hops=3)
    batch = task.held_out(Random(2), 1000)
    assert batch.depth is not None
    counts = Counter(batch.depth.flatten().tolist())
    assert all(abs(n / 10_000 - 1 / 3) < 0.02 for n in counts.values())
    for hops in (1, 2, 3):
        answers = Counter(batch.labels[..., 0][batch.depth == hops].tolist())
        assert max(answers.values()) / answers.total() < 0.15


def test_training_sleeps_on_windows_of_every_length() -> None:
    task = RecallTask()
    batches = [task.batch(Random(seed), 16, 1) for seed in range(30)]
    assert {len(batch.windows) for batch in batches} == {1, 2, 3, 4}
    lengths = {int(n) for batch in batches for _, mask in batch.windows for n in mask.sum(1)}
    assert lengths == {1, 2, 3, 4, 5}
    held_out = task.held_out(Random(0), 8)
    assert [bool(mask.all()) for _, mask in held_out.windows] == [True] * 4


@given(
    keys=st.integers(5, 14),
    facts=st.integers(1, 6),
    windows=st.integers(2, 5),
    hops=st.integers(1, 5),
    questions=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_any_size_fits_window_and_vocabulary(
    keys: int, facts: int, windows: int, hops: int, questions: int, seed: int
) -> None:
    task = RecallTask(keys=keys, facts=facts, windows=windows, hops=hops, questions=questions)
    stage = seed % hops
    for batch in (task.batch(Random(seed), 3, stage), task.held_out(Random(seed), 3)):
        assert 1 <= len(batch.windows) <= windows
        assert all(ids.shape == (3, facts, 2) for ids, _ in batch.windows)
        assert facts <= task.window
        assert batch.labels.shape == batch.question_ids.shape[:3] == (3, questions, 1)
        every = [*(ids for ids, _ in batch.windows), batch.question_ids, batch.labels]
        assert all(int(ids.min()) >= 0 and int(ids.max()) < task.vocab_size for ids in every)
    depth = task.batch(Random(seed), 3, stage).depth
    assert depth is not None
    assert int(depth.max()) <= stage + 1


def test_same_random_state_gives_the_same_batch() -> None:
    task = find_task("recall")
    one, other = (task.batch(Random("3:1"), 4, 1) for _ in range(2))
    another = task.batch(Random("3:3"), 4, 1)
    assert torch.equal(one.question_ids, other.question_ids)
    assert torch.equal(one.labels, other.labels)
    for (a, m), (b, n) in zip(one.windows, other.windows, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(m, n)
    assert not torch.equal(one.question_ids, another.question_ids)


def test_training_never_draws_a_held_out_context() -> None:
    task = RecallTask(keys=4, facts=2, windows=1)  # so few that both sides would meet

    def told(batch: Batch) -> set[tuple[Fact, ...]]:
        contexts = (tuple(facts_of(task, batch, row)[0]) for row in range(1000))
        return {facts for facts in contexts if len(facts) == 2}

    trained, held_out = told(task.batch(Random(0), 1000, 1)), told(task.held_out(Random(0), 1000))
    assert not trained & held_out
    assert len(trained | held_out) > 140  # of 144
    rows = torch.tensor([[x for fact in facts for x in fact] for facts in held_out])
    assert bool(is_held_out(rows).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": 2}, "keys"),
        ({"hops": 0}, "hops"),
        ({"by": "time"}, "by"),
        ({"keys": 4, "facts": 1, "windows": 1}, "4 keys tell too little"),
        ({"nodes": 4}, "no option 'nodes'"),
    ],
)
def test_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_task("recall", options)
