"""The tokenizer of the dialogues: words of the wordings are whole, entities are cut into pieces.

Pieces come from entities of the training side alone, so a held-out name is cut no better and no
worse than a made-up one. Codes, numbers and times are read character by character.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tokenizers import Tokenizer

from sleepmem.train.dialogues import chatter, relations, wordings
from sleepmem.train.dialogues.entities import Split, entities, list_names
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.tokenizer import build_tokenizer

# what stands in slots beside entities: possessors, articles, kinds of subject, marks by themselves
FILLINGS = "Maria's My my I me an a project ticket job build file State , ."


@cache
def tokenizer() -> Tokenizer:
    """Return the tokenizer; the same lists and wordings give the same one."""
    return build_tokenizer(texts(), names())


def texts() -> Iterator[str]:
    """Yield texts that together hold every word of the wordings."""
    for wording in (*_of_facts(), *chatter.every_text()):
        yield wordings.EITHER.sub(r"\1 \2", wordings.SLOT.sub(" ", wording))
    yield from (f"{relation.noun} {relation.past}" for relation in relations.EVERY)
    yield from (FILLINGS, UNKNOWN)


def names() -> Iterator[str]:
    """Yield the entities of the training side."""
    for kind in list_names():
        yield from entities(kind, Split.TRAIN)


def _of_facts() -> Iterator[str]:
    for sides in relations.EVERY_TABLE:
        for split in Split:
            yield from sides[split]
