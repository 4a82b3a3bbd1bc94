"""Word problems of 1 to 8 operations among sentences that do not matter, the question first.

    How many apples has Ana ?  Ben has 7 pears .  Carla has 2 times-as-many nuts as Ben has pears .
    Dora has 9 nuts .  Ana has 3 more apples than Ben has pears .          answer: 10, 1 operation

A quantity is what one person has of one thing. Each of `quantities` is told once, in any order: its
number, or how it comes from another one by an addition, a subtraction or a product with 2 or 3. The
operations of a question are those from a given number to the asked quantity; the sentences beside
this chain are distractors, some of them hung on to it. The answer is a number, without working.

The distribution is said in `math_problems`. The questions are read first and slept on. Two forms:

* `factored`: a sentence is one token of three parts, (who, relation, whom) with an id for each pair
  of person and thing; a question is asked again with the token that it was read as.
* `words`: a token is a word, a number or a point. The i-th question ends in its own mark "?i", and
  is asked again by that mark alone.

Source: arXiv 2605.26099 trains on GSM-Infinite, of which this has the shape and no sentence.
"""

from __future__ import annotations

from random import Random
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.math_problems import Problems, draw_problems
from sleepmem.types import Value

PEOPLE = (
    *("Ana", "Ben", "Carla", "Dan", "Eva", "Finn", "Gina", "Hugo"),
    *("Ida", "Jan", "Kira", "Leo", "Mia", "Nils", "Olga", "Pia"),
)
THINGS = ("apples", "pears", "nuts", "plums", "coins", "shells", "stamps", "marbles")
SENTENCE = 10  # tokens of the longest in words
FUNCTION_WORDS = (".", "has", "more", "fewer", "times-as-many", "than", "as", "How", "many")
POINT, HAS, MORE, FEWER, TIMES, THAN, AS, HOW, MANY = range(len(FUNCTION_WORDS))


