"""Shares, intervals and correlations, against slow versions and by what must hold."""

from __future__ import annotations

from random import Random
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sleepmem.bench.memory.statistics import balanced, rank_correlation, share

Answered = list[tuple[bool, int]]  # right or not, whose
answers = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40)


def tensors(answered: Answered) -> tuple[Tensor, Tensor]:
    return torch.tensor([a for a, _ in answered]), torch.tensor([life for _, life in answered])


def slow_interval(groups: list[Answered], n: int = 800) -> tuple[float, float]:
    """Return the interval by drawing whole lives with replacement, one at a time."""
    rng = Random(1)
    lives = sorted({life for answered in groups for _, life in answered})
    of_life = [
        {life: [right for right, whose in answered if whose == life] for life in lives}
        for answered in groups
    ]
    means = []
    while len(means) < n:
        drawn = rng.choices(lives, k=len(lives))
        again = [[right for life in drawn for right in rights[life]] for rights in of_life]
        if all(again):
            means.append(mean(mean(map(int, rights)) for rights in again))
    means.sort()
    return means[int(0.025 * n)], means[int(0.975 * n) - 1]


@given(answers)
def test_value_is_the_fraction_and_lies_in_its_interval(answered: Answered) -> None:
    found = share(*tensors(answered))
    assert found.value == pytest.approx(mean(right for right, _ in answered))
    assert 0 <= found.lowest <= found.value + 1e-12
    assert found.value - 1e-12 <= found.highest <= 1


@given(answers, st.randoms())
def test_numbers_and_order_of_lives_do_not_matter(answered: Answered, rng: Random) -> None:
    moved = [(right, 100 + 7 * life) for right, life in answered]
    assert share(*tensors(moved)) == share(*tensors(answered))
    shuffled = list(answered)
    rng.shuffle(shuffled)
    assert share(*tensors(shuffled)) == share(*tensors(answered))


@given(answers, st.integers(2, 5))
def test_more_questions_of_the_same_lives_make_it_no_surer(answered: Answered, n: int) -> None:
    assert share(*tensors(answered * n)) == pytest.approx(share(*tensors(answered)))


@given(answers)
def test_all_the_same_has_no_width(answered: Answered) -> None:
    for right in (False, True):
        same = [(right, life) for _, life in answered]
        assert share(*tensors(same)) == (right, right, right)


@pytest.mark.parametrize("seed", [0, 1])
def test_interval_is_that_of_a_slow_bootstrap(seed: int) -> None:
    rng = Random(seed)
    skill = [rng.random() for _ in range(30)]
    known = [(rng.random() < skill[life], life) for life in range(30) for _ in range(9)]
    unknown = [(rng.random() < 0.7, life) for life in range(0, 30, 2) for _ in range(1 + life % 3)]
    for groups in ([known], [unknown], [known, unknown]):
        found = balanced([tensors(group) for group in groups])
        lowest, highest = slow_interval(groups)
        assert found.lowest == pytest.approx(lowest, abs=0.03)
        assert found.highest == pytest.approx(highest, abs=0.03)
        assert found.value == pytest.approx(mean(mean(r for r, _ in group) for group in groups))


def test_lives_are_resampled_and_not_questions() -> None:
    whole = [(life < 4, life) for life in range(8) for _ in range(50)]
    mixed = [(n % 2 == 0, life) for life in range(8) for n in range(50)]
    of_lives, of_questions = share(*tensors(whole)), share(*tensors(mixed))
    assert of_lives.value == of_questions.value == 0.5
    assert of_lives.highest - of_lives.lowest > 0.5
    assert of_questions.highest == of_questions.lowest


def test_two_groups_count_alike_however_many_they_are() -> None:
    known, unknown = [(True, life) for life in range(90)], [(False, life) for life in range(9)]
    assert balanced([tensors(known), tensors(unknown)]).value == 0.5
    rare = balanced([tensors(known), tensors([(True, 3)])])  # often drawn without life 3
    assert rare == (1, 1, 1)


def test_a_share_of_nothing_is_refused() -> None:
    nothing = torch.tensor([]), torch.tensor([], dtype=torch.int64)
    with pytest.raises(ValueError, match="no answers"):
        share(*nothing)
    with pytest.raises(ValueError, match="no answers"):
        balanced([(torch.tensor([True]), torch.tensor([0])), nothing])


def slow_ranks(values: list[int]) -> list[float]:
    return [
        1 + sum(other < value for other in values) + (values.count(value) - 1) / 2
        for value in values
    ]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
def test_rank_correlation_is_that_of_the_ranks(pairs: list[tuple[int, int]]) -> None:
    x, y = ([pair[side] for pair in pairs] for side in (0, 1))
    found = rank_correlation(torch.tensor(x), torch.tensor(y))
    a, b = slow_ranks(x), slow_ranks(y)
    middle = (len(pairs) + 1) / 2
    across = sum((p - middle) * (q - middle) for p, q in zip(a, b, strict=True))
    spread = sum((p - middle) ** 2 for p in a) * sum((q - middle) ** 2 for q in b)
    assert found == pytest.approx(across / spread**0.5 if spread else 0.0, abs=1e-9)
    assert rank_correlation(torch.tensor(y), torch.tensor(x)) == pytest.approx(found, abs=1e-9)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30, unique=True))
def test_only_the_order_counts(values: list[int]) -> None:
    x = torch.tensor(values).double()
    assert rank_correlation(x, x**3) == pytest.approx(1)
    assert rank_correlation(x, -x.exp()) == pytest.approx(-1)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=10))
def test_what_never_changes_goes_with_nothing(values: list[int]) -> None:
    assert rank_correlation(torch.tensor(values), torch.ones(len(values))) == 0
