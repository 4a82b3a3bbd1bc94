"""What can be said of whom: relations, the kind of their values, and wordings of their own.

Wordings have the slots that `wordings` lists.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.wordings import EITHER, TABLES, Sides, sides


class Relation(NamedTuple):
    """Something that a subject has one value of.

    Attributes:
        noun: as it is spoken of ("dog").
        value: kind of entity that it takes.
        tell, ask: wordings of its own beside those that fit all, by side of the split.
        past: of a deed, as it is told.
    """

    noun: str
    value: str
    tell: Sides | None = None
    ask: Sides | None = None
    past: str = ""


PEOPLE = (
    Relation("sister", "woman"),
    Relation("brother", "man"),
    Relation("boss", "person"),
    Relation("neighbour", "person"),
    Relation("doctor", "person"),
    Relation("teacher", "person"),
    Relation("friend", "person"),
    Relation("landlord", "man"),
    Relation("dentist", "person"),
    Relation("cousin", "person"),
)

FAVOURITES = (
    Relation(
        "favourite drink",
        "drink",
        sides(
            """
{N} [likes|like] to drink {V}.
{N} always [drinks|drink] {V}.
{V} is what {N} [likes|like] to drink best.
the drink {N} [likes|like] best is {V}.
When it comes to drinks, {N} always [has|have] {V}.
the best drink for {N} is {V}.
""",
            "{N} [loves|love] to drink {V}.",
            "to drink, {N} [likes|like] {V} best.",
        ),
        sides(
            """
What should I bring {N} to drink?
Order a drink for {N}.
What [does|do] {N} drink?
What would {N} drink?
Which drink [does|do] {N} like best?
Which drink should I order for {N}?
Bring {N} something to drink.
""",
            "Bring a drink for {N}.",
            "What would {N} like to drink?",
        ),
    ),
    Relation(
        "favourite food",
        "food",
        sides(
            """
{N} [likes|like] to eat {V}.
{N} [loves|love] to eat {V} most of all.
for dinner {N} always [has|have] {V}.
the food {N} [likes|like] best is {V}.
{V} is what {N} [likes|like] to eat best.
the best food for {N} is {V}.
""",
            "{N} always [likes|like] to eat {V}.",
            "the food {N} [loves|love] most is {V}.",
        ),
        sides(
            """
What should I cook for [{N}|dinner]?
Order dinner for {N}.
What [does|do] {N} like to eat?
Which food [does|do] {N} like best?
What should I bring {N} to eat?
Which food should I order for {N}?
""",
            "What should I order for {N} to eat?",
            "What would {N} like for dinner?",
        ),
    ),
    Relation(
        "favourite colour",
        "colour",
        sides(
            """
{N} [likes|like] the colour {V} best.
the colour {N} [loves|love] most is {V}.
of all colours {N} [likes|like] {V} best.
the best colour for {N} is {V}.
""",
            "{N} [loves|love] the colour {V}.",
            "the colour {N} [likes|like] best is {V}.",
        ),
        sides(
            """
Which colour should I paint {P} room?
Choose a colour that {N} [likes|like].
Which colour [does|do] {N} like best?
I have to choose a colour for {P} room, which one?
""",
            "Which colour would {N} like?",
            "Which colour should I choose for {P} room?",
        ),
    ),
    Relation(
        "hobby",
        "hobby",
        sides(
            """
{N} [enjoys|enjoy] {V}.
in the evening there is always {V} for {N}.
{V} is what {N} [enjoys|enjoy] most.
the best hobby for {N} is {V}.
""",
            "{N} [loves|love] {V}.",
            "in the evening {N} [enjoys|enjoy] {V}.",
        ),
        sides(
            """
