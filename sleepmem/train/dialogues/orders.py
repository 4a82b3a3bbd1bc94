"""Every order of a few words, for what somebody likes, plays or speaks: "it is tea that he drinks".

A model that heard some orders of these words did not understand others: where wordings are new,
what is missed most is said like that. Those that hold a held-out wording `grammar` leaves out.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.own_grammar import CORES, Cores
from sleepmem.train.dialogues.wordings import Sides


class Doing(NamedTuple):
    """How it is said of somebody.

    Attributes:
        thing: what kind of thing it is ("drink").
        verbs: of another person, and as a plain form; what follows stands behind a space.
        behind: what may stand behind, where a sentence allows for it.
        it: the value, with its article.
        is_plain: whether the verb alone asks for that kind of thing.
        requests: what cannot be done without knowing it, without a mark at the end.
    """

    thing: str
    verbs: tuple[tuple[str, str], ...]
    behind: tuple[str, ...] = ("",)
    it: str = "{V}"
    is_plain: bool = True
    requests: tuple[str, ...] = ()


LIKING = (("likes", "like"), ("loves", "love"), ("enjoys", "enjoy"))
DOING = {
    "favourite drink": Doing(
        "drink",
        (
            *((f"{he} to drink", f"{i} to drink") for he, i in LIKING[:2]),
            ("drinks", "drink"),
            ("always drinks", "always drink"),
        ),
        ("", " most", " best", " most of all", " at home", " in the evening"),
        requests=(
            "Bring {N} a drink",
            "Bring something to drink for {N}",
            "Choose a drink for {N}",
            "Choose something to drink for {N}",
            "Order something to drink for {N}",
            "I want to [bring {N}|have] a drink",
            "I want to order a drink for {N}",
            "I have to choose a drink for {N}",
            "I need something to drink for {N}",
            "I need a drink that {N} [likes|like]",
        ),
    ),
    "favourite food": Doing(
        "food",
        tuple((f"{he} to eat", f"{i} to eat") for he, i in LIKING[:2]),
        ("", " most", " best", " most of all", " for dinner", " in the evening"),
        requests=(
            "Bring {N} something to eat",
            "Bring something to eat for {N}",
            "Choose a dinner for {N}",
            "Choose something to eat for {N}",
            "Order something to eat for {N}",
            "I want to cook[ for {N}|]",
            "I want to order dinner for {N}",
            "I have to choose a dinner for {N}",
            "I need something to eat for {N}",
            "I need food that {N} [likes|like]",
        ),
    ),
    "favourite colour": Doing(
        "colour",
        LIKING[:2],
        ("", " most", " best", " most of all", " at home"),
        "the colour {V}",
        is_plain=False,
        requests=(
            "Choose a colour for {N}",
            "I need a colour for {N}",
            "I want a colour that {N} [likes|like]",
            "I have to choose a colour for {N}",
            "I want to paint {P} room",
        ),
    ),
    "hobby": Doing(
        "hobby",
        LIKING,
        ("", " most", " best", " most of all", " at home", " in the evening"),
        requests=(
            "Choose something to do for {N}",
            "I want to do something[ with {N}|]",
            "I need something to do[ for {N}|]",
            "I want to do something that {N} [likes|like]",
        ),
    ),
    "instrument": Doing(
        "instrument",
        (
            ("plays", "play"),
            *((f"{he} to play", f"{i} to play") for he, i in LIKING[:2]),
        ),
        ("", " at home", " at school", " in the evening", " best"),
        "the {V}",
    ),
    "language": Doing(
        "language",
        (
            ("speaks", "speak"),
            ("always speaks", "always speak"),
            *((f"{he} to speak", f"{i} to speak") for he, i in LIKING[:2]),
        ),
        ("", " at home", " at school", " in the evening", " best", " at dinner"),
    ),
}


def orders(of: Doing) -> Cores:
    """Return all orders."""
    tell, ask, question = [], [], []
    for (he, i), behind in product(of.verbs, of.behind):
        does, it = f"{{N}} [{he}|{i}]", of.it
        tell += [f"{does} {it}{behind}", f"it is {it} that {does}{behind}"]
        tell += [f"{it} is what {does}{behind}", f"what {does}{behind} is {it}"]
        if behind.startswith((" at ", " in ", " for ")):
            tell += [f"{behind.strip()} {does} {it}"]
        ask += [f"which {of.thing} {does}{behind}", f"which {of.thing} it is that {does}{behind}"]
        question += [
            f"Which {of.thing} [does|do] {{N}} {i}{behind}",
            f"What {of.thing} is it that {does}{behind}",
            f"Which {of.thing} would {{N}} {i}{behind}",
        ]
        if of.is_plain:
            ask += [f"what {does}{behind}", f"what it is that {does}{behind}"]
            question += [
                f"What [does|do] {{N}} {i}{behind}",
                f"What would {{N}} {i}{behind}",
                f"What is it that {does}{behind}",
            ]
        for that in ("", "that "):
            thing = f"the {of.thing} {that}{does}{behind}"
            tell += [f"{thing} is {{V}}", f"{{V}} is {thing}", f"it is {{V}}, {thing}"]
    return Cores(tuple(tell), tuple(ask), tuple(question), of.requests)


def _with_orders(noun: str) -> Cores:
    """Return the cores of a relation, and all orders of its words, each once."""
    if noun not in DOING:
        return CORES[noun]
    both = zip(CORES[noun], orders(DOING[noun]), strict=True)
    return Cores(*(tuple(dict.fromkeys((*written, *made))) for written, made in both))


def _tables() -> list[tuple[Sides, Sides, Cores]]:
    of = {relation.noun: relation for relation in (*relations.FAVOURITES, *relations.HABITS)}
    found = []
    for noun in CORES:
        tell, ask = of[noun].tell, of[noun].ask
        assert tell
        assert ask
        found.append((tell, ask, _with_orders(noun)))
    return found


TABLES = _tables()  # what is told, what is asked, and what more of both is made of
