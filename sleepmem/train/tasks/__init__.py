"""What a model can be trained on. A task draws batches; it knows no model and no optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Protocol

from sleepmem.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

IGNORED = -100  # label of a position without loss


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that are slept on, then questions that are asked of the fast weights alone.

    Attributes:
        windows: ids (batch, tokens) and mask (batch, tokens), false at padding, oldest first.
        question_ids: (batch, questions, tokens); each question starts from an empty KV cache.
        labels: the same shape; the id to be predicted *at* a position, or `IGNORED`.
        answer_at: the same shape; true where a label counts for accuracy.
    """

    windows: tuple[tuple[Tensor, Tensor], ...]
    question_ids: Tensor
    labels: Tensor
    answer_at: Tensor


class Task(Protocol):
    """A source of batches with a curriculum.

    Attributes:
        name: as given to `sleepmem train`.
        window: the window that a model of this task is made for.
        n_stages: stages of the curriculum, easiest first; the last is the task itself.
    """

    name: str
    window: int
    n_stages: int

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer in which the batches are written."""
        ...

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        """Draw a training batch; the same `rng` state gives the same batch."""
        ...

    def held_out(self, rng: Random, size: int) -> Batch:
        """Draw a batch of what training never sees, at the full difficulty."""
        ...


def find_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        ConfigError: an unknown one.
    """
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise ConfigError(f"no task {name!r}; known: {known}", hint="Name one of those.")
    module, factory = TASKS[name].split(":")
    make: Callable[[], Task] = getattr(import_module(module), factory)
    return make()


TASKS = {"facts": "sleepmem.train.tasks.facts:FactsTask"}
