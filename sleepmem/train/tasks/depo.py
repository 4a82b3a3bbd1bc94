"""Multi-hop retrieval: a shuffled directed cycle is read and evicted, then "k hops from x?".

Nodes 0 .. n-1 stand on one random cycle. Its edges are read in any order, spread evenly over the
windows, one token an edge; each question names a node and a number of hops. Neither is known while
the edges are read, so what is stored must serve every question.

A token has two parts, (source, target) or (source, hops): the same embedding of a source finds in
a question what it wrote in an edge. With one id for each whole edge two hops are hardly learned.
The paper's own form, with names of several tokens, is in `depo_spelled`.

Source: Depo of Physics of Language Models 4.1; arXiv 2605.26099.
"""

from __future__ import annotations

from random import Random
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from sleepmem.train.tasks import IGNORED, Batch
from sleepmem.train.tasks.depo_spelled import (
    EDGE,
    HOPS_AT,
    MOST_NODES,
    draw_names,
    spelled_edges,
    spelled_questions,
)
from sleepmem.train.tasks.held_out import draw_from_side
from sleepmem.types import Value


class DepoTask(Value):
    """See the module. The paper: nodes 75, hops 16, windows 4, form spelled, sizes mixed.

    Attributes:
        nodes: on the cycle; guessing is right once in `nodes - 1`.
        hops: the most that are asked; the curriculum opens them one by one.
        windows: over which the edges are spread.
        cues: 1 ends each window with one token (node, cue) for every node, in any order, so that
            a sleep has a place to read and write again what earlier windows told; 0 does not.
        rounds: how often the row of windows is slept on from its beginning, as an agent may that
            sleeps on earlier episodes again; every round costs as much as the first.
        questions: asked of each cycle, each from the same fast weights.
        form: `factored` is one token an edge, `spelled` the paper's; see `depo_spelled`.
        sizes: `mixed` trains on cycles of 3 .. nodes nodes, n with a weight of
            1 / (n + sqrt(nodes)), and holds out full ones; in the spelled form alone.
    """

    nodes: int = Field(default=10, ge=3)
    hops: int = Field(default=6, ge=1)
    windows: int = Field(default=1, ge=1)
    cues: int = Field(default=0, ge=0, le=1)
    rounds: int = Field(default=1, ge=1)
    questions: int = Field(default=10, ge=1)
    form: Literal["factored", "spelled"] = "factored"
    sizes: Literal["full", "mixed"] = "full"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hops >= self.nodes:
            raise ValueError(
                f"{self.hops} hops on a cycle of {self.nodes} nodes end where a shorter way does"
            )
        if self.windows > self.nodes:
            raise ValueError(f"{self.nodes} edges do not fill {self.windows} windows")
        if self.sizes == "mixed" and self.form != "spelled":
            raise ValueError("cycles of mixed sizes need the spelled form")
        if self.cues and self.form == "spelled":
            raise ValueError("the spelled form has no cues")
        if self.form == "spelled" and self.nodes > MOST_NODES:
            raise ValueError(f"the spelled form has names for {MOST_NODES} nodes")
        return self

    @property
    def name(self) -> str:
        return "depo"

    @property
    def window(self) -> int:
        if self.form == "spelled":
            return -(-self.nodes * EDGE // self.windows)
        return -(-self.nodes // self.windows) + self.cues * self.nodes

    @property
    def vocab_size(self) -> int:
        if self.form == "spelled":
            return HOPS_AT + self.hops + 2
        return 2 * self.nodes + self.hops + self.cues

    @property
    def n_stages(self) -> int:
        return self.hops

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        return self._draw(rng, size, stage + 1, held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._draw(rng, size, self.hops, held_out=True)

    def _draw(self, rng: Random, size: int, most_hops: int, *, held_out: bool) -> Batch:
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        if self.form == "spelled":
            return self._draw_spelled(generator, size, most_hops, held_out=held_out)
        following = draw_cycles(generator, size, self.nodes, held_out=held_out)
        order = _permutations(generator, size, self.nodes)
        edges = torch.stack([order, self.nodes + following.gather(1, order)], dim=-1)
        pieces = list(torch.tensor_split(edges, self.windows, dim=1))
        shape = size, self.questions
        start = torch.randint(self.nodes, shape, generator=generator)
        hops = torch.randint(1, most_hops + 1, shape, generator=generator)
        asked = torch.stack([start, 2 * self.nodes - 1 + hops], dim=-1)
        labels = self.nodes + walk(following, start, hops)
        if self.cues:
            pieces = [torch.cat([ids, self._cues(generator, size)], dim=1) for ids in pieces]
        windows = [(ids, torch.ones(ids.shape[:2], dtype=torch.bool)) for ids in pieces]
        return Batch(
            tuple(windows * self.rounds),
            asked[:, :, None],
            labels[:, :, None],
            torch.ones(*shape, 1, dtype=torch.bool),
            hops,
        )

    def _cues(self, generator: torch.Generator, size: int) -> Tensor:
        node = _permutations(generator, size, self.nodes)
        return torch.stack([node, torch.full_like(node, self.vocab_size - 1)], dim=-1)

    def _draw_spelled(
        self, generator: torch.Generator, size: int, most_hops: int, *, held_out: bool
    ) -> Batch:
        is_mixed = self.sizes == "mixed" and not held_out
        following = draw_cycles(generator, size, self.nodes, held_out=held_out, mixed=is_mixed)
        order = _permutations(generator, size, self.nodes)
        names = draw_names(generator, size, self.nodes)
        on_cycle = (following != torch.arange(self.nodes)).float()
        start = torch.multinomial(on_cycle, self.questions, replacement=True, generator=generator)
        hops = torch.randint(1, most_hops + 1, start.shape, generator=generator)
        answer = walk(following, start, hops)
        ids, labels = spelled_questions(names, start, hops, answer, self.hops)
        windows = spelled_edges(names, following, order, self.windows, self.window)
        seen = torch.ones(size, self.window, dtype=torch.bool)  # padding is read as well
        slept = [(window, seen) for window in windows] * self.rounds
        return Batch(tuple(slept), ids, labels, labels != IGNORED, hops)


def draw_cycles(
    generator: torch.Generator, size: int, n_nodes: int, *, held_out: bool, mixed: bool = False
) -> Tensor:
    """Return the node that follows each node, (size, n_nodes): uniform over single cycles.

    Where sizes are mixed, a node that is not on the cycle follows itself.

    A tenth of all cycles is held out from training, by a hash; the rest is what training draws.
    """

    def draw(n: int) -> Tensor:
        around = _permutations(generator, n, n_nodes)
        after = _shortened(generator, around) if mixed else around.roll(-1, dims=1)
        return torch.empty_like(around).scatter_(1, around, after)

    return draw_from_side(draw, size, held_out=held_out)


def _shortened(generator: torch.Generator, around: Tensor) -> Tensor:
    """Return what follows each of `around` when the cycle closes after 3 or more of them."""
    n_nodes = around.shape[1]
    lengths = torch.arange(3, n_nodes + 1)
    weights = 1 / (lengths + n_nodes**0.5)
    n = torch.multinomial(weights, len(around), replacement=True, generator=generator)
    place, last = torch.arange(n_nodes), lengths[n, None] - 1
    after = torch.where(place < last, place + 1, torch.where(place == last, 0, place))
    return around.gather(1, after)


def walk(following: Tensor, start: Tensor, hops: Tensor) -> Tensor:
    """Return the node that is `hops` steps after `start`, both (size, questions)."""
    node = start
    for step in range(int(hops.max())):
        node = torch.where(step < hops, following.gather(1, node), node)
    return node


def _permutations(generator: torch.Generator, size: int, n: int) -> Tensor:
    return torch.rand(size, n, generator=generator).argsort(dim=1)
