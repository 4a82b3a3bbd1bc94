"""Two hops that a sleep of one pass cannot follow and one of two can, in ten minutes of one core.

    python .runs/hops/toy.py [--steps 1800]

Told: "a r b ; b s c ;" of four chains, interleaved; names are one of 1,000 tokens each. Asked:
"r a s", which is c. With probability p, 1 up to step 500 and 0 from step 1,500 on, the second pass
reads a where the first one left what it made of the b that begins "b s c" (teacher forcing); beside
it the first pass learns to leave a there, by a small loss.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.config import SleepConfig
from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.train.objective import PAPER, Score, _ask, _marked
from sleepmem.train.optimizers import build_optimizers
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import IGNORED, Batch

STOP, ASK, ANSWER, FIRST, SECOND, NAMES, N_NAMES = 0, 1, 2, 5, 7, 20, 1000
CHAINS, QUESTIONS = 4, 8
HOLD, FREE = 500, 1500  # steps between which teacher forcing ends
SCALE, WEIGHT = 16.0, 0.1  # of the cosine that names a, and of that loss


class Told(NamedTuple):
    """A batch, and what the b of each "b s c" is to become; -100 elsewhere."""

    batch: Batch
    aliases: Tensor


def draw(rng: random.Random, size: int) -> Told:
    windows, aliases, rows, labels, depths = [], [], [], [], []
    for _ in range(size):
        names = iter(rng.sample(range(NAMES, NAMES + N_NAMES), 3 * CHAINS))
        chains = [(next(names), next(names), next(names)) for _ in range(CHAINS)]
        order = [k for k in range(CHAINS) for _ in range(2)]
        rng.shuffle(order)
        window, alias, begun = [], [], set[int]()
        for k in order:
            a, b, c = chains[k]
            window += [b, SECOND, c, STOP] if k in begun else [a, FIRST, b, STOP]
            alias += [a if k in begun else IGNORED, IGNORED, IGNORED, IGNORED]
            begun.add(k)
        windows.append(window)
        aliases.append(alias)
        for _ in range(QUESTIONS):
            a, b, c = rng.choice(chains)
            asked, answer, hops = rng.choice(
                [([FIRST, a, SECOND], c, 2), ([a, FIRST], b, 1), ([b, SECOND], c, 1)]
            )
            row = [ASK, *asked, ANSWER]
            rows.append([*row, *[STOP] * (5 - len(row))])
            labels.append([answer if i == len(row) - 1 else IGNORED for i in range(5)])
            depths.append(hops)
    shape = size, QUESTIONS
    ids, asked_of = torch.tensor(windows), torch.tensor(labels).view(*shape, -1)
    mask = torch.ones_like(ids, dtype=torch.bool)
    questions, depth = torch.tensor(rows).view(*shape, -1), torch.tensor(depths).view(shape)
    batch = Batch(((ids, mask),), questions, asked_of, asked_of != IGNORED, depth)
    return Told(batch, torch.tensor(aliases))


def slept(lm: SleepForCausalLM, told: Told, passes: int, is_forced: bool) -> tuple[Score, Tensor]:
    """Return the score after a sleep, and how far the first pass is from the aliases, nats."""
    [(ids, _)], at = told.batch.windows, told.aliases != IGNORED
    aliases, embeddings = told.aliases[at], lm.model.embed_tokens.weight
    h, weights, off = lm.embed(ids), lm.model.blank(len(ids)), torch.zeros(())
    for n in range(passes):
        h, states = lm.model(h, lm.model.window_start(weights))
        weights = fast_weights(states)
        if n == 0:
            cosine = F.normalize(h[at], dim=-1) @ F.normalize(embeddings, dim=-1).T
            off = F.cross_entropy(SCALE * cosine, aliases)
            if is_forced:
                h = h.masked_scatter(at[..., None], embeddings[aliases])
    return _marked(lm, _ask(lm, weights, told.batch, PAPER), told.batch), off


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1800)
    steps, rng = parser.parse_args().steps, random.Random(0)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = SleepConfig(
        vocab_size=NAMES + N_NAMES, hidden_size=96, intermediate_size=192, window=256,
        linear_num_heads=4, attention_conv_kernel_dim=4, initializer_range=1.0, linear_gain=0.58,
    )  # fmt: skip
    lm = SleepForCausalLM(config)
    attention = lm.model.layers[0].mixer
    with torch.no_grad():  # its queries start as its keys, and its convolution as something
        attention.qkv.weight[:96] = attention.qkv.weight[96:192]
        attention.conv.normal_(std=0.2)
    settings = TrainSettings(
        task="toy", steps=steps, optimizer="muon", lr=3e-3, muon_lr=5e-3, embedding_std=1
    )
    optimizers = build_optimizers(settings, lm)
    for step in range(1, steps + 1):
        p = min(1.0, max(0.0, (FREE - step) / (FREE - HOLD)))
        score, off = slept(lm, draw(rng, 24), rng.choice((1, 2, 4)), rng.random() < p)
        (score.loss + WEIGHT * off).backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizers.step(min(1.0, step / 50))
        if step % 100 == 0:
            sys.stdout.write(f"step {step}: {_figures(lm)}\n")
            sys.stdout.flush()


@torch.no_grad()
def _figures(lm: SleepForCausalLM) -> str:
    told, said = draw(random.Random(9), 64), []
    for passes in (1, 2, 4):
        found, off = slept(lm, told, passes, False)
        one, two = (float(found.right[found.depth == hops].float().mean()) for hops in (1, 2))
        said.append(f"N={passes} one hop {one:.2f} two {two:.2f}")
    return f"{'; '.join(said)}; first pass off by {float(off):.2f} nats"


if __name__ == "__main__":
    main()
