"""A share with its interval, and a rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

RESAMPLES = 2000
COVERAGE = 0.95


class Share(NamedTuple):
    """A fraction with the bounds of its bootstrap interval."""

    value: float
    lowest: float
    highest: float


def share(right: Tensor, life: Tensor) -> Share:
    """Return the share of right answers.

    Whole lives are resampled, since answers out of one memory hang together.

    Args:
        right: (questions,) true or false.
        life: (questions,) whose they are; a life that is asked nothing is not among them.

    Raises:
        ValueError: there are none.
    """
    return balanced([(right, life)])


def balanced(groups: Sequence[tuple[Tensor, Tensor]]) -> Share:
    """Return the mean of the shares of several groups of questions to the same lives.

    Raises:
        ValueError: a group is empty.
    """
    if not all(len(life) for _, life in groups):
        raise ValueError("a share of no answers")
    lives = torch.cat([life for _, life in groups]).unique()
    n_lives = len(lives)
    drawn = torch.randint(
        n_lives, (RESAMPLES, n_lives), generator=torch.Generator().manual_seed(n_lives)
    )
    values, resampled = [], []
    for right, life in groups:
        whose = torch.searchsorted(lives, life)
        n_right = torch.zeros(n_lives).double().index_add(0, whose, right.double())
        n_asked = torch.zeros(n_lives).double().index_add(0, whose, torch.ones(len(life)).double())
        values.append(n_right.sum() / n_asked.sum())
        resampled.append(n_right[drawn].sum(1) / n_asked[drawn].sum(1))
    tail = (1 - COVERAGE) / 2
    # not a number where a group has nobody left in a resample, which then does not count
    means = torch.stack(resampled).mean(0)
    low, high = means.nanquantile(torch.tensor([tail, 1 - tail]).double()).tolist()
    return Share(float(torch.stack(values).mean()), low, high)


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Return Spearman's coefficient, 0 if one side is all the same.

    Equal values share the mean of their ranks.
    """
    ranks = torch.stack([_ranks(x), _ranks(y)])
    return float(torch.corrcoef(ranks)[0, 1].nan_to_num())


def _ranks(x: Tensor) -> Tensor:
    _, inverse, counts = x.double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]
