from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.model.sampling import sample
from sleepmem.types import Sampling

LOGITS = torch.tensor([0.1, 3.0, -1.0, 2.9, 0.0])


def test_zero_temperature_is_greedy() -> None:
    assert sample(LOGITS, Sampling(), position=0) == 1


def test_allowed_ids_bind_greedy_and_warm() -> None:
    for temperature in (0.0, 5.0):
        how = Sampling(temperature=temperature, allowed_ids=frozenset({0, 2}))
        assert {sample(LOGITS, how, position=i) for i in range(50)} <= {0, 2}


@given(seed=st.integers(0, 2**31), position=st.integers(0, 511))
def test_same_seed_and_position_draw_the_same(seed: int, position: int) -> None:
    how = Sampling(temperature=1.0, seed=seed)
    assert sample(LOGITS, how, position=position) == sample(LOGITS, how, position=position)


def test_positions_draw_independently() -> None:
    flat = torch.zeros(8)
    drawn = {sample(flat, Sampling(temperature=1.0), position=i) for i in range(100)}
    assert len(drawn) > 4


def test_top_k_and_top_p_cut_the_tail() -> None:
    top_two = {sample(LOGITS, Sampling(temperature=9.0, top_k=2), position=i) for i in range(200)}
    assert top_two == {1, 3}
    best = {sample(LOGITS, Sampling(temperature=1.0, top_p=0.1), position=i) for i in range(50)}
    assert best == {1}


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.tensor([0.9, 0.1]).log()
    how = Sampling(temperature=1.0)
    share = sum(sample(logits, how, position=i) == 0 for i in range(2000)) / 2000
    assert 0.87 < share < 0.93
