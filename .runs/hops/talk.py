"""The same in shorthand of real names, from a checkpoint: "Ana boss Pavel Novak", "Pavel Novak town
Oslo", then "Ana's boss town" is asked.

    python .runs/hops/talk.py sleepmem/pretrained/tiny-2 [--steps 1600]

The second pass reads the pieces of "Ana's boss" where the first one left what it made of "Pavel
Novak" (the last pieces in place, those before them summed in the first); the rest of that message
it reads as a mixture of its own pieces and of what the first pass made of them, the share of the
pieces falling from 1 to 0 between steps 150 and 800. Forcing ends between steps 700 and 1,600.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.entities import PEOPLE, Split
from sleepmem.train.dialogues.life import Line
from sleepmem.train.dialogues.speech import Fact, Subject, answered, asked_short, shorthand
from sleepmem.train.dialogues.world import World
from sleepmem.train.objective import PAPER, Score, _ask, _marked
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.dialogue_rows import (
    Row,
    _pad,
    labelled,
    spoken,
    text_ids,
    with_questions,
)
from sleepmem.types import Role

CHAINS, QUESTIONS = 3, 6
MIXED, PLAIN, HOLD, FREE = 150, 800, 700, 1600  # steps; see above
SCALE, WEIGHT = 16.0, 0.3
HABITS = [relation for relation in relations.OF_PEOPLE if relation.value not in PEOPLE]


class Told(NamedTuple):
    """A batch, and of its window each (life, place, pieces) that is to become others.

    Attributes:
        beside: (life, place) of the rest of those messages.
    """

    batch: Batch
    aliases: list[tuple[int, int, list[int]]]
    beside: list[tuple[int, int]]


def draw(rng: random.Random, size: int, split: Split) -> Told:
    windows, aliases, beside, rows = [], [], [], []
    for life in range(size):
        chains, window, begun = _chains(rng, split), list[int](), set[int]()
        order = [k for k in range(CHAINS) for _ in range(2)]
        rng.shuffle(order)
        for k in order:
            fact, relative = chains[k][k in begun], chains[k][2]
            ids = spoken([Line(Role.USER, shorthand(fact))])
            if k in begun:
                start, n = len(window) + 1, len(text_ids(fact.subject.name))
                aliases += [(life, start + i, p) for i, p in _aligned(relative.name, n)]
                there = range(start, start + n)
                places = range(len(window), len(window) + len(ids))
                beside += [(life, place) for place in places if place not in there]
            window += ids
            begun.add(k)
        windows.append(window)
        rows.append([_row(rng, *rng.choice(chains)) for _ in range(QUESTIONS)])
    return Told(with_questions((_pad(windows),), rows), aliases, beside)


def _chains(rng: random.Random, split: Split) -> list[tuple[Fact, Fact, Subject]]:
    """Return who is whose boss, what is said of that boss, and "Ana's boss"; all of them alike."""
    world = World(rng, split, [], relations.OF_PEOPLE)
    first, second = rng.choice(relations.PEOPLE), rng.choice(HABITS)
    names: list[str] = []
    while len(names) < 2 * CHAINS:
        name = world.entity("person")
        names += [name] if name not in names else []
    chains = []
    for who, boss in zip(names[::2], names[1::2], strict=True):
        said = world.other(Fact(Subject(boss), second, boss))
        chains.append((Fact(Subject(who), first, boss), said, Subject(who).relative(first)))
    return chains


def _aligned(alias: str, n: int) -> list[tuple[int, list[int]]]:
    """Return the pieces of an alias at the last of `n` places; what has no room is in the first."""
    pieces = text_ids(alias)
    n_early = max(1, len(pieces) - n + 1)
    groups = [pieces[:n_early], *([piece] for piece in pieces[n_early:])]
    return list(enumerate(groups, n - len(groups)))


def _row(rng: random.Random, first: Fact, second: Fact, relative: Subject) -> Row:
    chosen = rng.random()
    if chosen < 0.5:
        subject, fact, hops = relative, second, 2
    else:
        fact, hops = (first if chosen < 0.75 else second), 1
        subject = fact.subject
    question = Line(Role.USER, asked_short(subject, fact.relation))
    return labelled([question], answered(fact.value), hops)


def slept(
    lm: SleepForCausalLM, told: Told, passes: int, forced: bool, plain: float
) -> tuple[Score, Tensor]:
    """Return the score after a sleep, and how far the first pass is from the aliases, nats."""
    [(ids, mask)], embeddings = told.batch.windows, lm.model.embed_tokens.weight
    at = tuple(torch.tensor([alias[:2] for alias in told.aliases]).T)
    beside = tuple(torch.tensor(told.beside).T)
    embedded = lm.embed(ids)
    h, weights, off = embedded, lm.model.blank(len(ids)), torch.zeros(())
    for n in range(passes):
        h, states = lm.model(h, lm.model.window_start(weights), mask)
        weights = fast_weights(states)
        if n == 0:
            off = _off(h[at], embeddings, [pieces for *_, pieces in told.aliases])
            if forced:
                h = h.clone()
                h[at] = torch.stack([embeddings[pieces].sum(0) for *_, pieces in told.aliases])
                h[beside] = plain * embedded[beside] + (1 - plain) * h[beside]
    return _marked(lm, _ask(lm, weights, told.batch, PAPER), told.batch), off


def _off(h: Tensor, embeddings: Tensor, wanted: Sequence[Sequence[int]]) -> Tensor:
    cosine = F.normalize(h, dim=-1) @ F.normalize(embeddings, dim=-1).T
    named = F.log_softmax(SCALE * cosine, dim=-1)
    each = [named[i, list(pieces)].mean() for i, pieces in enumerate(wanted)]
    return -torch.stack(each).mean()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--steps", type=int, default=1600)
    given, rng = parser.parse_args(), random.Random(0)
    torch.set_num_threads(1)
    lm = SleepForCausalLM.from_pretrained(given.checkpoint)
    settings = TrainSettings(
        task="dialogues", steps=given.steps, optimizer="muon", lr=3e-3, muon_lr=5e-3
    )
    optimizers = build_optimizers(settings, lm)
    for step in range(given.steps + 1):
        if step % 100 == 0:
            sys.stdout.write(f"step {step}: {_figures(lm)}\n")
            sys.stdout.flush()
        plain = min(1.0, max(0.0, (PLAIN - step) / (PLAIN - MIXED)))
        is_forced = rng.random() < (FREE - step) / (FREE - HOLD)
        score, off = slept(lm, draw(rng, 12, Split.TRAIN), 2, is_forced, plain)
        (score.loss + WEIGHT * off).backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizers.step(min(1.0, (step + 1) / 50))


@torch.no_grad()
def _figures(lm: SleepForCausalLM) -> str:
    told, said = draw(random.Random(9), 32, Split.VALIDATION), []
    for passes in (1, 2):
        found, off = slept(lm, told, passes, False, 0.0)
        one, two = (float(found.right[found.depth == hops].float().mean()) for hops in (1, 2))
        said.append(f"N={passes} one hop {one:.2f} two {two:.2f}")
    return f"{'; '.join(said)}; first pass off by {float(off):.2f} nats"


if __name__ == "__main__":
    main()
