"""The language of the `facts` task: what can be told of whom, in which words. Knows no torch.

Held out from training are combinations: one in ten of the (who, what, value) triples. Words are
not held out; the lists are closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from random import Random
from typing import NamedTuple
from zlib import crc32

from sleepmem.train.tasks.facts_words import ATTRIBUTES, NAMES

SELF = ""  # the subject who speaks of himself
NOTED = "Noted."
HELD_OUT_SHARE = 10  # one in so many triples

_FIRST_PERSON = {"P": "my", "N": "I"}


class Fact(NamedTuple):
    """`subject` is a name or `SELF`, `attribute` an index, `value` a word."""

    subject: str
    attribute: int
    value: str

    @property
    def is_held_out(self) -> bool:
        key = f"{self.subject}|{ATTRIBUTES[self.attribute].name}|{self.value}"
        return crc32(key.encode()) % HELD_OUT_SHARE == 0


def statement(fact: Fact, wording: int) -> str:
    """Return the fact in one of its four wordings."""
    return _worded(ATTRIBUTES[fact.attribute].statements[wording], fact.subject, fact.value)


def question(fact: Fact, wording: int) -> str:
    """Return one of the three questions whose answer is the fact's value."""
    return _worded(ATTRIBUTES[fact.attribute].questions[wording], fact.subject, "")


def short_statement(fact: Fact) -> str:
    """Return the fact in shorthand: "Maria dog Rex"."""
    return f"{short_question(fact)} {fact.value}"


def short_question(fact: Fact) -> str:
    """Return what is asked for in shorthand: "Maria dog"."""
    return f"{fact.subject or 'My'} {ATTRIBUTES[fact.attribute].name}"


def answer(fact: Fact) -> str:
    return f"{fact.value}."


def _worded(wording: str, subject: str, value: str) -> str:
    slots = _FIRST_PERSON if subject == SELF else {"P": f"{subject}'s", "N": subject}
    text = re.sub(r"\[(.*?)\|(.*?)\]", r"\2" if subject == SELF else r"\1", wording)
    text = text.format(V=value, A="an" if value[:1] in "aeiou" else "a", **slots)
    return text[0].upper() + text[1:]


def all_texts() -> Iterator[str]:
    """Yield texts that together hold every word of the task."""
    for attribute in ATTRIBUTES:
        for subject in (SELF, NAMES[0]):
            yield from (_worded(w, subject, v) for w in attribute.statements for v in ("x", "a"))
            yield from (_worded(w, subject, "") for w in attribute.questions)
        yield from (f"a {value}" for value in attribute.values)
        yield f"a {attribute.name}"
    yield from (f"a {name}'s" for name in NAMES)
    yield NOTED


def draw_facts(
    rng: Random, n_facts: int, *, held_out: bool, n_attributes: int = len(ATTRIBUTES)
) -> list[Fact]:
    """Draw facts about few or many people, no two on the same (who, what).

    Args:
        n_attributes: how many different things are said; with one, only the name tells apart.
    """
    attributes = rng.sample(range(len(ATTRIBUTES)), n_attributes)
    n_subjects = rng.randint(n_facts // n_attributes + 1, n_facts + 1)
    subjects = [*rng.sample(NAMES, n_subjects)]
    if rng.random() < 0.3:
        subjects[0] = SELF
    pairs = [(subject, a) for subject in subjects for a in attributes]
    rng.shuffle(pairs)
    sides = (side_of_split(subject, a, held_out=held_out) for subject, a in pairs)
    # a few pairs have no two held-out values to choose from
    facts = [rng.choice(side) for side in islice((s for s in sides if len(s) > 1), n_facts)]
    if len(facts) < n_facts:
        return draw_facts(rng, n_facts, held_out=held_out, n_attributes=n_attributes)
    return facts


@cache
def side_of_split(subject: str, attribute: int, *, held_out: bool) -> tuple[Fact, ...]:
    """Return the facts on (who, what) that are, or are not, held out; possibly none."""
    facts = (Fact(subject, attribute, value) for value in ATTRIBUTES[attribute].values)
    return tuple(fact for fact in facts if fact.is_held_out == held_out)
