"""Composed wordings say what their table says, in words that are known, and are never held out."""

from __future__ import annotations

import re
from random import Random

import pytest
from tokenizers import pre_tokenizers

from sleepmem.train.dialogues import grammar, orders, relations, speech, wordings
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.vocabulary import texts
from sleepmem.train.dialogues.wordings import EITHER, SLOT, Sides

TABLES = list({id(table): table for table, _ in grammar.GRAMMARS}.values())
HELD_OUT = (Split.VALIDATION, Split.TEST)
ASKED = {"And", "At", "How", "In", "What", "When", "Where", "Which", "Who"}
OWN = list({id(table): table for table, _ in grammar.OWN}.values())


def drawn(table: Sides, n: int = 400) -> set[str]:
    rng = Random(0)
    return {grammar.composed(rng, table) or "" for _ in range(n)}


@pytest.mark.parametrize("table", TABLES)
def test_composed_wordings_have_the_slots_of_their_table(table: Sides) -> None:
    slots_of_table = set(SLOT.findall(table[Split.TRAIN][0]))
    for wording in drawn(table):
        slots = set(SLOT.findall(wording))
        if table in OWN:  # of one relation, so that it need not be named
            assert slots & {"{P}", "{N}"}
            assert ("{V}" in slots) == ("{V}" in slots_of_table)
        else:
            assert slots == slots_of_table
        is_asked = wording.startswith(grammar.QUESTIONS) or wording.split()[0] in ASKED
        assert wording[-1] == ("?" if is_asked and "{V}" not in slots else ".")


@pytest.mark.parametrize("table", OWN)
def test_own_wordings_are_composed_of_more_than_their_table(table: Sides) -> None:
    mine = [grammar for of, grammar in grammar.OWN if of is table]
    assert sum(len(cores) for _, cores in mine) > len(table[Split.TRAIN])


@pytest.mark.parametrize("subject", [speech.Subject("Maria"), speech.SELF])
def test_nothing_composed_says_what_a_held_out_wording_says(subject: speech.Subject) -> None:
    n_could = 0
    for relation in relations.OF_PEOPLE:
        for table in filter(None, (relation.tell, relation.ask)):

            def said(wording: str, relation: Relation = relation) -> str:
                return speech.worded(wording, subject, relation, "Oslo").casefold()

            held_out = [said(wording).rstrip(".?") for side in HELD_OUT for wording in table[side]]
            for wording in drawn(table, 2000):
                assert not any(text in said(wording) for text in held_out), wording
            for known, (stems, cores) in grammar.GRAMMARS:
                if known is table:
                    could = [said(f"{stem} {core}") for stem in stems for core in cores]
                    n_could += sum(any(text in one for text in held_out) for one in could)
    assert n_could > 10


def test_a_request_is_a_sentence_for_one_preference() -> None:
    requests = {noun: doing.requests for noun, doing in orders.DOING.items() if doing.requests}
    assert requests.keys() == {relation.noun for relation in relations.FAVOURITES}
    every = [request for each in requests.values() for request in each]
    assert len(set(every)) == len(every)
    assert all(grammar.sentence("", request) == f"{request}." for request in every)


@pytest.mark.parametrize("table", TABLES)
def test_nothing_composed_is_held_out(table: Sides) -> None:
    rng = Random(0)
    heard = drawn(table, 3000)
    around = {grammar.surrounded(rng, wording) for wording in heard for _ in range(5)}
    around |= {grammar.surrounded(rng, w) for w in table[Split.TRAIN] for _ in range(200)}
    said = {form for wording in heard | around for form in relations.spoken(wording)}
    assert not said & relations.held_out()
    assert len(around) > len(heard)


def test_a_held_out_wording_that_a_grammar_could_make_is_not_made() -> None:
    could = {
        f"{stem} {core}?"
        for stem in grammar.REMINDED
        for core in dict((id(t), g) for t, g in grammar.GRAMMARS)[id(wordings.ASK_WHAT)].cores
    }
    held_out = {wording for wording in could if wording.casefold() in relations.held_out()}
    assert held_out
    assert not held_out & drawn(wordings.ASK_WHAT, 3000)


def test_a_table_without_a_grammar_composes_nothing() -> None:
    assert grammar.composed(Random(0), wordings.LOG) is None


def test_every_word_is_one_that_the_tables_have() -> None:
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    def plain(wording: str) -> str:
        return SLOT.sub(" ", EITHER.sub(r"\1 \2", wording))

    def words(text: str) -> set[str]:
        return {piece for piece, _ in split.pre_tokenize_str(f" {plain(text)}")}

    known = {word for text in texts() for word in words(text)}
    said = {
        word
        for _, (stems, cores) in grammar.GRAMMARS
        for text in (*stems, *cores)
        for word in words(text)
    }
    around = {
        word
        for text in (*grammar.BEFORE, *grammar.ASIDES, *grammar.BEHIND_TOLD, *grammar.BEHIND_ASKED)
        for word in words(text)
    }
    assert {word for word in said | around if re.search(r"\w", word)} <= known


def test_held_out_sides_are_drawn_from_their_own_list_alone() -> None:
    for split in (Split.VALIDATION, Split.TEST):
        rng = Random(0)
        chosen = {speech._chosen(rng, split, [wordings.ASK_WHAT]) for _ in range(200)}
        assert chosen == set(wordings.ASK_WHAT[split])
