"""What a model can be trained on. A task draws batches; it knows no model and no optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from pydantic import ValidationError

from sleepmem.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

IGNORED = -100  # label of a position without loss


class Retold(NamedTuple):
    """A window as a pass is to hand it on, in words: with what follows from what it says.

    Attributes:
        ids: (batch, tokens of it).
        mask: the same shape, false at padding.
        token: (batch, tokens of the window); which token of `ids` each one is, -1 if none.
    """

    ids: Tensor
    mask: Tensor
    token: Tensor


class Hint(NamedTuple):
    """What passes are to hand on of a window, and what tells them.

    Attributes:
        retold: by pass; the last is for all later ones.
        confused: the same, with people taken for each other: what is not to be handed on.
        of_pass, context, named, told: (names,) which pass from 0 and which of the batch, the last
            token of somebody who is called by name, and that of the name earlier in the window
            where it says who that is, or who that pass was handed on to be.
    """

    retold: tuple[Retold, ...]
    confused: tuple[tuple[Retold, ...], ...]
    of_pass: Tensor
    context: Tensor
    named: Tensor
    told: Tensor

    def after(self, n: int) -> tuple[Retold, ...]:
        """Return what pass `n`, from 0, is to hand on, and then what it is not."""
        n = min(n, len(self.retold) - 1)
        return self.retold[n], *(each[n] for each in self.confused)

    def to(self, device: str) -> Hint:
        def moved(each: tuple[Retold, ...]) -> tuple[Retold, ...]:
            return tuple(Retold(*(t.to(device) for t in retold)) for retold in each)

        named = (t.to(device) for t in (self.of_pass, self.context, self.named, self.told))
        return Hint(moved(self.retold), tuple(map(moved, self.confused)), *named)


def no_hint(_: int) -> Hint | None:
    """Return None: nothing is known of what passes are to hand on."""
    return None


def _moved(hint: Callable[[int], Hint | None], device: str, number: int) -> Hint | None:
    found = hint(number)
    return found and found.to(device)


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that are slept on, then questions that are asked of the fast weights alone.

    Attributes:
        windows: ids (batch, tokens) and mask (batch, tokens), false at padding, oldest first.
        question_ids: (batch, questions, tokens); each question starts from an empty KV cache.
        labels: (batch, questions, tokens); the id to be predicted *at* a position, or `IGNORED`.
        answer_at: the same shape; true where a label counts for accuracy. A question is answered
            right if all of its labels that count are.
        depth: (batch, questions); by what accuracy is split: hops, steps, operations.
        hint: what passes are to hand on of a window, by its number; worked out when it is asked.

    Ids may have one more dimension, the parts of a token; see `SleepForCausalLM.embed`.
    """

    windows: tuple[tuple[Tensor, Tensor], ...]
    question_ids: Tensor
    labels: Tensor
    answer_at: Tensor
    depth: Tensor | None = None
    hint: Callable[[int], Hint | None] = no_hint

    @property
    def n_tokens(self) -> tuple[int, int]:
        """Tokens that are slept on and tokens that are asked, padding included."""
        return sum(mask.numel() for _, mask in self.windows), self.labels.numel()

    def to(self, device: str) -> Batch:
        """Return the batch on a device."""
        return Batch(
            tuple((ids.to(device), mask.to(device)) for ids, mask in self.windows),
            self.question_ids.to(device),
            self.labels.to(device),
            self.answer_at.to(device),
            None if self.depth is None else self.depth.to(device),
            partial(_moved, self.hint, device),
        )


class Task(Protocol):
    """A source of batches with a curriculum.

    Attributes:
        name: as given to `sleepmem train`.
        window: the longest window, and so the one that a model of this task is made for, in tokens.
        vocab_size: ids are below it.
        n_stages: stages of the curriculum, easiest first; the last is the task itself.
    """

    @property
    def name(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def n_stages(self) -> int: ...

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        """Draw a training batch; the same `rng` state gives the same batch."""
        ...

    def held_out(self, rng: Random, size: int) -> Batch:
        """Draw a batch at the full difficulty, of what training never sees where it is closed."""
        ...


@runtime_checkable
class TalkTask(Task, Protocol):
    """A task in the words of a chat, whose checkpoint an agent can live with."""

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer in which the batches are written."""
        ...


def find_task(name: str, options: Mapping[str, object] | None = None) -> Task:
    """Return a task by name.

    Raises:
        ConfigError: an unknown one, or options that it does not have or that do not fit together.
    """
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise ConfigError(f"no task {name!r}; known: {known}", hint="Name one of those.")
    module, factory = TASKS[name].split(":")
    make = getattr(import_module(module), factory)
    known_options = getattr(make, "model_fields", {})
    for option in options or {}:
        if option not in known_options:
            raise ConfigError(
                f"task {name} has no option {option!r}",
                hint=f"It has: {', '.join(known_options) or 'none'}.",
            )
    try:
        task: Task = make(**(options or {}))
    except ValidationError as problem:
        first = problem.errors()[0]
        what = " ".join(map(str, first["loc"])) or "its options"
        why = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"task {name}: {what}: {why}", hint="Choose others.") from problem
    return task


TASKS = {
    "depo": "sleepmem.train.tasks.depo:DepoTask",
    "dialogues": "sleepmem.train.tasks.dialogues:DialoguesTask",
    "math": "sleepmem.train.tasks.math:MathTask",
    "recall": "sleepmem.train.tasks.recall:RecallTask",
    "rule110": "sleepmem.train.tasks.rule110:Rule110Task",
}
