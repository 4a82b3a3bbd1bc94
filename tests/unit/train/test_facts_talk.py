"""The language of the task: closed lists, disjoint values, held-out combinations."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sleepmem.train.tasks.facts_talk import (
    SELF,
    Fact,
    draw_facts,
    question,
    statement,
)
from sleepmem.train.tasks.facts_words import ATTRIBUTES, NAMES


def test_lists_are_as_large_as_promised_and_disjoint() -> None:
    values = [value for attribute in ATTRIBUTES for value in attribute.values]
    assert len(NAMES) >= 200
    assert [len(attribute.values) for attribute in ATTRIBUTES] == [40] * 10
    assert len({*NAMES, *values}) == len(NAMES) + len(values)


def test_wordings_speak_of_others_and_of_oneself() -> None:
    job = next(i for i, a in enumerate(ATTRIBUTES) if a.name == "job")
    other, me = Fact("Maria", job, "architect"), Fact(SELF, job, "nurse")
    assert statement(other, 0) == "Maria works as an architect."
    assert statement(me, 0) == "I work as a nurse."
    assert statement(me, 1) == "My job is nurse."
    assert question(other, 1) == "What does Maria work as?"
    assert question(me, 0) == "What is my job?"


def test_statements_hold_the_value_and_questions_do_not() -> None:
    for index, attribute in enumerate(ATTRIBUTES):
        for value in attribute.values:
            fact = Fact("Zoe", index, value)
            texts = [statement(fact, i) for i in range(4)]
            assert len(set(texts)) == 4
            assert all(value in text for text in texts)
            assert all(value not in question(fact, i) for i in range(3))


@given(seed=st.integers(0, 10_000), n_facts=st.integers(1, 40), held_out=st.booleans())
def test_drawn_facts_are_on_different_things_and_on_their_side_of_the_split(
    seed: int, n_facts: int, held_out: bool
) -> None:
    facts = draw_facts(Random(seed), n_facts, held_out=held_out)
    assert len({(fact.subject, fact.attribute) for fact in facts}) == n_facts
    assert {fact.is_held_out for fact in facts} == {held_out}


def test_one_in_ten_combinations_is_held_out() -> None:
    facts = [Fact(n, i, v) for n in NAMES for i, a in enumerate(ATTRIBUTES) for v in a.values]
    assert 0.095 < sum(fact.is_held_out for fact in facts) / len(facts) < 0.105
