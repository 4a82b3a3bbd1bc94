"""Who somebody is, pass by pass, against what can be worked out from the facts alone."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.chains import PASSES, Mention, mentions, readings
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Line, Load, draw_cuts, draw_life
from sleepmem.train.dialogues.plots import N_CHAINS, PLOTS
from sleepmem.train.dialogues.speech import SELF, Fact, Subject
from sleepmem.train.tasks.dialogue_hints import confused, hint_of, retold_line
from sleepmem.train.tasks.dialogue_rows import spoken, text_ids, told
from sleepmem.types import Role

SISTER, BOSS = relations.PEOPLE[0], relations.PEOPLE[2]
TOWN = relations.HABITS[0]
ANA, BEA, CARL = Subject("Ana"), Subject("Bea"), Subject("Carl")
CHAIN = (Fact(ANA, SISTER, "Bea"), Fact(BEA, BOSS, "Carl"), Fact(CARL, TOWN, "Oslo"))


def test_a_chain_told_from_its_beginning_gets_a_link_longer_with_every_pass() -> None:
    first, second, third = readings(CHAIN, 3)
    assert first == ("Ana", "Ana", "Ana")
    assert second == ("Ana's sister",) * 3
    assert third == ("Bea's boss", "Ana's sister's boss", "Ana's sister's boss")


def test_a_chain_told_from_its_end_needs_more_passes() -> None:
    town, boss, sister = readings(CHAIN[::-1], 4)
    assert sister == ("Ana",) * 4
    assert boss == ("Bea", "Ana's sister", "Ana's sister", "Ana's sister")
    assert town == ("Carl", "Bea's boss", "Ana's sister's boss", "Ana's sister's boss")


def test_what_hangs_on_who_speaks_is_mine() -> None:
    chain = (Fact(SELF, SISTER, "Bea"), CHAIN[1])
    assert readings(chain, 1) == [("",), ("my sister",)]


@given(seed=st.integers(0, 10_000), n_chains=st.integers(1, 4), hops=st.integers(1, 4))
def test_every_order_ends_at_the_beginning_of_the_chain(
    seed: int, n_chains: int, hops: int
) -> None:
    rng = Random(seed)
    whole, facts = {}, []
    for chain in range(n_chains):
        for hop in range(hops):
            name = f"P{chain}-{hop}"
            facts.append(Fact(Subject(name if hop else f"P{chain}"), BOSS, f"P{chain}-{hop + 1}"))
            whole[facts[-1].subject.name] = f"P{chain}" + hop * "'s boss"
    rng.shuffle(facts)
    found = readings(facts, 2 * hops)
    assert {fact.subject.name: read[-1] for fact, read in zip(facts, found, strict=True)} == whole


def test_a_mention_is_where_the_name_stands_in_its_own_sentence() -> None:
    sentences = ["Ana's sister is Bea.", "It is Carl, Bea's boss."]
    text = " ".join(sentences)
    [mention] = mentions(CHAIN[:2], sentences, text)
    assert text[mention.start : mention.stop] == "Bea"
    assert text[: mention.start].endswith("It is Carl, ")
    assert mention.readings == ("Ana's sister",) * PASSES
    assert [text[:told] for told in mention.told] == ["Ana's sister is Bea", "", "", ""]


def test_who_was_found_by_a_pass_is_where_the_next_one_is_to_look() -> None:
    sentences = ["Ana's sister is Bea.", "Bea's boss is Carl.", "Carl lives in Oslo."]
    text = " ".join(sentences)
    bea, carl = mentions(CHAIN, sentences, text)
    assert bea.told == (text.index("Bea") + 3, 0, 0, 0)
    assert carl.told == (text.index("Carl") + 4, text.index("Bea") + 3, 0, 0)
    assert carl.readings[:2] == ("Bea's boss", "Ana's sister's boss")


def test_who_is_not_explained_or_not_named_is_no_mention() -> None:
    assert mentions(CHAIN[1:2], ["Bea's boss is Carl."], "Bea's boss is Carl.") == ()
    sentences = ["Ana's sister is Bea.", "Her boss is Carl."]
    assert mentions(CHAIN[:2], sentences, " ".join(sentences)) == ()


def _lives(seed: int, split: Split = Split.TRAIN) -> list[Life]:
    rng = Random(seed)
    load = Load(PLOTS["three_hop"].most + 4, 3, ("three_hop", "single"))
    cuts = draw_cuts(rng, load)
    return [draw_life(rng, split, load, cuts) for _ in range(6)]


@pytest.mark.parametrize("split", Split)
def test_hints_say_the_same_of_who_is_explained(split: Split) -> None:
    n_hinted = 0
    for seed in range(3):
        lives = _lives(seed, split)
        for number, (ids, mask) in enumerate(told(lives, 512)):
            hint = hint_of(lives, 512, number)
            mentions = [m for life in lives for x in life.episodes[number] for m in x.mentions]
            assert (hint is None) == (not mentions)
            if hint is None:
                continue
            assert len(hint.retold) == 2  # the second finds who the third is
            for each in hint.retold:
                went = each.token >= 0
                assert not bool((went & ~mask).any())
                assert bool((each.token.diff(dim=1)[went[:, 1:] & went[:, :-1]] > 0).all())
                context, places = went.nonzero(as_tuple=True)
                assert bool(each.mask[context, each.token[went]].all())
                stays = each.ids[context, each.token[went]] == ids[context, places]
                assert float(went[mask].float().mean()) > 0.8
                assert float(stays.float().mean()) > 0.7  # all but names
            assert bool((hint.told < hint.named).all())
            is_first = hint.of_pass == 0
            context, named, told_at = (t[is_first] for t in (hint.context, hint.named, hint.told))
            assert torch.equal(ids[context, named], ids[context, told_at])
            assert len(named) > 0.7 * len(mentions)
            assert int((hint.of_pass == 1).sum()) > 0.7 * len(mentions) / 2
            n_hinted += len(mentions)
    assert n_hinted > 3 * N_CHAINS


def test_what_does_not_fit_a_window_is_not_hinted_at() -> None:
    lives = _lives(2)
    assert any(hint_of(lives, 512, number) for number in range(3))
    assert not any(hint_of(lives, 40, number) for number in range(3))


def test_a_hint_is_the_message_with_who_that_is_for_the_name() -> None:
    facts = CHAIN[0], Fact(BEA, TOWN, "Oslo")
    sentences = ["Ana's sister is Bea.", "Bea lives in Oslo."]
    text = " ".join(sentences)
    line = Line(Role.USER, text, mentions(facts, sentences, text))
    other = Line(Role.USER, "Ana's sister is Bea. Ana's sister lives in Oslo.")
    hint = hint_of([Life([[line]], [])], 512, 0)
    assert hint is not None
    after_first, *_ = hint.after(0)
    assert after_first.ids.tolist() == [spoken([other])]
    before, after = spoken([line]), spoken([other])
    n, n_before = len(text_ids("Bea")), 1 + len(text_ids(sentences[0]))
    n_longer = len(after) - len(before)
    n_name = n_before + n + n_longer
    name = [-1] * (n - len(text_ids("Ana's sister"))) + [*range(n_before, n_name)][-n:]
    assert after_first.token.tolist() == [[*range(n_before), *name, *range(n_name, len(after))]]
    assert hint.context.tolist() == [0]
    assert [hint.named.tolist(), hint.told.tolist()] == [[n_before + n - 1], [n_before - 2]]
    assert hint.of_pass.tolist() == [0]


def test_people_are_confused_with_those_of_other_chains_who_are_as_far_from_their_beginning() -> (
    None
):
    life = draw_life(Random(3), Split.TRAIN, Load(9, 1, ("three_hop",)), ())
    hint = hint_of([life], 512, 0)
    assert hint is not None
    for n in range(PASSES):
        told = [each.ids[0][each.mask[0]].tolist() for each in hint.after(n)]
        assert len({tuple(ids) for ids in told}) == len(told) == N_CHAINS
        assert len({tuple(sorted(ids)) for ids in told}) == 1  # the same people, elsewhere


def test_who_has_nobody_to_be_confused_with_stays_who_that_is() -> None:
    sister, boss = ("Ana's sister",) * 2, ("Ana's sister's boss",) * 2
    some = Mention(0, 3, sister), Mention(9, 12, boss), Mention(20, 23, ("my boss",) * 2)
    assert confused(some, 0) == confused(some, 2) == some
    assert [mention.readings[0] for mention in confused(some, 1)] == [
        "my boss",
        *boss[:1],
        *sister[:1],
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bea lives in Oslo. Bea is my sister.", "My sister lives in Oslo. Bea is my sister."),
        ("Well! Bea lives in Oslo.", "Well! My sister lives in Oslo."),
        ("You know, Bea lives in Oslo.", "You know, my sister lives in Oslo."),
    ],
)
def test_who_begins_a_sentence_begins_with_a_capital(text: str, expected: str) -> None:
    start = text.index("Bea")
    line = Line(Role.USER, text, (Mention(start, start + 3, ("my sister",)),))
    ids, places = retold_line(line, spoken([line]), 0)
    assert ids == spoken([Line(Role.USER, expected)])
    assert len(places) == len(spoken([line]))
