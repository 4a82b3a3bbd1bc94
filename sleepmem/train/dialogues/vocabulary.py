"""The tokenizer of the dialogues: words of the wordings are whole, entities are cut into pieces.

Pieces come from entities of the training side alone, so a held-out name is cut no better and no
worse than a made-up one. Codes, numbers and times are read character by character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from tokenizers import Tokenizer

from sleepmem.train.dialogues import chatter, plots, relations, wordings
from sleepmem.train.dialogues.entities import Split, entities, list_names
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.tokenizer import build_tokenizer

_SLOT = re.compile(r"\{\w\}('s)?")


@cache
def tokenizer() -> Tokenizer:
    """Return the tokenizer; the same lists and wordings give the same one."""
    return build_tokenizer(texts(), names())


def texts() -> Iterator[str]:
    """Yield texts that together hold every word of the wordings."""
    for text in _wordings():
        yield re.sub(r"\[([^|\]]*)\|([^\]]*)\]", r"\1 \2", _SLOT.sub(" ", text))
    yield from (f"{relation.noun} {relation.past}" for relation in _relations())
    yield "Maria's My my I me an a project ticket job build file of me , ."
    yield UNKNOWN


def names() -> Iterator[str]:
    """Yield the entities of the training side, and the syllables of made-up ones."""
    for kind in list_names():
        yield from entities(kind, Split.TRAIN)


def _wordings() -> Iterator[str]:
    shared = (wordings.TELL, wordings.CHANGE, wordings.ASK, wordings.ASK_WHO, wordings.LOG)
    lists = (plots.ADD, plots.ASK_LIST, plots.ASK_COUNT, plots.DEED, plots.ASK_FIRST)
    own = [side for r in _relations() for side in (r.tell, r.ask) if side]
    for sides in (*shared, *lists, plots.ASK_LAST, *own):
        for split in Split:
            yield from sides[split]
    yield from (*chatter.REPLIES, *chatter.REMARKS, *chatter.HEARD, *chatter.SYSTEM)
    yield from (" ".join(said) for said in chatter.GREETED.items())
    yield from chatter.WEATHER


def _relations() -> tuple[Relation, ...]:
    people = (*relations.OF_PEOPLE, *plots.LISTS, *plots.DEEDS)
    return (*people, *relations.OF_PROJECTS, *relations.OF_TOOLS)
