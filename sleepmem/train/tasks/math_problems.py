"""The problems behind `math`: numbers, how they come from each other, and what is asked.

The number of operations is uniform for each question, on 1 .. operations when held out and on
0 .. stage in training: to find a given number is where it starts. A chain as long as the longest of
them starts from a given number. Each further quantity has a given number (share `GIVEN`) or
comes from any earlier one. A question asks for any of the quantities that are so many operations
away from a given number.

Given numbers are uniform on 0 .. numbers - 1, and an operation is uniform on those that stay in
that range: "a more" and "a fewer" for a in 1 .. amounts, 2 times and 3 times if not of zero.

A tenth of all problems is held out from training, by a hash that knows neither names nor order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sleepmem.train.tasks.held_out import is_held_out, n_to_draw

GIVEN = 0.3


class Problems(NamedTuple):
    """Drawn problems before they are told; all (size, quantities) but `asked`.

    Attributes:
        parent: the quantity that it comes from; itself if its number is given.
        relation: the number if given, else `numbers` + an index into `operations_of`.
        value: what there is of it.
        depth: operations from a given number.
        asked: (size, questions), quantities.
    """

    parent: Tensor
    relation: Tensor
    value: Tensor
    depth: Tensor
    asked: Tensor


def draw_problems(
    generator: torch.Generator,
    shape: tuple[int, int, int],
    n_operations: tuple[int, int],
    numbers: int,
    amounts: int,
    *,
    held_out: bool,
) -> Problems:
    """Draw problems on one side of the split.

    Args:
        shape: problems, questions of each, quantities of each.
        n_operations: that a question needs, from and to, both included.
    """
    size, n_questions, n_quantities = shape
    fewest, most = n_operations
    found: list[Problems] = []
    while sum(len(problems.value) for problems in found) < size:
        n_drawn = n_to_draw(size, held_out=held_out)
        depth = torch.randint(fewest, most + 1, (n_drawn, n_questions), generator=generator)
        drawn = problems_of_depth(generator, depth, n_quantities, numbers, amounts)
        rows = torch.cat([drawn.parent, drawn.relation, drawn.asked], dim=1)
        kept = is_held_out(rows) == held_out
        found.append(Problems(*(part[kept] for part in drawn)))
    return Problems(*(torch.cat(parts)[:size] for parts in zip(*found, strict=True)))


def problems_of_depth(
    generator: torch.Generator, depth: Tensor, n_quantities: int, numbers: int, amounts: int
) -> Problems:
    """Draw problems in which the questions need `depth` (size, questions) operations."""
    size, longest = len(depth), depth.amax(dim=1)
    made, may = operations_of(numbers, amounts)
    parents, relations = torch.zeros(2, size, n_quantities, dtype=torch.int64)
    values, depths = torch.zeros(2, size, n_quantities, dtype=torch.int64)
    for n in range(n_quantities):
        earlier = torch.randint(max(n, 1), (size,), generator=generator)
        parent = torch.where(n <= longest, max(n - 1, 0), earlier)
        given = (torch.rand(size, generator=generator) < GIVEN) & (n > longest) | (n == 0)
        number = torch.randint(numbers, (size,), generator=generator)
        start = values.gather(1, parent[:, None])[:, 0]
        operation = torch.multinomial(may[start].float(), 1, generator=generator)[:, 0]
        parents[:, n] = torch.where(given, n, parent)
        relations[:, n] = torch.where(given, number, numbers + operation)
        values[:, n] = torch.where(given, number, made[start, operation])
        depths[:, n] = torch.where(given, 0, depths.gather(1, parent[:, None])[:, 0] + 1)
    fits = (depths[:, None] == depth[:, :, None]).float()
    asked = torch.multinomial(fits.flatten(0, 1), 1, generator=generator).view_as(depth)
    return Problems(parents, relations, values, depths, asked)


def operations_of(numbers: int, amounts: int) -> tuple[Tensor, Tensor]:
    """Return what each operation makes of each number, and whether it may, (numbers, operations).

    Operations: 1 .. amounts more, 1 .. amounts fewer, 2 times, 3 times.
    """
    number, amount = torch.arange(numbers)[:, None], torch.arange(1, amounts + 1)
    made = torch.cat([number + amount, number - amount, 2 * number, 3 * number], dim=1)
    may = (made >= 0) & (made < numbers)
    may[0, -2:] = False
    return made, may
