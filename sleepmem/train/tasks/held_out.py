"""What training never draws: a tenth of everything that can be drawn, by a hash of its rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def is_held_out(rows: Tensor) -> Tensor:
    """Return (size,), true for about a tenth of all rows of small integers, (size, n)."""
    mixed = torch.zeros(len(rows), dtype=torch.int64)
    for item in rows.unbind(1):  # a polynomial hash modulo a prime
        mixed = (mixed * 1_000_003 + item + 1) % 2_147_483_647
    return mixed % 10 == 0


def n_to_draw(size: int, *, held_out: bool) -> int:
    """Return how many to draw at once, so that `size` of one side are mostly among them."""
    return (12 if held_out else 2) * size


def draw_from_side(draw: Callable[[int], Tensor], size: int, *, held_out: bool) -> Tensor:
    """Return `size` of what `draw` draws that are, or are not, held out.

    Args:
        draw: from a number n, (n, ...) of small integers.
    """
    found: list[Tensor] = []
    while sum(map(len, found)) < size:
        drawn = draw(n_to_draw(size, held_out=held_out))
        found.append(drawn[is_held_out(drawn.flatten(1)) == held_out])
    return torch.cat(found)[:size]
