"""Tasks that are learned in a few dozen steps, and runs as small as they."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import torch
from tokenizers import Tokenizer

from sleepmem.train.loop import Progress
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tasks import IGNORED, Batch, Hint, Retold
from sleepmem.train.tokenizer import build_tokenizer


class EchoTask:
    """One window of one token, then: which was it?"""

    name = "echo"
    window = 16
    vocab_size = 40
    n_stages = 2

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        told = torch.tensor([[rng.randrange(20, 24)] for _ in range(size)])
        window = (told, torch.ones_like(told, dtype=torch.bool))
        asked = torch.full((size, 1, 1), 19)
        scored = torch.ones_like(asked, dtype=torch.bool)
        return Batch((window,), asked, told[:, None], scored, torch.ones(size, 1).long())

    def held_out(self, rng: Random, size: int) -> Batch:
        return self.batch(rng, size, 0)


class HintedTask(EchoTask):
    """The same, and a pass is to hand on the token after the one that was told."""

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        batch = super().batch(rng, size, stage)
        [(told, mask)] = batch.windows
        retold = Retold(told + 1, mask, torch.zeros_like(told))
        other = Retold(told + 2, mask, torch.zeros_like(told))
        none = torch.zeros(size, dtype=torch.int64)
        name = none, torch.arange(size), none, none
        return replace(batch, hint=lambda _: Hint((retold,), ((other,),), *name))


class TalkingTask(EchoTask):
    """The same with a tokenizer, so that an agent could live with its checkpoint."""

    def tokenizer(self) -> Tokenizer:
        return build_tokenizer(["a b c d e"])

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        return self.tokenizer().get_vocab_size()


class SilentTask(EchoTask):
    """Asks for nothing at all, which has no loss, from batch `silent_from` on."""

    silent_from = 0

    def __init__(self) -> None:
        self._n_drawn = 0

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        batch = super().batch(rng, size, stage)
        self._n_drawn += 1
        if self._n_drawn <= self.silent_from:
            return batch
        labels = torch.full_like(batch.labels, IGNORED)
        return Batch(batch.windows, batch.question_ids, labels, torch.zeros_like(batch.answer_at))

    def held_out(self, rng: Random, size: int) -> Batch:
        return super().batch(rng, size, 0)


class LateSilentTask(SilentTask):
    silent_from = 7


class UncountedTask(EchoTask):
    """Has labels, but none that counts for accuracy."""

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        batch = super().batch(rng, size, stage)
        uncounted = torch.zeros_like(batch.answer_at)
        return Batch(batch.windows, batch.question_ids, batch.labels, uncounted)

    def held_out(self, rng: Random, size: int) -> Batch:
        return super().batch(rng, size, 0)


SMALL_TASKS = {
    "echo": EchoTask,
    "hinted": HintedTask,
    "talking": TalkingTask,
    "silent": SilentTask,
    "late_silent": LateSilentTask,
    "uncounted": UncountedTask,
}


def settings(**given: object) -> TrainSettings:
    small = {
        "task": "echo",
        "steps": 60,
        "batch": 16,
        "hidden_size": 16,
        "intermediate_size": 16,
        "n_attention_heads": 2,
        "d_k": 8,
        "d_v": 8,
        "passes": (1, 2),
        "lr": 1e-2,
        "warmup": 5,
    }
    return TrainSettings(**(small | given))


def silent(progress: Progress, loss: float) -> None:
    pass
