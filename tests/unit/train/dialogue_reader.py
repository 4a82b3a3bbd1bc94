"""A slow reader of dialogues: knows the wordings, but not how a life is drawn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from sleepmem.train.dialogues import chatter, grammar, relations, wordings
from sleepmem.train.dialogues.entities import NAMED, PEOPLE, Split
from sleepmem.train.dialogues.life import Line
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.dialogues.wordings import Sides
from sleepmem.types import Role

Key = tuple[str, str]  # (subject, noun), case folded; who speaks is ""

SPOKEN = (*relations.OF_PEOPLE, *relations.OF_PROJECTS)
PLAIN = (*SPOKEN, *relations.OF_TOOLS)
SHORT = {split: ("{N} {R} {V}",) for split in Split}
SHORT_ASK = {split: ("{N} {R}",) for split in Split}
SENTENCES = re.compile(r"(?<=[.!?]) ")  # where one may end and the next begin
WORD = re.compile(r"\b(?!an?\b)[a-z]+")  # but articles, which the value chooses


class Form(NamedTuple):
    """A wording as it is recognised; `noun` is set where the words say it without naming it."""

    pattern: re.Pattern[str]
    literal: str
    means: str
    noun: str = ""

    @property
    def n_letters(self) -> int:
        return len(self.literal)


Forms = dict[str, list[tuple[int, Form]]]  # rank and form by the rarest of its words; "" has none


def people(among: tuple[Relation, ...]) -> tuple[Relation, ...]:
    return tuple(relation for relation in among if relation.value in PEOPLE)


def things(among: tuple[Relation, ...]) -> tuple[Relation, ...]:
    return tuple(relation for relation in among if relation.value not in PEOPLE)


def named(among: tuple[Relation, ...]) -> tuple[Relation, ...]:
    return tuple(relation for relation in among if relation.value in NAMED)


def _form(wording: str, means: str, about: tuple[Relation, ...]) -> Iterator[Form]:
    """Yield how a wording is recognised when it is of somebody, and when it is of who speaks."""
    slots = {
        "{R}": f"(?P<noun>{'|'.join(relation.noun for relation in about)})",
        "{D}": f"(?P<noun>{'|'.join(relation.past for relation in about)})",
        "{A}": "an?",
        "{V}": "(?P<value>.+(?<! my)(?<!'s)(?<!, that))",  # none begins whose it is
    }
    noun = about[0].noun if len(about) == 1 else ""
    of_somebody = {"{P}": "(?P<owner>my .+'s|.+'s)", "{N}": "(?P<who>.+)"}
    of_oneself = {"{P}": "(?P<owner>my)", "{N}": "(?P<who>I|me)"}
    for whose, chosen in ((of_somebody, r"\1"), (of_oneself, r"\2")):
        said = wordings.EITHER.sub(chosen, wording)
        text = re.escape(said).replace(r"\{", "{").replace(r"\}", "}")
        pattern = wordings.SLOT.sub(lambda slot: (slots | whose)[slot[0]], text)  # noqa: B023
        literal = wordings.SLOT.sub("", said.replace("{A}", "a"))
        yield Form(re.compile(pattern, re.IGNORECASE), literal, means, noun)


def _forms(tables: Iterable[tuple[Sides, str, tuple[Relation, ...]]], alone: Split | None) -> Forms:
    """Return forms, those with the most words of their own ranked first.

    Args:
        alone: the side whose whole sentences are read, and nothing else; None reads everything.
    """
    forms = dict.fromkeys(
        form
        for table, means, about in tables
        if alone is None or table not in (SHORT, SHORT_ASK)
        for split in ([alone] if alone else Split)
        for wording in (*table[split], *(_composed(table) if split is Split.TRAIN else ()))
        for form in _form(wording, means, about)
    )
    words = {form: WORD.findall(form.literal.casefold()) for form in forms}
    n_forms = Counter(word for each in words.values() for word in set(each))
    found: Forms = {}
    for rank, form in enumerate(sorted(forms, key=lambda form: -form.n_letters)):
        rarest = min(words[form], key=lambda word: n_forms[word], default="")
        found.setdefault(rarest, []).append((rank, form))
    return found


def _composed(table: Sides) -> list[str]:
    """Return what a grammar composes, without its stems, which `_alone` takes away."""
    return [
        f"{core}{mark}"
        for known, (_, cores) in grammar.GRAMMARS
        if known is table
        for core in cores
        for mark in ".?"
    ]


@cache
def _stems() -> tuple[str, ...]:
    """Return what may stand before a core, case folded."""
    stems = [stem for _, (stems, _) in grammar.GRAMMARS for stem in stems if stem]
    return tuple(dict.fromkeys(f"{stem.casefold()} " for stem in stems))


def _alone(text: str) -> set[str]:
    """Return a sentence with and without what stands around it."""
    befores = ["", *(f"{before} " for before in grammar.BEFORE)]
    behinds = ["", *(f" {behind}" for behind in (*grammar.BEHIND_TOLD, *grammar.BEHIND_ASKED))]
    plain = {text, *(text.replace(f", {aside}, is", " is") for aside in grammar.ASIDES)}
    whole = {
        text.removeprefix(before).removesuffix(behind)
        for text in plain
        for before in befores
        for behind in behinds
    }
    small = {text.casefold(): text for text in whole}
    return whole | {
        text[len(stem) :]
        for folded, text in small.items()
        for stem in _stems()
        if folded.startswith(stem)
    }


@cache
def _told(alone: Split | None) -> Forms:
    own = [(relation.tell, "is", (relation,)) for relation in SPOKEN if relation.tell]
    return _forms(
        [
            *own,
            *((table, "is", SPOKEN) for table in (wordings.TELL, wordings.CHANGE, SHORT)),
            (wordings.TELL_THING, "is", things(SPOKEN)),
            (wordings.CHANGE_THING, "is", things(SPOKEN)),
            (wordings.TELL_NAME, "is", named(SPOKEN)),
            (wordings.ADD, "is", relations.LISTS),
            (wordings.DEED, "is", relations.DEEDS),
        ],
        alone,
    )


@cache
def _printed(alone: Split | None) -> Forms:
    tables = [(table, "is", relations.OF_TOOLS) for table in (wordings.LOG, SHORT)]
    return _forms(tables, alone)


@cache
def _asked(alone: Split | None) -> Forms:
    own = [(relation.ask, "last", (relation,)) for relation in PLAIN if relation.ask]
    unnamed = tuple(relation for relation in PLAIN if relation.value not in NAMED)
    return _forms(
        [
            *own,
            *((table, "last", PLAIN) for table in (wordings.ASK, SHORT_ASK)),
            (wordings.ASK_WHAT, "last", unnamed),
            (wordings.ASK_NAME, "last", things(named(PLAIN))),
            (wordings.ASK_WHO, "last", people(PLAIN)),
            (wordings.ASK_LIST, "all", relations.LISTS),
            (wordings.ASK_COUNT, "count", relations.LISTS),
            (wordings.ASK_FIRST, "first", relations.DEEDS),
            (wordings.ASK_LAST, "last", relations.DEEDS),
        ],
        alone,
    )


def _read(text: str, forms: Forms, side: Split | None) -> tuple[Key, str, str] | None:
    """Return key, value and what is meant, by the form that explains most of the letters."""
    variants = {text} if side in (Split.VALIDATION, Split.TEST) else _alone(text)
    found = [
        (form.n_letters + len(text) - len(variant), form, match)
        for variant in variants
        if (known := _first(variant, forms))
        for form, match in [known]
    ]
    if not found:
        return None
    _, form, match = max(found, key=lambda one: one[0])
    groups = match.groupdict()
    who = groups.get("owner") or groups.get("who") or ""
    noun = form.noun or groups["noun"].casefold()
    present = {deed.past: deed.noun for deed in relations.DEEDS}
    value = groups.get("value") or ""
    return (_folded(who.removesuffix("'s")), present.get(noun, noun)), value, form.means


def _first(text: str, forms: Forms) -> tuple[Form, re.Match[str]] | None:
    words = {"", *WORD.findall(text.casefold())}
    ranked = sorted(known for word in words for known in forms.get(word, ()))
    matches = ((form, match) for _, form in ranked if (match := form.pattern.fullmatch(text)))
    return next(matches, None)


def _folded(who: str) -> str:
    return "" if who in ("I", "My", "my", "me") else who.casefold()


@cache
def _small_talk() -> re.Pattern[str]:
    """Match "I am a little tired.", which is nobody's job, and the like."""
    texts = map(re.escape, (*chatter.GREETED, *chatter.REMARKS))
    return re.compile("|".join(re.sub(r"\\{[WA]\\}", r"\\w+", text) for text in texts))


