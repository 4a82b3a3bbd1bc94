"""Wordings put together from parts, so that training hears each part in many places.

A list of whole sentences is learned as such, and other orders of the same words are not understood.
Nothing composed here holds a held-out wording, however it is said; most of their parts are heard.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from sleepmem.train.dialogues import orders, wordings
from sleepmem.train.dialogues.relations import held_out, holds_held_out, spoken
from sleepmem.train.dialogues.wordings import Sides


def parts(text: str) -> tuple[str, ...]:
    return tuple(text.strip().splitlines())


class Grammar(NamedTuple):
    """A sentence is a stem and a core; an empty stem leaves the core alone."""

    stems: tuple[str, ...]
    cores: tuple[str, ...]


THAT = parts("""
Remember that
Please remember that
You should know that
I want you to know that
I just wanted to say that
It turns out that
Keep in mind that
Note that
Remember for later:
I think that
I was told that
One more thing:
Please take a note:
By the way,
Just for the record,
If anyone asks,
In case you need it,
""")
CHANGED = parts("""
Actually,
No,
Correction:
Sorry,
Sorry, I was wrong,
No, I was wrong,
I have to correct that,
Forget that,
Forget what I said before,
Note that
""")
ASKING = parts("""
Tell me
Please tell me
Can you tell me
Could you tell me
Do you know
Do you remember
I forgot
I need to know
I want to know
""")
REMINDED = (*ASKING, "Could you remind me", "Please remind me", "Remind me")
IS = parts("""
{P} {R} is {V}
{P} {R} is {V}
{V} is {P} {R}
""")
ALONE = ("",)
SHARED: tuple[tuple[Sides, Grammar], ...] = (
    (wordings.TELL, Grammar(THAT, IS)),
    (wordings.TELL_THING, Grammar(THAT, ("{P} {R} has always been {V}", "{P} {R} is {V}"))),
    (
        wordings.TELL_NAME,
        Grammar(
            THAT,
            (
                "{P} {R} is called {V}",
                "the name of {P} {R} is {V}",
                "{P} {R} has the name {V}",
                "{V} is what {P} {R} is called",
                "{V} is the name {P} {R} has",
                "{V} is how {P} {R} is called",
                "the name that {P} {R} has is {V}",
            ),
        ),
    ),
    (
        wordings.CHANGE,
        Grammar(CHANGED, ("{P} {R} is {V}", "{P} {R} is now {V}", "{P} {R} is {V} now")),
    ),
    (
        wordings.CHANGE_THING,
        Grammar(
            (*CHANGED, "Things have changed,", "It is different now,"),
            (
                "{P} {R} has changed to {V}",
                "from today on {P} {R} is {V}",
                "{P} {R} is {V} from today on",
            ),
        ),
    ),
    (
        wordings.ASK,
        Grammar(ASKING, ("{P} {R}", "{P} {R}", "what I said about {P} {R}")),
    ),
    (wordings.ASK_WHAT, Grammar(REMINDED, ("what {P} {R} is", "what {P} {R} was"))),
    (
        wordings.ASK_NAME,
        Grammar(REMINDED, ("what {P} {R} is called", "what the name of {P} {R} is")),
    ),
    (wordings.ASK_WHO, Grammar(REMINDED, ("who {P} {R} is", "who {P} {R} was"))),
)
OWN = tuple(
    (table, grammar)
    for tell, ask, cores in orders.TABLES
    for table, grammar in (
        (tell, Grammar(ALONE, cores.tell)),
        (tell, Grammar(THAT, cores.tell)),
        (ask, Grammar(ASKING, cores.ask)),
        (ask, Grammar(ALONE, cores.question)),
        (ask, Grammar(ALONE, cores.request)),
    )
    if grammar.cores
)
GRAMMARS = (*SHARED, *OWN)
QUESTIONS = ("Can ", "Could ", "Do ")  # what begins like that ends with a question mark
REQUESTS = ("Bring ", "Choose ", "Order ", "I ")  # and what has no stem, but begins like that, not

# around a whole sentence, or around a direct question
BEFORE = parts("""
Okay.
Thanks.
Hello!
Good morning.
Let me think.
One more thing.
I see.
By the way,
One more thing,
Okay,
Sorry,
Good morning,
""")
BEHIND_TOLD = parts("""
Remember that.
Please take a note.
Thanks a lot!
Keep that in mind.
I wanted you to know.
That was all.
""")
BEHIND_ASKED = parts("""
I forgot.
Please tell me.
Do you know?
Do you remember?
I need to know.
Thanks.
""")
ASIDES = parts("""
I think
it turns out
I was told
if anyone asks
in case you need it
just for the record
for later
remember that
you should know
and I want you to know that
""")
# words that begin a sentence and are known in lower case too
SMALL = frozenset(
    (*("About", "By", "Do", "For", "From", "How", "If", "In", "It", "Just", "My", "Note", "One"),
     *("Remember", "Remind", "Tell", "The", "What", "When", "Where", "Which", "Who"))
)  # fmt: skip
# share of the sentences with something before, of those with something behind, and of those that
# tell something with an aside before what it is
AROUND = 0.15


def composed(rng: Random, table: Sides) -> str | None:
    """Return a wording that says what those of a table say; None if it has no grammar."""
    known = [grammar for of, grammar in GRAMMARS if of is table]
    if not known:
        return None
    while True:
        stems, cores = rng.choice(known)
        wording = sentence(rng.choice(stems), rng.choice(cores))
        if not holds_held_out(wording):
            return wording


def sentence(stem: str, core: str) -> str:
    """Return the sentence of a stem, which may be empty, and a core."""
    is_said = "{V}" in core or core.startswith(REQUESTS)
    is_question = stem.startswith(QUESTIONS) if stem else not is_said
    return f"{stem} {core}{'?' if is_question else '.'}".lstrip()


def surrounded(rng: Random, wording: str) -> str:
    """Return a wording with something before, in or behind it, now and then; else as it is."""
    is_asked = "{V}" not in wording
    text = wording
    if rng.random() < AROUND:
        text = text.replace("{R} is {V}", f"{{R}}, {rng.choice(ASIDES)}, is {{V}}")
    if rng.random() < AROUND:
        before = rng.choice(BEFORE)
        text = f"{before} {_begun(text) if before[-1] == ',' else text}"
    if rng.random() < AROUND:
        text = f"{text} {rng.choice(BEHIND_ASKED if is_asked else BEHIND_TOLD)}"
    return wording if spoken(text) & held_out() else text


def _begun(wording: str) -> str:
    """Return a wording as it goes on behind a comma."""
    is_small = wording.split(" ", 1)[0] in SMALL
    return wording[0].lower() + wording[1:] if is_small else wording
