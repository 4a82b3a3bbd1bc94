"""The life of the demo: told to two agents in the same words, with other values."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest
from dialogue_reader import Reader, link_of, read_statements

from sleepmem.train.dialogues.demo import N_EPISODES, N_FACTS, Told, bare, draw_demo
from sleepmem.train.dialogues.entities import Split, entities, list_names, side
from sleepmem.train.dialogues.life import Line
from sleepmem.types import Role

SEEDS = range(60)


def read(statements: list[str]) -> Reader:
    return Reader([Line(Role.USER, text) for text in statements], Split.TEST)


def opened(value: str, statement: str) -> set[str]:
    """Return a statement with its value, and the article before it, left open.

    Somebody may have a namesake ("Roy's brother is Roy"), then it is open at either place.
    """
    places = re.finditer(rf"(\ban? )?(?<!\w){re.escape(value)}(?!\w)", statement)
    return {f"{statement[: place.start()]}_{statement[place.end() :]}" for place in places}


def test_same_seed_tells_the_same_life_and_another_another() -> None:
    lives = [draw_demo(seed) for seed in SEEDS]
    assert lives == [draw_demo(seed) for seed in SEEDS]
    for life, another in pairwise(lives):
        assert not {told.statement for told in life} & {told.statement for told in another}


@pytest.mark.parametrize("seed", SEEDS)
def test_each_episode_tells_three_facts_oldest_first(seed: int) -> None:
    life = draw_demo(seed)
    assert len(life) == N_FACTS == 24
    assert [told.episode for told in life] == sorted(told.episode for told in life)
    assert Counter(told.episode for told in life) == {number: 3 for number in range(1, 9)}
    assert {told.sleep_age + told.episode for told in life} == {N_EPISODES + 1}
    assert life[-1].sleep_age == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_other_agent_is_told_other_values_in_the_same_wording(seed: int) -> None:
    for told in draw_demo(seed):
        value, other = told.answer.removesuffix("."), told.other_answer.removesuffix(".")
        assert bare(value) != bare(other)
        assert opened(value, told.statement) & opened(other, told.other_statement)
        assert not told.is_answered_by(told.other_answer)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_question_is_answered_by_one_statement_alone(seed: int) -> None:
    life = draw_demo(seed)
    reader, other = (
        read([told.statement for told in life]),
        read([told.other_statement for told in life]),
    )
    assert reader.known.keys() == other.known.keys()
    assert len(reader.known) == N_FACTS
    for told in life:
        assert told.is_answered_by(reader.answer(told.question)), told
        assert bare(other.answer(told.question)) == bare(told.other_answer), told
    links = {link for who, _ in reader.known if (link := link_of(who))}
    assert not links & set(reader.known)  # nobody is both "my sister" and named


def test_whatever_the_demo_says_is_never_drawn_in_training() -> None:
    trained = {word.lower() for kind in list_names() for word in entities(kind, Split.TRAIN)}
    for seed in SEEDS:
        for told in draw_demo(seed):
            values = [told.answer.removesuffix("."), told.other_answer.removesuffix(".")]
            assert {side(value) for value in values} == {Split.TEST}
            assert not trained & {value.lower() for value in values}


def test_whom_the_demo_is_about_is_never_drawn_in_training() -> None:
    for seed in SEEDS:
        for told in draw_demo(seed):
            [((who, _), _)] = read_statements(Line(Role.USER, told.statement), Split.TEST)
            assert not who or link_of(who) or side(who) is Split.TEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rex.", "rex"),
        ("  REX!\n", "rex"),
        ("\u201cRex\u201d", "rex"),
        ("Cafe\u0301.", "caf\u00e9"),
        ("STRASSE", "stra\u00dfe".casefold()),
        ("8:45.", "8:45"),
        ("Osnabr\u00fcck, I think.", "osnabr\u00fcck, i think"),
        ("...", ""),
        (" \n", ""),
        ("", ""),
        ("x", "x"),
    ],
)
def test_bare_leaves_what_is_compared(text: str, expected: str) -> None:
    assert bare(text) == expected
    assert bare(expected) == expected


@pytest.mark.parametrize(
    ("said", "is_answer"),
    [("rex", True), (" Rex!", True), ("Rex the dog.", False), ("Re.", False), ("", False)],
)
def test_an_answer_is_the_whole_of_what_is_said(said: str, is_answer: bool) -> None:
    told = Told("My dog is Rex.", "What is my dog called?", "Rex.", "My dog is Max.", "Max.", 8)
    assert told.is_answered_by(said) is is_answer
    assert told.sleep_age == 1