class MathTask(Value):
    """See the module.

    Attributes:
        operations: the most that are asked; the curriculum opens them one by one.
        quantities: and sentences; those that a question does not need are distractors.
        windows: over which the questions and then the sentences are spread.
        questions: of each context; the paper's form has one.
        numbers: all quantities are below it.
        amounts: the most that is added or taken away.
    """

    operations: int = Field(default=8, ge=1)
    quantities: int = Field(default=12, ge=2)
    windows: int = Field(default=2, ge=1)
    questions: int = Field(default=4, ge=1)
    numbers: int = Field(default=20, ge=10)  # fewer are guessed
    amounts: int = Field(default=5, ge=1)
    people: int = Field(default=8, ge=1, le=len(PEOPLE))
    things: int = Field(default=2, ge=1, le=len(THINGS))
    form: Literal["factored", "words"] = "factored"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.operations >= self.quantities:
            raise ValueError(
                f"{self.operations} operations need more than {self.quantities} quantities"
            )
        if self.quantities > self.people * self.things:
            raise ValueError(
                f"{self.people} people with {self.things} things each are fewer than "
                f"{self.quantities} quantities"
            )
        n_told = self.questions + self.quantities
        if self.windows > n_told or self.questions > -(-n_told // self.windows):
            raise ValueError(
                f"{self.questions} questions do not stand in the first of {self.windows} windows"
            )
        return self

    @property
    def name(self) -> str:
        return "math"

    @property
    def window(self) -> int:
        n_told = -(-(self.questions + self.quantities) // self.windows)
        return n_told if self.form == "factored" else n_told * SENTENCE

    @property
    def vocab_size(self) -> int:
        if self.form == "words":
            return len(self.words)
        return self._relation_at + self.numbers + 2 * self.amounts + 2 + 1

    @property
    def n_stages(self) -> int:
        return self.operations + 1  # the first asks for given numbers

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary of the form in words; the id is the place."""
        numbers = (str(number) for number in range(self.numbers))
        marks = (f"?{i + 1}" for i in range(self.questions))
        people, things = PEOPLE[: self.people], THINGS[: self.things]
        return (*FUNCTION_WORDS, *people, *things, *numbers, *marks)

    @property
    def _relation_at(self) -> int:
        """Where relations start among the ids of parts: behind who, whom and nobody."""
        return 2 * self.people * self.things + 1

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        return self._draw(rng, size, (0, stage), held_out=False)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self._draw(rng, size, (1, self.operations), held_out=True)

    def _draw(
        self, rng: Random, size: int, n_operations: tuple[int, int], *, held_out: bool
    ) -> Batch:
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        shape = size, self.questions, self.quantities
        problems = draw_problems(
            generator, shape, n_operations, self.numbers, self.amounts, held_out=held_out
        )
        order = torch.rand(size, self.quantities, generator=generator).argsort(dim=1)
        pairs = torch.rand(size, self.people * self.things, generator=generator).argsort(dim=1)
        tell = self._told_in_parts if self.form == "factored" else self._told_in_words
        told, seen, asked, number_at = tell(problems, order, pairs)
        pieces = zip(
            torch.tensor_split(told, self.windows, dim=1),
            torch.tensor_split(seen, self.windows, dim=1),
            strict=True,
        )
        labels = (number_at + problems.value.gather(1, problems.asked))[..., None]
        return Batch(
            tuple(closed_up(ids.flatten(1, 2), mask.flatten(1, 2)) for ids, mask in pieces),
            asked[:, :, None],
            labels,
            torch.ones_like(labels, dtype=torch.bool),
            problems.depth.gather(1, problems.asked),
        )

    def _told_in_parts(
        self, problems: Problems, order: Tensor, pairs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Return sentences (size, told, 1, parts), their mask, questions, where numbers start."""
        n_pairs, relation_at = self.people * self.things, self._relation_at
        parent = problems.parent.gather(1, order)
        who, whom = pairs.gather(1, order), n_pairs + pairs.gather(1, parent)
        whom = whom.masked_fill(parent == order, 2 * n_pairs)
        told = torch.stack([who, relation_at + problems.relation.gather(1, order), whom], dim=-1)
        who = pairs.gather(1, problems.asked)
        ask = torch.full_like(who, self.vocab_size - 1)
        asked = torch.stack([who, ask, torch.full_like(who, 2 * n_pairs)], dim=-1)
        sentences = torch.cat([asked, told], dim=1)[:, :, None]
        return sentences, torch.ones(sentences.shape[:3], dtype=torch.bool), asked, relation_at

    def _told_in_words(
        self, problems: Problems, order: Tensor, pairs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Return sentences (size, told, SENTENCE), their mask, questions, where numbers start."""
        number_at = len(FUNCTION_WORDS) + self.people + self.things
        relation, parent = problems.relation.gather(1, order), problems.parent.gather(1, order)
        person, thing = self._person_and_thing(pairs.gather(1, order))
        to_person, to_thing = self._person_and_thing(pairs.gather(1, parent))
        point, has = torch.full_like(person, POINT), torch.full_like(person, HAS)
        kinds = torch.tensor([MORE] * self.amounts + [FEWER] * self.amounts + [TIMES] * 2)
        operands = torch.tensor([*range(1, self.amounts + 1)] * 2 + [2, 3])
        kind = kinds[(relation - self.numbers).clamp(min=0)]
        amount = number_at + operands[(relation - self.numbers).clamp(min=0)]
        than = torch.where(kind == TIMES, AS, THAN)
        related = [person, has, amount, kind, thing, than, to_person, has, to_thing, point]
        given = [person, has, number_at + relation, thing, *[point] * (SENTENCE - 4)]
        is_given = (parent == order)[..., None]
        told = torch.where(is_given, torch.stack(given, -1), torch.stack(related, -1))
        seen = ~is_given | (torch.arange(SENTENCE) < 5)

        person, thing = self._person_and_thing(pairs.gather(1, problems.asked))
        how, many = torch.full_like(person, HOW), torch.full_like(person, MANY)
        mark = (number_at + self.numbers + torch.arange(self.questions)).expand_as(person)
        question = [how, many, thing, torch.full_like(person, HAS), person, mark]
        asked = torch.stack(question + [torch.full_like(person, POINT)] * (SENTENCE - 6), -1)
        is_word = (torch.arange(SENTENCE) < 6).expand_as(asked)
        return torch.cat([asked, told], 1), torch.cat([is_word, seen], 1), mark, number_at

    def _person_and_thing(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        at = len(FUNCTION_WORDS)
        return at + pair // self.things, at + self.people + pair % self.things


def closed_up(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move padding in ids (size, tokens, ...) behind the tokens, and drop what all rows have."""
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)[:, : int(mask.sum(1).max())]
    places = order if ids.dim() == 2 else order[..., None].expand(-1, -1, ids.shape[2])
    return ids.gather(1, places), mask.gather(1, order)
