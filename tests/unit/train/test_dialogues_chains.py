"""Who somebody is, pass by pass, against what can be worked out from the facts alone."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.chains import PASSES, mentions, readings
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Line, Load, draw_cuts, draw_life
from sleepmem.train.dialogues.plots import N_CHAINS, PLOTS
from sleepmem.train.dialogues.speech import SELF, Fact, Subject
from sleepmem.train.tasks.dialogue_hints import aligned, hinted
from sleepmem.train.tasks.dialogue_rows import spoken, text_ids, told
from sleepmem.types import Role

SISTER, BOSS = relations.PEOPLE[0], relations.PEOPLE[2]
TOWN = relations.HABITS[0]
ANA, BEA, CARL = Subject("Ana"), Subject("Bea"), Subject("Carl")
CHAIN = (Fact(ANA, SISTER, "Bea"), Fact(BEA, BOSS, "Carl"), Fact(CARL, TOWN, "Oslo"))


def test_a_chain_told_from_its_beginning_gets_a_link_longer_with_every_pass() -> None:
    first, second, third = readings(CHAIN, 3)
    assert first == ("Ana", "Ana", "Ana")
    assert second == ("Ana sister",) * 3
    assert third == ("Bea boss", "Ana sister boss", "Ana sister boss")


def test_a_chain_told_from_its_end_needs_more_passes() -> None:
    town, boss, sister = readings(CHAIN[::-1], 4)
    assert sister == ("Ana",) * 4
    assert boss == ("Bea", "Ana sister", "Ana sister", "Ana sister")
    assert town == ("Carl", "Bea boss", "Ana sister boss", "Ana sister boss")


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
            whole[facts[-1].subject.name] = f"P{chain}" + hop * " boss"
    rng.shuffle(facts)
    found = readings(facts, 2 * hops)
    assert {fact.subject.name: read[-1] for fact, read in zip(facts, found, strict=True)} == whole


def test_a_mention_is_where_the_name_stands_in_its_own_sentence() -> None:
    sentences = ["Ana's sister is Bea.", "It is Carl, Bea's boss."]
    text = " ".join(sentences)
    [mention] = mentions(CHAIN[:2], sentences, text)
    assert text[mention.start : mention.stop] == "Bea"
    assert text[: mention.start].endswith("It is Carl, ")
    assert mention.readings == ("Ana sister",) * PASSES


def test_who_is_not_explained_or_not_named_is_no_mention() -> None:
    assert mentions(CHAIN[1:2], ["Bea's boss is Carl."], "Bea's boss is Carl.") == ()
    sentences = ["Ana's sister is Bea.", "Her boss is Carl."]
    assert mentions(CHAIN[:2], sentences, " ".join(sentences)) == ()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_the_last_pieces_of_a_name_are_in_place_and_none_is_lost(n: int) -> None:
    pieces = text_ids("Ana sister")
    placed = aligned("Ana sister", n)
    assert [piece for _, parts in placed for piece in parts] == pieces
    assert [place for place, _ in placed] == [*range(n)][-len(pieces) :]
    assert all(len(parts) == 1 for _, parts in placed[1:])


def _lives(seed: int, split: Split = Split.TRAIN) -> list[Life]:
    rng = Random(seed)
    load = Load(PLOTS["three_hop"].most + 4, 3, ("three_hop", "single"))
    cuts = draw_cuts(rng, load)
    return [draw_life(rng, split, load, cuts) for _ in range(6)]


@pytest.mark.parametrize("split", Split)
def test_hints_stand_where_the_windows_hold_the_names(split: Split) -> None:
    n_hinted = 0
    for seed in range(10):
        lives = _lives(seed, split)
        windows, hints = told(lives, 512), hinted(lives, 512)
        assert len(windows) == len(hints)
        for number, hint in enumerate(hints):
            mentioned = {
                (life, text_ids(line.text[mention.start : mention.stop])[-1])
                for life, episode in enumerate(lives)
                for line in episode.episodes[number]
                for mention in line.mentions
            }
            if hint is None:
                assert not mentioned
                continue
            assert len(hint) == PASSES
            for places in hint:
                ids = windows[number][0][places.context, places.token]
                held = set(zip(places.context.tolist(), ids.tolist(), strict=True))
                assert mentioned <= held
                assert bool((places.parts[:, 0] >= 0).all())
            n_hinted += len(mentioned)
    assert n_hinted > 5 * N_CHAINS


def test_what_is_cut_off_is_not_hinted_at() -> None:
    lives = _lives(2)
    for window in (512, 40, 3):
        for hint, (ids, _) in zip(hinted(lives, window), told(lives, window), strict=True):
            assert hint is None or int(hint[0].token.max()) < ids.shape[1] <= window
    assert not any(hinted(lives, 3))


def test_the_last_places_of_a_hint_read_as_the_alias_does() -> None:
    facts = CHAIN[0], Fact(BEA, TOWN, "Oslo")
    sentences = ["Ana's sister is Bea.", "Bea lives in Oslo."]
    text = " ".join(sentences)
    line = Line(Role.USER, text, mentions(facts, sentences, text))
    [hint] = hinted([Life([[line]], [])], 512)
    assert hint is not None
    ids = torch.tensor(spoken([line]))
    n = len(text_ids("Bea"))
    assert ids[hint[0].token].tolist()[-n:] == text_ids("Bea")
    named = [part for parts in hint[0].parts.tolist() for part in parts if part >= 0]
    assert named == text_ids("Ana sister")