What [does|do] {N} enjoy?
What should [{N} and I|I] do in the evening?
Which hobby [does|do] {N} have?
What [does|do] {N} like to do?
""",
            "What would {N} enjoy?",
            "What [does|do] {N} enjoy in the evening?",
        ),
    ),
)

HABITS = (
    Relation(
        "dog",
        "pet",
        sides(
            "{N} [has|have] a dog named {V}.\n{N} [has|have] a dog called {V}.\n"
            "{V} is the dog that {N} [has|have].",
            "{N} just [has|have] one dog, called {V}.",
            "{N} [has|have] a dog and it is called {V}.",
        ),
        sides(
            "Which dog [does|do] {N} have?\nWhat is {P} dog named?",
            "What name does {P} dog have?",
            "Which name does {P} dog have?",
        ),
    ),
    Relation(
        "cat",
        "pet",
        sides(
            "{N} [has|have] a cat named {V}.\n{V} is the cat that {N} [has|have].",
            "{N} [has|have] a cat called {V}.",
            "{N} [has|have] just one cat, called {V}.",
        ),
        sides(
            "Which cat [does|do] {N} have?",
            "What is {P} cat named?",
            "Which name does {P} cat have?",
        ),
    ),
    Relation(
        "city",
        "place",
        sides(
            "{N} [lives|live] in {V}.\n{N} [has|have] moved to {V}.\n"
            "the place where {N} [lives|live] is {V}.",
            "{N} [lives|live] in the city of {V}.",
            "the city where {N} [lives|live] is {V}.",
        ),
        sides(
            "Where [does|do] {N} live?\nWhich city [does|do] {N} live in?\n"
            "In which place [does|do] {N} live?",
            "Do you know where {N} [lives|live]?",
            "Can you tell me where {N} [lives|live]?",
        ),
    ),
    Relation(
        "job",
        "job",
        sides(
            "{N} [works|work] as {A} {V}.\n{N} [is|am] {A} {V} by trade.\n{N} [is|am] {A} {V}.",
            "{N} [has|have] always been {A} {V}.",
            "{N} [works|work] as {A} {V} now.",
        ),
        sides(
            "What [does|do] {N} work as?\nWhat [does|do] {N} do for a living?",
            "Which job [does|do] {N} have?",
            "What work [does|do] {N} do?",
        ),
    ),
    Relation(
        "company",
        "surname",
        sides(
            "{N} [works|work] for {V}.\n{N} [works|work] at the company {V}.",
            "the company {N} [works|work] for is {V}.",
            "the company where {N} [works|work] is {V}.",
        ),
        sides(
            "Which company [does|do] {N} work for?\nWho [does|do] {N} work for?",
            "Where [does|do] {N} work?",
            "Can you tell me which company {N} [works|work] for?",
        ),
    ),
    Relation(
        "instrument",
        "instrument",
        sides(
            "{N} [plays|play] the {V}.",
            "{N} [likes|like] to play the {V}.",
            "{N} always [plays|play] the {V}.",
        ),
        sides(
            "Which instrument [does|do] {N} play?",
            "What [does|do] {N} play?",
            "Tell me which instrument {N} [plays|play].",
        ),
    ),
    Relation(
        "language",
        "language",
        sides(
            "{N} [speaks|speak] {V} at home.\nat home {N} [speaks|speak] {V}.",
            "{V} is what {N} [speaks|speak] at home.",
            "the language {N} [speaks|speak] is {V}.",
        ),
        sides(
            "Which language [does|do] {N} speak?",
            "What [does|do] {N} speak at home?",
            "Which language [does|do] {N} speak at home?",
        ),
    ),
    Relation(
        "birthday",
        "date",
        sides(
            "{N} was born on {V}.\n{P} birthday is on {V}.",
            "the day {N} was born is {V}.",
            "{V} is the day {N} was born.",
        ),
        sides(
            "When was {N} born?\nWhen is {P} birthday?\nDo you know when {P} birthday is?",
            "Do you know when {N} was born?",
            "Tell me when {P} birthday is.",
        ),
    ),
    Relation("street", "surname"),
    Relation("school", "surname"),
    Relation("home town", "place"),
)

CODES = (
    Relation("locker code", "code4"),
    Relation("door code", "code4"),
    Relation("wifi password", "code6"),
    Relation("ticket code", "code6"),
    Relation("alarm code", "code4"),
    Relation("membership code", "code6"),
)

NUMBERS = (
    Relation("pin", "pin"),
    Relation("desk number", "number"),
    Relation("room number", "number"),
    Relation("bus line", "number"),
    Relation("train time", "time"),
    Relation("alarm time", "time"),
)

OF_PEOPLE = (*PEOPLE, *FAVOURITES, *HABITS, *NUMBERS, *CODES)

OF_PROJECTS = (
    Relation("owner", "person"),
    Relation("deadline", "date"),
    Relation("budget", "number"),
    Relation("status", "status"),
    Relation("version", "version"),
    Relation("report", "file"),
    Relation("main file", "file"),
)

OF_TOOLS = (
    Relation("state", "status"),
    Relation("owner", "person"),
    Relation("size", "number"),
    Relation("output", "file"),
    Relation("date", "date"),
    Relation("hash", "code6"),
)

LISTS = (
    Relation("shopping list", "item"),
    Relation("packing list", "item"),
    Relation("wish list", "item"),
)

DEEDS = (
    Relation("call", "person", past="called"),
    Relation("meet", "person", past="met"),
    Relation("visit", "person", past="visited"),
    Relation("thank", "person", past="thanked"),
)

EVERY = (*OF_PEOPLE, *OF_PROJECTS, *OF_TOOLS, *LISTS, *DEEDS)
# of wordings: those that fit any relation, then those of each
EVERY_TABLE = (
    *TABLES,
    *(table for relation in EVERY for table in (relation.tell, relation.ask) if table),
)


@cache
def held_out() -> frozenset[str]:
    """Return the wordings that training never hears, as they are `spoken`."""
    return frozenset(
        form
        for table in EVERY_TABLE
        for split in Split
        if split is not Split.TRAIN
        for wording in table[split]
        for form in spoken(wording)
    )


@cache
def holds_held_out(wording: str) -> bool:
    """Return whether a held-out wording is in a wording, but for the mark at its end."""
    return any(text.rstrip(".?") in form for form in spoken(wording) for text in held_out())


def spoken(wording: str) -> set[str]:
    """Return a wording as it is said of somebody and as it is said of oneself, case folded."""
    return {EITHER.sub(chosen, wording).casefold() for chosen in (r"\1", r"\2")}
