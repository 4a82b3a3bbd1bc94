"""What an agent is told: keys are set and set again over many windows, then asked, multi-hop.

A window holds facts "set x = y", one token of two parts (source, target) each; x is any key and y
any other one, so that values are keys too and "the value of the value of x" can be asked. The last
fact about a key holds. A question is a token (source, hops) and asks what is known: the source and
all keys on the way are set. Guessing is right about once in `keys - 1`.

Training draws 1 .. windows windows for a batch and 1 .. facts facts for each of them, so that short
windows are slept on too. Held out are contexts in the full form, a tenth of those by a hash.

The task is ours; arXiv 2605.26099 has none like it.
"""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.held_out import draw_from_side
from sleepmem.types import Value

UNSET = -1


class RecallTask(Value):
    """See the module.

    Attributes:
        keys: that can be set.
        facts: a window holds at most.
        windows: there are at most.
        hops: the most that are asked; the curriculum opens them one by one.
        questions: asked of each context, each from the same fast weights. The number of hops is
            uniform, but for the few contexts that know no chain so long: there it is the longest.
        by: what depth means. `hops`, or `age`: how many sleeps ago the oldest of the facts was
            told that the answer rests on; 1 is the last window.
    """

    keys: int = Field(default=10, ge=3)
    facts: int = Field(default=5, ge=1)
    windows: int = Field(default=4, ge=1)
    hops: int = Field(default=2, ge=1)
    questions: int = Field(default=10, ge=1)
    by: Literal["hops", "age"] = "hops"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.keys * (self.keys - 1)) ** (self.facts * self.windows) < 100:
            raise ValueError(f"{self.keys} keys tell too little to hold out a part of it")
        return self

    @property
    def name(self) -> str:
        return "recall"

    @property
    def window(self) -> int:
        return self.facts

    @property
    def vocab_size(self) -> int:
        return 2 * self.keys + self.hops

    @property
    def n_stages(self) -> int:
        return self.hops

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        n_windows = rng.randint(1, self.windows)
        return self._draw(rng, size, n_windows, stage + 1, held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._draw(rng, size, self.windows, self.hops, held_out=True)

    def _draw(
        self, rng: Random, size: int, n_windows: int, most_hops: int, *, held_out: bool
    ) -> Batch:
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        shape = n_windows, self.facts
        told = draw_facts(generator, size, shape, self.keys, held_out=held_out)
        known = what_holds(told, self.keys)
        asked = draw_questions(generator, known, self.questions, most_hops)
        ids = told.clamp(min=0) + torch.tensor([0, self.keys])
        mask = told[..., 0] != UNSET
        question = torch.stack([asked.source, 2 * self.keys - 1 + asked.hops], dim=-1)
        labels = (self.keys + asked.answer)[..., None]
        return Batch(
            tuple(zip(ids.unbind(1), mask.unbind(1), strict=True)),
            question[:, :, None],
            labels,
            torch.ones_like(labels, dtype=torch.bool),
            asked.hops if self.by == "hops" else n_windows - asked.told_in,
        )


class Known(NamedTuple):
    """What holds after the last window, (size, keys), `UNSET` for keys that were never set.

    Attributes:
        value: of each key.
        told_in: the window that says so.
    """

    value: Tensor
    told_in: Tensor


class Asked(NamedTuple):
    """Questions, (size, questions).

    Attributes:
        told_in: the earliest window among those that the answer rests on.
    """

    source: Tensor
    hops: Tensor
    answer: Tensor
    told_in: Tensor


def draw_facts(
    generator: torch.Generator, size: int, shape: tuple[int, int], n_keys: int, *, held_out: bool
) -> Tensor:
    """Return (size, windows, facts, 2): source and target, `UNSET` behind the end of a window.

    Windows are full if held out, else of any length. Training draws no full context that is held
    out, and as the hash is of what is told, no short one that it takes for held out.
    """

    def draw(n: int) -> Tensor:
        source = torch.randint(n_keys, (n, *shape), generator=generator)
        other = torch.randint(1, n_keys, (n, *shape), generator=generator)
        told = torch.stack([source, (source + other) % n_keys], dim=-1)
        if not held_out:
            n_facts = torch.randint(1, shape[1] + 1, (n, shape[0], 1), generator=generator)
            told[torch.arange(shape[1]) >= n_facts] = UNSET
        return told

    return draw_from_side(draw, size, held_out=held_out)


def what_holds(told: Tensor, n_keys: int) -> Known:
    """Return the last value of each key; `told` as from `draw_facts`."""
    size, n_windows, n_facts, _ = told.shape
    value = torch.full((size, n_keys + 1), UNSET)  # the last place takes what is not told
    told_in = value.clone()
    for n_window in range(n_windows):
        for n_fact in range(n_facts):
            source, target = told[:, n_window, n_fact, :, None].unbind(1)
            source = source.where(source != UNSET, n_keys)
            value.scatter_(1, source, target)
            told_in.scatter_(1, source, n_window)
    return Known(value[:, :n_keys], told_in[:, :n_keys])


def draw_questions(
    generator: torch.Generator, known: Known, n_questions: int, most_hops: int
) -> Asked:
    """Draw the number of hops, then a source from which so many lead over keys that are set."""
    size = len(known.value)
    answers, origins = chains(known, most_hops)
    can = (answers != UNSET).float()  # (hops, size, keys)
    longest = can.any(dim=2).sum(dim=0)[:, None]  # no chain is longer where none is shorter
    hops = torch.randint(1, most_hops + 1, (size, n_questions), generator=generator)
    hops = hops.minimum(longest)
    row = torch.arange(size)[:, None].expand_as(hops)
    weights = can[hops - 1, row].flatten(0, 1)
    source = torch.multinomial(weights, 1, generator=generator).view_as(hops)
    answer, told_in = (found[hops - 1, row, source] for found in (answers, origins))
    return Asked(source, hops, answer, told_in)


def chains(known: Known, most_hops: int) -> tuple[Tensor, Tensor]:
    """Return what 1 .. most_hops hops from each key lead to, and the earliest window behind it.

    Both (hops, size, keys), `UNSET` where a key on the way is not set.
    """
    answers, origins = [known.value], [known.told_in]
    for _ in range(most_hops - 1):
        at = answers[-1].clamp(min=0)
        is_known = answers[-1] != UNSET
        target = known.value.gather(1, at).where(is_known, UNSET)
        origin = known.told_in.gather(1, at).minimum(origins[-1])
        answers.append(target)
        origins.append(origin.where(target != UNSET, UNSET))
    return torch.stack(answers), torch.stack(origins)
