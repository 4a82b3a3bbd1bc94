"""Rule 110: random states of a ring of cells are read and evicted, then asked about t steps later.

Each window holds one state, one token a cell of three parts, (state, position, bit): bits without
positions are hardly learned. Two ways to ask:

* `first_bit`, the paper's: one question for the first bit of every state after exactly `steps`
  steps, all of which must be right. Its inputs are a query token and the labels but the last, so
  that each label has its predictor in the question; with the usual shift the first would have it
  in the last window. The curriculum asks for 1, 2, .. steps. On a ring of 24 cells a majority
  guesser is right in 8 to 10 % of the contexts, which is therefore the base line.
* `whole`: one question of one token for every cell of every state, (state, position, t), with its
  own t, uniform on 1 .. stage. Guessing is right in a bit more than half of them.

Source: arXiv 2605.26099. With zeros beyond the ends the first bit is nearly always 1, so the states
must be rings.
"""

from __future__ import annotations

from random import Random
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.held_out import draw_from_side
from sleepmem.types import Value


class Rule110Task(Value):
    """See the module. The paper: width 24, steps 32, answer first_bit.

    Attributes:
        width: cells of the ring.
        steps: the most that are asked; the curriculum opens them one by one.
        states: and windows, each of one state.
        answer: how it is asked, and what must be right.
    """

    width: int = Field(default=12, ge=8, le=128)  # fewer cells: too few states to hold out
    steps: int = Field(default=8, ge=1)
    states: int = Field(default=4, ge=1)
    answer: Literal["first_bit", "whole"] = "first_bit"

    @property
    def name(self) -> str:
        return "rule110"

    @property
    def window(self) -> int:
        return max(self.width, self.states)  # the question of `first_bit` has a token a state

    @property
    def vocab_size(self) -> int:
        return self._steps_at + self.steps + 1

    @property
    def n_stages(self) -> int:
        return self.steps

    # ids: states, positions, bits that are read, bits that are answered, the query, steps
    @property
    def _bits_at(self) -> int:
        return self.states + self.width

    @property
    def _answers_at(self) -> int:
        return self._bits_at + 2

    @property
    def _steps_at(self) -> int:
        return self._answers_at + 2  # the id of zero steps is the query token of `first_bit`

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        return self._draw(rng, size, stage + 1, held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._draw(rng, size, self.steps, held_out=True)

    def _draw(self, rng: Random, size: int, most_steps: int, *, held_out: bool) -> Batch:
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        n_states = size * self.states
        states = draw_states(generator, n_states, self.width, held_out=held_out)
        states = states.view(size, self.states, self.width)
        ids = torch.stack([*self._places(size), self._bits_at + states], dim=-1)
        seen = torch.ones(size, self.width, dtype=torch.bool)
        windows = tuple((window, seen) for window in ids.unbind(1))
        later = evolve(states, most_steps)
        if self.answer == "first_bit":
            return self._ask_first_bits(windows, later[most_steps, :, :, 0], most_steps)
        return self._ask_cells(windows, later, generator)

    def _ask_first_bits(
        self, windows: tuple[tuple[Tensor, Tensor], ...], bits: Tensor, n_steps: int
    ) -> Batch:
        labels = self._answers_at + bits
        query = torch.full_like(labels[:, :1], self._steps_at)
        state, position = self._places(len(bits))
        asked = torch.cat([query, labels[:, :-1]], dim=1)
        question = torch.stack([state[..., 0], position[..., 0], asked], dim=-1)
        return Batch(
            windows,
            question[:, None],
            labels[:, None],
            torch.ones_like(labels[:, None], dtype=torch.bool),
            torch.full((len(bits), 1), n_steps),
        )

    def _ask_cells(
        self, windows: tuple[tuple[Tensor, Tensor], ...], later: Tensor, generator: torch.Generator
    ) -> Batch:
        n_steps = torch.randint(1, len(later), later.shape[1:], generator=generator)
        state, position = self._places(later.shape[1])
        question = torch.stack([state, position, self._steps_at + n_steps], dim=-1)
        labels = self._answers_at + later.gather(0, n_steps[None])[0]
        return Batch(
            windows,
            question.flatten(1, 2)[:, :, None],
            labels.flatten(1)[:, :, None],
            torch.ones_like(labels.flatten(1)[:, :, None], dtype=torch.bool),
            n_steps.flatten(1),
        )

    def _places(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the ids of state and position of each cell, both (size, states, width)."""
        shape = size, self.states, self.width
        state = torch.arange(self.states)[:, None].expand(shape)
        return state, (self.states + torch.arange(self.width)).expand(shape)


def draw_states(generator: torch.Generator, size: int, width: int, *, held_out: bool) -> Tensor:
    """Return (size, width) of bits: uniform over the states that are, or are not, held out."""

    def draw(n: int) -> Tensor:
        return torch.randint(2, (n, width), generator=generator)

    return draw_from_side(draw, size, held_out=held_out)


def evolve(states: Tensor, n_steps: int) -> Tensor:
    """Return (n_steps + 1, *states.shape), the states after 0 .. n_steps steps on the ring."""
    trajectory = [states]
    for _ in range(n_steps):
        cell = trajectory[-1]
        left, right = cell.roll(1, dims=-1), cell.roll(-1, dims=-1)
        trajectory.append((cell | right) & ~(left & cell & right))
    return torch.stack(trajectory)
