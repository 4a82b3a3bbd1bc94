"""What is said beside facts: replies, small talk, system prompts. None of it is to be remembered."""

from __future__ import annotations

from random import Random

from sleepmem.train.dialogues.entities import Split, draw

NOTED = "Noted."
REPLIES = (NOTED, NOTED, NOTED, NOTED, "Got it.", "Okay, noted.", "Thanks, I will remember that.")

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
    "I am a little tired.",
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
    "Today is {W} day. You are a friendly assistant.",
)


def small_talk(rng: Random, split: Split) -> tuple[str, str]:
    """Return something said about nothing, and what is answered."""
    if rng.random() < 0.4:
        return rng.choice(list(GREETED.items()))
    return _filled(rng, split, rng.choice(REMARKS)), rng.choice(HEARD)


def reply(rng: Random) -> str:
    """Return what is answered to something told."""
    return rng.choice(REPLIES)


def system_prompt(rng: Random, split: Split) -> str:
    return _filled(rng, split, rng.choice(SYSTEM))


def _filled(rng: Random, split: Split, text: str) -> str:
    while "{W}" in text:
        text = text.replace("{W}", draw(rng, "word", split).lower(), 1)
    return text.replace("{A}", rng.choice(WEATHER))
