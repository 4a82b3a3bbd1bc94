"""Lives, against a slow reader of what is told in them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from dialogue_reader import Reader, link_of, people, read_statements
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.entities import Split, entities, side
from sleepmem.train.dialogues.life import Life, Line, Load, draw_cuts, draw_life, draw_world
from sleepmem.train.dialogues.plots import KINDS, N_CHAINS, PLOTS
from sleepmem.train.dialogues.speech import SELF, UNKNOWN, Subject
from sleepmem.train.dialogues.world import World
from sleepmem.types import Role

MIXED = Load(24, 8, sentences=0.9)
WHOLE = Load(24, 8)  # sentences, no shorthand

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


def assert_answered(life: Life, alone: Split | None = None) -> None:
    reader = Reader(lines_of(life), alone)
    for probe, _ in life.asked:
        assert reader.answer(probe.question) == probe.answer.casefold(), probe


@pytest.mark.parametrize("split", Split)
def test_every_question_is_answered_by_what_was_told(split: Split) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(150):
        _, life = drawn(seed, split, MIXED)
        assert_answered(life)
        kinds.update(probe.kind for probe, _ in life.asked)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) > 30


@pytest.mark.parametrize("split", Split)
def test_who_knows_the_wordings_of_one_side_alone_understands_its_lives(split: Split) -> None:
    for seed in range(60):
        assert_answered(drawn(seed, split, WHOLE)[1], split)


@pytest.mark.parametrize("split", Split)
@pytest.mark.parametrize("kind", PLOTS)
def test_a_life_of_one_kind_is_answered_by_what_was_told(kind: str, split: Split) -> None:
    load = Load(max(8, PLOTS[kind].most), 4, (kind, "single"), n_people=3, sentences=0.9)
    for seed in range(20):
        assert_answered(drawn(seed, split, load)[1])


@pytest.mark.parametrize("split", Split)
def test_a_relative_of_whom_something_is_told_is_never_named(split: Split) -> None:
    n_relatives = n_named = 0
    for seed in range(150):
        known = Reader(lines_of(drawn(seed, split, MIXED)[1])).known
        links = {link for who, _ in known if (link := link_of(who))}
        assert not links & set(known)
        assert "my" not in {owner.split()[0] for owner, _ in links if owner}
        n_relatives += len(links)
        n_named += len({("", relation.noun) for relation in relations.PEOPLE} & set(known))
    assert min(n_relatives, n_named) > 50


@pytest.mark.parametrize("split", Split)
def test_whatever_is_told_is_of_the_side_of_the_life(split: Split) -> None:
    for seed in range(60):
        known = Reader(lines_of(drawn(seed, split, MIXED)[1])).known
        values = {value for told in known.values() for value in told}
        subjects = {who.split()[-1] for who, _ in known if who and not link_of(who)}
        assert not {text for text in values | subjects if side(text) is not split}


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
@pytest.mark.parametrize(
    ("noun", "kind"), [("sister", "woman"), ("brother", "man"), ("landlord", "man")]
)
def test_a_sister_is_a_woman_and_a_brother_a_man(noun: str, kind: str, split: Split) -> None:
    [relation] = [relation for relation in relations.PEOPLE if relation.noun == noun]
    world = World(Random(noun), split, [], (relation,))
    drawn = {world.fact(subject=Subject(f"somebody {number}")).value for number in range(200)}
    assert drawn <= set(entities(kind, split))


def test_others_are_women_and_men() -> None:
    either = [relation for relation in relations.EVERY if relation.value == "person"]
    assert {relation.noun for relation in either} >= {"boss", "friend", "cousin", "owner", "call"}
    assert {*either} == {*people(relations.EVERY)} - {*relations.PEOPLE[:2], relations.PEOPLE[7]}
    world = World(Random(1), Split.TEST, [], (either[0],))
    drawn = {world.fact(subject=Subject(f"somebody {number}")).value for number in range(200)}
    women, men = (set(entities(kind, Split.TEST)) for kind in ("woman", "man"))
    assert drawn <= women | men
    assert min(len(drawn - women), len(drawn - men)) > 60


@pytest.mark.parametrize("subject", [SELF, Subject("Maria"), SELF.relative(relations.PEOPLE[0])])
def test_nothing_is_left_to_say_of_somebody_of_whom_all_is_said(subject: Subject) -> None:
    world = World(Random(1), Split.TEST, ["Maria"], relations.HABITS)
    told = {world.fact(subject=subject).relation.noun for _ in relations.HABITS}
    assert told == {relation.noun for relation in relations.HABITS}
    with pytest.raises(ValueError, match="nothing is left"):
        world.fact(subject=subject)
    assert world.fact(relations.CODES, subject).relation in relations.CODES
    world.say_of(subject, relations.DEEDS[0])
    with pytest.raises(ValueError, match="nothing is left"):
        world.fact(relations.DEEDS[:1], subject)


def test_more_people_come_when_all_is_said_of_those_known() -> None:
    world = World(Random(1), Split.TEST, ["Maria"], relations.HABITS[:1])
    facts = [world.fact() for _ in range(40)]
    assert len({fact.subject for fact in facts}) == 40
    assert len(world.names) > 10


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
    assert world.n_facts == load.n_facts
    assert sum(line.text in texts for line in lines_of(life)) == len(world.statements)
    assert len(life.episodes) == load.n_episodes
    assert all(life.episodes)
    assert Counter(probe for probe, _ in life.asked) == Counter(world.probes)


@given(seed=st.integers(0, 10_000), load=loads)
def test_cuts_are_in_order_and_empty_no_episode_without_need(seed: int, load: Load) -> None:
    cuts = draw_cuts(Random(seed), load)
    assert len(cuts) == load.n_episodes - 1
    assert cuts == sorted(cuts)
    assert all(0 <= cut <= load.n_facts for cut in cuts)
    if load.n_episodes <= load.n_facts:
        assert len({0, *cuts, load.n_facts}) == load.n_episodes + 1


@given(seed=st.integers(0, 10_000), n_episodes=st.integers(1, 10), n_plots=st.integers(1, 3))
def test_no_episode_is_empty_for_the_length_of_a_message(
    seed: int, n_episodes: int, n_plots: int
) -> None:
    load = Load(6 * n_plots + 4, n_episodes, ("two_hop", "single"), chatter=0)
    world, life = drawn(seed, Split.TEST, load)
    texts = {statement.text for statement in world.statements}
    held = [sum(line.text in texts for line in lines) for lines in life.episodes]
    assert sum(held) == len(world.statements)
    assert sum(n == 0 for n in held) == max(0, n_episodes - len(world.statements))


def test_facts_that_fit_no_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 of 7 facts fit none of \('two_hop',\)"):
        drawn(1, Split.TRAIN, Load(7, 1, ("two_hop",)))


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


@settings(deadline=None)  # the reader is slow
@given(seed=st.integers(0, 10_000), split=st.sampled_from(Split))
def test_no_two_plots_tell_of_the_same_thing(seed: int, split: Split) -> None:
    world, _ = drawn(seed, split, MIXED)
    plot_of: dict[tuple[str, str], int] = {}
    for statement in world.statements:
        told = read_statements(Line(Role.TOOL if statement.by_tool else Role.USER, statement.text))
        assert told, statement
        for key, _ in told:
            assert plot_of.setdefault(key, statement.plot) == statement.plot


@pytest.mark.parametrize(("kind", "hops"), [("two_hop", 2), ("three_hop", 3)])
@pytest.mark.parametrize("sentences", [0.0, 1.0])
def test_chains_are_told_in_one_message_and_only_people_tell_them_apart(
    kind: str, hops: int, sentences: float
) -> None:
    orders = set()
    for seed in range(40):
        load = Load(hops * N_CHAINS, 1, (kind,), sentences=sentences, abstain=0)
        world, life = drawn(seed, Split.TRAIN, load)
        [statement] = world.statements
        told = read_statements(Line(Role.USER, statement.text))
        said = [noun for (_, noun), _ in told]
        assert len(told) == statement.n_facts == hops * N_CHAINS
        assert {*Counter(said).values()} <= {N_CHAINS, 2 * N_CHAINS}  # twice: a sister's sister
        assert len(statement.mentions) == N_CHAINS * (hops - 1)  # nobody is in two places
        orders.add(tuple(said.index(noun) for noun in said))
        deep = [probe for probe in world.probes if probe.kind == kind]
        assert len({probe.answer for probe in deep}) == len(deep) == N_CHAINS
        assert_answered(life)
    assert len(orders) >= 5


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
