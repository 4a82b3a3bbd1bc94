"""Lives written without sight of the generator, in no wordings of ours: told, slept on, asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch

from sleepmem.bench import DEFAULT_PASSES, Row
from sleepmem.bench.memory.spoken import answered, living
from sleepmem.bench.memory.statistics import Share, share
from sleepmem.model.native import NativeSleepLM
from sleepmem.train.dialogues.chatter import NOTED
from sleepmem.train.dialogues.demo import bare
from sleepmem.train.dialogues.life import Line
from sleepmem.types import Role


@dataclass(frozen=True, slots=True)
class Said:
    """A question, and what was said to it.

    Attributes:
        life: number of the life.
        who: whose life it is, for people.
        answers: that are right.
        is_right: whether one of them was said, but for case and outer punctuation.
    """

    life: int
    who: str
    kind: str
    question: str
    answers: Sequence[str]
    said: str
    is_right: bool


def handwritten_lives() -> list[dict[str, Any]]:
    """Return the lives: who, what is told in each episode, and what is asked."""
    text = files("sleepmem.bench.memory").joinpath("handwritten.json").read_text("utf-8")
    lives: list[dict[str, Any]] = json.loads(text)
    return lives


def handwritten(lm: NativeSleepLM, lives: Sequence[dict[str, Any]]) -> list[Said]:
    """Live each life, the assistant noting every message, and ask all of its questions."""
    found = []
    for number, life in enumerate(lives):
        weights = living(lm, [_noted(messages) for messages in life["told"]], DEFAULT_PASSES)
        for asked in life["asked"]:
            said = answered(lm, weights, asked["question"])
            is_right = bare(said) in {bare(answer) for answer in asked["answers"]}
            found.append(Said(number, life["who"], said=said, is_right=is_right, **asked))
    return found


def _noted(messages: Sequence[str]) -> list[Line]:
    noted = Line(Role.ASSISTANT, NOTED)
    return [line for text in messages for line in (Line(Role.USER, text), noted)]


def handwritten_rows(found: Sequence[Said]) -> list[Row]:
    """Return the shares of right answers: of all, and of each kind."""
    kinds = dict.fromkeys(said.kind for said in found)
    by_name = {"handwritten": list(found)} | {
        f"handwritten_{kind}": [said for said in found if said.kind == kind] for kind in kinds
    }
    return [_row(f"memory.{name}.ours", _share(said)) for name, said in by_name.items()]


def _share(found: Sequence[Said]) -> Share:
    return share(
        torch.tensor([said.is_right for said in found]), torch.tensor([said.life for said in found])
    )


def _row(name: str, found: Share) -> Row:
    return Row(name, found.value, "fraction", lowest=found.lowest, highest=found.highest)
