"""A slow reader of dialogues: knows the wordings, but not how a life is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from sleepmem.train.dialogues import relations, wordings
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Line
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.dialogues.wordings import Sides
from sleepmem.types import Role

Key = tuple[str, str]  # (subject, noun), case folded; who speaks is ""

PLAIN = (*relations.OF_PEOPLE, *relations.OF_PROJECTS, *relations.OF_TOOLS)
SHORT = {split: ("{N} {R} {V}",) for split in Split}
SHORT_ASK = {split: ("{N} {R}",) for split in Split}


class Form(NamedTuple):
    """A wording as it is recognised; `noun` is set where the words say it without naming it."""

    pattern: re.Pattern[str]
    n_letters: int
    means: str
    noun: str = ""


def _form(wording: str, means: str, about: tuple[Relation, ...]) -> Form:
    slots = {
        "{P}": "(?P<owner>my|.+'s)",
        "{N}": "(?P<who>.+?)",
        "{R}": f"(?P<noun>{'|'.join(relation.noun for relation in about)})",
        "{D}": f"(?P<noun>{'|'.join(relation.past for relation in about)})",
        "{A}": "an?",
        "{V}": "(?P<value>.+)",
    }
    text = re.escape(wordings.VERB.sub(r"<\1/\2>", wording)).replace(r"\{", "{").replace(r"\}", "}")
    text = re.sub(r"<(.+?)/(.+?)>", r"(?:\1|\2)", text)
    pattern = wordings.SLOT.sub(lambda slot: slots[slot[0]], text)
    noun = about[0].noun if len(about) == 1 else ""
    literal = wordings.SLOT.sub("", wordings.VERB.sub(r"\2", wording))
    return Form(re.compile(pattern, re.IGNORECASE), len(literal), means, noun)


def _forms(tables: Iterable[tuple[Sides, str, tuple[Relation, ...]]]) -> list[Form]:
    """Return forms, those with the most words of their own first."""
    forms = {
        _form(wording, means, about)
        for table, means, about in tables
        for split in Split
        for wording in table[split]
    }
    return sorted(forms, key=lambda form: -form.n_letters)


@cache
def _told() -> list[Form]:
    own = [(relation.tell, "is", (relation,)) for relation in PLAIN if relation.tell]
    return _forms(
        [
            *own,
            *((table, "is", PLAIN) for table in (wordings.TELL, wordings.CHANGE, SHORT)),
            (wordings.ADD, "is", relations.LISTS),
            (wordings.DEED, "is", relations.DEEDS),
        ]
    )


@cache
def _printed() -> list[Form]:
    return _forms([(wordings.LOG, "is", relations.OF_TOOLS), (SHORT, "is", relations.OF_TOOLS)])


@cache
def _asked() -> list[Form]:
    own = [(relation.ask, "last", (relation,)) for relation in PLAIN if relation.ask]
    plain = (wordings.ASK, wordings.ASK_WHO, SHORT_ASK)
    return _forms(
        [
            *own,
            *((table, "last", PLAIN) for table in plain),
            (wordings.ASK_LIST, "all", relations.LISTS),
            (wordings.ASK_COUNT, "count", relations.LISTS),
            (wordings.ASK_FIRST, "first", relations.DEEDS),
            (wordings.ASK_LAST, "last", relations.DEEDS),
        ]
    )


def _read(text: str, forms: list[Form]) -> tuple[Key, str, str] | None:
    """Return key, value and what is meant."""
    for form in forms:
        if found := form.pattern.fullmatch(text):
            groups = found.groupdict()
            who = groups.get("owner") or groups.get("who") or ""
            noun = form.noun or groups["noun"].casefold()
            present = {deed.past: deed.noun for deed in relations.DEEDS}
            value = groups.get("value") or ""
            return (_folded(who.removesuffix("'s")), present.get(noun, noun)), value, form.means
    return None


def _folded(who: str) -> str:
    return "" if who in ("I", "My", "my", "me") else who.casefold()


def read_statement(line: Line) -> tuple[Key, str] | None:
    """Return what a message tells, or nothing."""
    if line.role is Role.ASSISTANT:
        return None
    read = _read(line.text, _printed() if line.role is Role.TOOL else _told())
    return read[:2] if read else None


def answer(lines: Iterable[Line], question: str) -> str:
    """Return the answer that follows from all that was told, case folded."""
    known: dict[Key, list[str]] = {}
    for line in lines:
        if told := read_statement(line):
            known.setdefault(told[0], []).append(told[1].casefold())
    asked = _read(question, _asked())
    assert asked, question
    (who, noun), _, means = asked
    values = known.get((_known_as(known, who), noun))
    if not values:
        return UNKNOWN.casefold()
    said = {
        "first": values[0],
        "last": values[-1],
        "count": str(len(values)),
        "all": ", ".join(values),
    }
    return f"{said[means]}."


def _known_as(known: dict[Key, list[str]], who: str) -> str:
    """Return the name of "my sister's boss", link by link."""
    owner, _, noun = who.rpartition(" ")
    if not owner or not (owner == "my" or owner.endswith("'s")):
        return who
    owner = "" if owner == "my" else _known_as(known, owner.removesuffix("'s"))
    values = known.get((owner, noun))
    return values[-1] if values else who
