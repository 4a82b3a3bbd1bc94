"""What can be told: names, places, jobs, dates, numbers, codes. Every kind is split three ways.

Lists are of Faker, frozen by `freeze`, or ours where Faker has none. An entity belongs to one side
by a hash of its text, so an answer of the test side is one that its list never gave in training.
Training also draws words that nobody knows: what a value is must be copied, it cannot be guessed.
"""

from __future__ import annotations

import json
from calendar import month_name
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib.resources import files
from random import Random
from string import ascii_uppercase, digits
from zlib import crc32


class Split(StrEnum):
    """Sides of the data; each has wordings and entities of its own."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


# lists of ours: words that are short and known to everybody
OWN = {
    "pet": """
Rex Bella Max Luna Rocky Daisy Buddy Molly Duke Lola Bear Sadie Tucker Maggie Oreo Biscuit Rufus
Pepper Shadow Coco Bandit Ginger Ziggy Nala Milo Rusty Honey Scout Rascal Willow Sparky Poppy Fido
Cookie Waffles Snoopy Trixie Benji Patches Whiskers Tiger Simba Felix Smokey Mittens Pickles Socks
Muffin Peanut Bruno Toby Archie Teddy Alfie Bailey Roxy Zeus Apollo Thor Athena Misty Casper Kiki
Pumpkin Marble Noodle Mochi Sushi Taco Nugget Bubbles Dash Echo Fudge Gizmo Hazel Indie Juno Koda
""",
    "trade": """
nurse teacher doctor lawyer baker plumber farmer painter driver pilot dentist judge waiter barber
butcher tailor sailor soldier carpenter gardener cleaner cook mechanic electrician porter welder
builder fisherman florist grocer jeweller joiner mason miner optician potter printer roofer vet
""",
    "colour": """
red blue green yellow orange purple pink brown black white grey teal turquoise crimson scarlet
maroon navy indigo violet magenta beige ivory golden silver bronze amber emerald jade azure cyan
lilac olive coral salmon khaki lime mint peach plum rust sand ochre charcoal burgundy lavender
""",
    "food": """
pizza pasta sushi curry soup salad rice noodles pancakes porridge toast cheese lentils dumplings
risotto lasagne paella tacos burritos omelette falafel hummus kebab ramen goulash moussaka stew
chili gnocchi tofu couscous quiche waffles muesli yoghurt bagels croissants sandwiches sausages
""",
    "drink": """
tea coffee water milk cola lemonade cider beer wine whisky cocoa juice espresso cappuccino latte
smoothie kombucha tonic soda sherry brandy vodka rum gin champagne matcha chai mocha ginger kefir
""",
    "hobby": """
chess tennis football hockey rugby cricket golf swimming running cycling hiking climbing sailing
surfing skiing skating rowing boxing judo karate yoga dancing singing painting drawing knitting
sewing pottery gardening baking cooking fishing photography reading writing poker archery fencing
""",
    "instrument": """
piano guitar violin cello flute trumpet drums clarinet oboe harp saxophone banjo ukulele accordion
trombone tuba viola bassoon mandolin recorder organ bagpipes harmonica xylophone lute
""",
    "language": """
English German French Spanish Italian Dutch Polish Czech Danish Swedish Norwegian Finnish Greek
Turkish Arabic Hebrew Hindi Urdu Bengali Tamil Mandarin Cantonese Japanese Korean Thai Vietnamese
Russian Ukrainian Hungarian Romanian Croatian Serbian Welsh Irish Latin Swahili Zulu Persian
""",
    "item": """
milk bread butter eggs flour sugar salt apples pears bananas grapes onions carrots potatoes garlic
soap candles batteries stamps envelopes paper pencils tape glue nails screws paint brushes socks
towels blankets tents torches matches ropes maps umbrellas sunscreen plasters vitamins tickets
""",
    "status": """
open closed blocked done pending failed passed running queued cancelled merged approved rejected
paused ready stale archived deployed waiting resolved
""",
    "codename": """
