"""What is said beside facts, and not to be remembered: replies, small talk, system prompts.

None of it is split but the words in its slots: {W} a word of the side, {A} the weather.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from sleepmem.train.dialogues.entities import Split, draw

NOTED = "Noted."
# one reply stands out, so that it can be learned as the one to give
REPLIES = (NOTED, NOTED, NOTED, NOTED, "Got it.", "Okay, noted.", "Thanks, I will remember that.")
GREETINGS = 0.4  # share of the small talk

GREETED = {
    "Hello!": "Hello!",
    "Hi there.": "Hello!",
    "Good morning.": "Good morning!",
    "Good evening.": "Good evening!",
    "How are you?": "I am fine, thank you.",
    "How are you today?": "I am fine, thank you.",
    "Thank you.": "You are welcome.",
    "Thanks a lot!": "You are welcome.",
    "Are you there?": "Yes, I am here.",
    "Good night.": "Good night!",
    "Bye.": "Goodbye!",
    "See you later.": "Goodbye!",
}

REMARKS = (
    "The weather is {A} today.",
    "It was a long day.",
    "It was a long day and I am tired, a little.",
    "Nothing new here.",
    "I watched a film about {W} and {W}.",
    "The news was all about {W}.",
    "I have to think about {W} some more.",
    "We talked about {W} for an hour.",
    "There was so much {W} on the way.",
    "I read that {W} is better than {W}.",
    "It is {A} outside.",
    "Somebody said something about {W}.",
    "Let me think.",
    "I am just back from work.",
    "At last the week is over.",
    "That was fun.",
)
WEATHER = ("nice", "cold", "warm", "grey", "lovely", "terrible")
HEARD = ("I see.", "Okay.", "Interesting.")

SYSTEM = (
    "You are a helpful assistant.",
    "You are a helpful assistant with a memory.",
    "Answer briefly.",
    "You are an agent. Be short and exact.",
    "You help with everyday things. Say so if you do not know.",
    "You are a friendly assistant who remembers what was said.",
)


def small_talk(rng: Random, split: Split) -> tuple[str, str]:
    """Return something said that holds no fact, and what is answered."""
    if rng.random() < GREETINGS:
        return rng.choice(list(GREETED.items()))
    return _filled(rng, split, rng.choice(REMARKS)), rng.choice(HEARD)


def reply(rng: Random) -> str:
    """Return what is answered to something told."""
    return rng.choice(REPLIES)


def system_prompt(rng: Random, split: Split) -> str:
    """Return what a conversation may be opened with."""
    return _filled(rng, split, rng.choice(SYSTEM))


def every_text() -> Iterator[str]:
    """Yield all that can be said, slots open."""
    yield from (*REPLIES, *REMARKS, *HEARD, *SYSTEM, *WEATHER)
    for said, heard in GREETED.items():
        yield from (said, heard)


def _filled(rng: Random, split: Split, text: str) -> str:
    while "{W}" in text:
        text = text.replace("{W}", draw(rng, "word", split).lower(), 1)
    return text.replace("{A}", rng.choice(WEATHER))