def read_statements(line: Line, alone: Split | None = None) -> list[tuple[Key, str]]:
    """Return what a message tells, one thing or several or nothing; see `_forms`."""
    if line.role is Role.ASSISTANT or _small_talk().fullmatch(line.text):
        return []
    is_printed = line.role is Role.TOOL
    forms = _printed(alone) if is_printed else _told(alone)
    side = Split.TEST if is_printed else alone
    found, sentences = [], SENTENCES.split(line.text)
    while sentences:
        for n_taken in range(len(sentences), 0, -1):
            read = _read(" ".join(sentences[:n_taken]), forms, side)
            if read and not SENTENCES.search(f"{read[0][0]} {read[1]}"):
                found.append((read[0], read[1].removesuffix(".")))  # of shorthand in a row
                break
        else:
            n_taken = 1  # nothing is told in it
        del sentences[:n_taken]
    return found


class Reader:
    """Somebody who has read all that was told.

    Attributes:
        known: values in the order in which they were told, case folded.
        alone: see `_forms`.
    """

    def __init__(self, lines: Iterable[Line], alone: Split | None = None) -> None:
        self.alone = alone
        self.known: dict[Key, list[str]] = {}
        for line in lines:
            for key, value in read_statements(line, alone):
                self.known.setdefault(key, []).append(value.casefold())

    def answer(self, question: str) -> str:
        """Return the answer that follows from what was told, case folded."""
        asked = _read(question, _asked(self.alone), self.alone)
        assert asked, question
        (who, noun), _, means = asked
        values = self.known.get((self._known_as(who), noun))
        if not values:
            return UNKNOWN.casefold()
        said = {
            "first": values[0],
            "last": values[-1],
            "count": str(len(values)),
            "all": ", ".join(values),
        }
        return f"{said[means]}."

    def _known_as(self, who: str) -> str:
        """Return the name of "my sister's boss", link by link."""
        link = link_of(who)
        if link is None:
            return who
        values = self.known.get((self._known_as(link[0]), link[1]))
        return values[-1] if values else who


def link_of(who: str) -> Key | None:
    """Return of whom somebody is what: ("", "sister") of "my sister", nothing of "maria"."""
    owner, _, noun = who.rpartition(" ")
    if owner == "my":
        return "", noun
    return (owner.removesuffix("'s"), noun) if owner.endswith("'s") else None