falcon tiger eagle dragon phoenix wolf panther raven cobra dolphin orca lynx badger otter heron
osprey condor bison jaguar puma mercury venus mars jupiter saturn neptune pluto comet meteor nebula
galaxy quasar pulsar aurora zenith horizon summit canyon glacier delta volcano island harbour anchor
compass beacon lantern torch ember spark thunder lightning tornado cascade amethyst ruby sapphire
diamond pearl topaz quartz granite marble cobalt titan atlas odyssey
""",
}
PEOPLE = frozenset({"person", "woman", "man"})
NAMED = PEOPLE | {"surname", "place", "pet"}  # of what is called something
CAPITAL = NAMED | {"language"}
KNOWN = frozenset({"status"})  # the only kind for which training makes no words up
CODE = ascii_uppercase + digits
VOWELS, CONSONANTS = "aeiou", "bdfghklmnprstvz"
VALIDATION_SHARE, TEST_SHARE = 12, 20  # of a hundred entities
SALT = 6984  # of the hash: one that leaves no side of a short list nearly empty
MADE_UP = 0.3  # share of the values in training


def draw(rng: Random, kind: str, split: Split) -> str:
    """Draw an entity of a side.

    Args:
        kind: of `list_names` or of `COMPOSED`.
    """
    if kind in COMPOSED:
        return _composed(rng, kind, split)
    if split is Split.TRAIN and kind not in KNOWN and rng.random() < MADE_UP:
        return made_up(rng, capital=kind in CAPITAL)
    if kind == "person":
        kind = rng.choice(("woman", "man"))
    return rng.choice(entities(kind, split))


def made_up(rng: Random, *, capital: bool) -> str:
    """Return a word of one to three syllables that means nothing, of the training side."""
    while True:
        word = "".join(_syllable(rng) for _ in range(rng.randint(1, 3)))
        if side(word) is Split.TRAIN:
            return word.capitalize() if capital else word


def _syllable(rng: Random) -> str:
    end = rng.choice(CONSONANTS) if rng.random() < 0.4 else ""
    return rng.choice(CONSONANTS) + rng.choice(VOWELS) + end


@cache
def entities(kind: str, split: Split) -> tuple[str, ...]:
    """Return the entities of a list that are on one side."""
    return tuple(entity for entity in _lists()[kind] if side(entity) is split)


def list_names() -> list[str]:
    """Return the kinds that are lists."""
    return sorted(_lists())


def side(text: str) -> Split:
    """Return where a text belongs, by a hash, so that it does in every list that holds it."""
    place = crc32(f"{SALT}{text.lower()}".encode()) % 100
    if place < TEST_SHARE:
        return Split.TEST
    return Split.VALIDATION if place < TEST_SHARE + VALIDATION_SHARE else Split.TRAIN


@cache
def _lists() -> dict[str, list[str]]:
    frozen = json.loads((files(__package__) / "entities.json").read_text())
    lists = {kind: list(words) for kind, words in frozen.items() if kind != "faker"}
    lists |= {kind: words.split() for kind, words in OWN.items()}
    lists["job"] = sorted({*lists["job"], *lists.pop("trade")})
    return lists


def _composed(rng: Random, kind: str, split: Split) -> str:
    """Draw until the text is of the asked side; a few draws do."""
    while True:
        text = COMPOSED[kind](rng, split)
        if side(text) is split:
            return text


def _date(rng: Random) -> str:
    return f"{rng.randint(1, 28)} {month_name[rng.randint(1, 12)]}"


def _file(rng: Random, split: Split) -> str:
    word = rng.choice(entities("codename", split))
    return f"{word}{rng.randint(1, 99)}.{rng.choice(('txt', 'csv', 'pdf', 'py', 'log'))}"


# kinds without a list, by how a text is drawn that may be of any side
COMPOSED: dict[str, Callable[[Random, Split], str]] = {
    "code4": lambda rng, _: "".join(rng.choices(CODE, k=4)),
    "code6": lambda rng, _: "".join(rng.choices(CODE, k=6)),
    "pin": lambda rng, _: "".join(rng.choices(digits, k=4)),
    "number": lambda rng, _: str(rng.randint(2, rng.choice((40, 999, 9999)))),
    "date": lambda rng, _: _date(rng),
    "time": lambda rng, _: f"{rng.randint(1, 12)}:{rng.choice('012345')}{rng.choice('05')}",
    "version": lambda rng, _: f"{rng.randint(0, 9)}.{rng.randint(0, 30)}",
    "file": _file,
}
