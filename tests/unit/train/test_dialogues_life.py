"""Lives, against a slow reader of what is told in them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from dialogue_reader import answer, read_statement
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Line, Load, draw_cuts, draw_life, draw_world
from sleepmem.train.dialogues.plots import KINDS, PLOTS
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.dialogues.world import World
from sleepmem.types import Role

MIXED = Load(24, 8, sentences=0.9)

loads = st.builds(
    lambda n, episodes, people, chatter: Load(n, episodes, n_people=people, chatter=chatter),
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from((0.0, 0.15, 1.0)),
)


def drawn(seed: int, split: Split, load: Load) -> tuple[World, Life]:
    """Return a life and the world that it is told of."""
    rng = Random(seed)
    cuts = draw_cuts(rng, load)
    state = rng.getstate()
    life = draw_life(rng, split, load, cuts)
    rng.setstate(state)
    return draw_world(rng, split, load), life


def lines_of(life: Life) -> list[Line]:
    return [line for episode in life.episodes for line in episode]


@pytest.mark.parametrize("split", Split)
def test_every_question_is_answered_by_what_was_told(split: Split) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(30):
        _, life = drawn(seed, split, MIXED)
        for probe, _ in life.asked:
            assert answer(lines_of(life), probe.question) == probe.answer.casefold(), probe
            kinds[probe.kind] += 1
    assert set(kinds) == set(KINDS)


@pytest.mark.parametrize("kind", PLOTS)
def test_a_life_of_one_kind_is_answered_by_what_was_told(kind: str) -> None:
    load = Load(max(8, PLOTS[kind].most), 4, (kind, "single"), n_people=3)
    for seed in range(20):
        _, life = drawn(seed, Split.TEST, load)
        for probe, _ in life.asked:
            assert answer(lines_of(life), probe.question) == probe.answer.casefold(), probe


def test_changed_facts_are_answered_by_the_last_value_and_not_by_an_earlier_one() -> None:
    n_changed = 0
    for seed in range(30):
        world, _ = drawn(seed, Split.TEST, MIXED)
        for probe in world.probes:
            if probe.kind == "changed":
                told = [s for s in world.statements if s.plot == probe.plot]
                value = probe.answer.removesuffix(".").casefold()
                assert len(told) in (2, 3)
                assert value in told[-1].text.casefold()
                assert value not in told[-2].text.casefold()
                n_changed += 1
    assert n_changed > 20


@given(seed=st.integers(0, 10_000), split=st.sampled_from(Split), load=loads)
def test_a_life_has_the_size_that_was_asked(seed: int, split: Split, load: Load) -> None:
    world, life = drawn(seed, split, load)
    texts = {statement.text for statement in world.statements}
    assert len(world.statements) == load.n_statements
    assert sum(line.text in texts for line in lines_of(life)) == load.n_statements
    assert len(life.episodes) == load.n_episodes
    assert all(life.episodes)
    assert Counter(probe for probe, _ in life.asked) == Counter(world.probes)


@given(seed=st.integers(0, 10_000), load=loads)
def test_cuts_are_in_order_and_empty_no_episode_without_need(seed: int, load: Load) -> None:
    cuts = draw_cuts(Random(seed), load)
    assert len(cuts) == load.n_episodes - 1
    assert cuts == sorted(cuts)
    assert all(0 <= cut <= load.n_statements for cut in cuts)
    if load.n_episodes <= load.n_statements:
        assert len({0, *cuts, load.n_statements}) == load.n_episodes + 1


@given(seed=st.integers(0, 10_000), load=loads)
def test_statements_of_a_plot_keep_their_order(seed: int, load: Load) -> None:
    world, life = drawn(seed, Split.TEST, load)
    for plot in range(world.n_plots):
        told = [statement.text for statement in world.statements if statement.plot == plot]
        assert [line.text for line in lines_of(life) if line.text in told] == told


@given(seed=st.integers(0, 10_000), load=loads)
def test_probes_name_the_episode_of_their_last_statement(seed: int, load: Load) -> None:
    world, life = drawn(seed, Split.TEST, load)
    for probe, episode in life.asked:
        told = {statement.text for statement in world.statements if statement.plot == probe.plot}
        holding = [
            number
            for number, lines in enumerate(life.episodes)
            if any(line.text in told for line in lines)
        ]
        assert episode == (holding[-1] if probe.plot is not None else -1)


@given(seed=st.integers(0, 10_000), split=st.sampled_from(Split))
def test_no_two_plots_tell_of_the_same_thing(seed: int, split: Split) -> None:
    world, _ = drawn(seed, split, MIXED)
    plot_of: dict[tuple[str, str], int] = {}
    for statement in world.statements:
        told = read_statement(Line(Role.TOOL if statement.by_tool else Role.USER, statement.text))
        assert told, statement
        assert plot_of.setdefault(told[0], statement.plot) == statement.plot


def test_the_asked_share_of_the_questions_was_never_told() -> None:
    probes = [probe for seed in range(60) for probe in drawn(seed, Split.TEST, MIXED)[0].probes]
    unknown = [probe for probe in probes if probe.plot is None]
    assert abs(len(unknown) / len(probes) - MIXED.abstain) < 0.03
    assert {(probe.kind, probe.answer) for probe in unknown} == {("abstain", UNKNOWN)}
    assert UNKNOWN not in {probe.answer for probe in probes if probe.plot is not None}


def test_shorthand_is_who_what_and_which() -> None:
    load = Load(6, 2, ("single",), sentences=0.0, abstain=0)
    world, _ = drawn(3, Split.TEST, load)
    for statement, probe in zip(world.statements, world.probes, strict=True):
        assert statement.text == f"{probe.question} {probe.answer.removesuffix('.')}"


def test_pieces_stand_for_names_and_values() -> None:
    load = Load(4, 2, ("single",), n_relations=1, sentences=0.0, in_pieces=1.0, abstain=0)
    pieces = ("Ab", "Cd", "Ef", "Gh", "Ij", "Kl")
    world = draw_world(Random(5), Split.TRAIN, load, pieces)
    assert {probe.answer.removesuffix(".") for probe in world.probes} <= {*pieces}
    assert {*world.names} <= {*pieces}
