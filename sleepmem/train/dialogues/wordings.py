"""How facts are told and asked for, by side of the split. A side's wordings are on no other side.

Held-out wordings use words that training reads elsewhere; it is their order that is new. These
tables fit any relation; `relations` has more that fit only one.

Slots of a wording:

    {P}    possessor: "Maria's", "my", "my sister's"
    {N}    the subject by itself: "Maria", "I", "my sister"
    {R}    what is said of it: "dog"
    {V}    its value, and {A} the article that fits it
    {D}    the past of a deed: "called"
    [a|b]  what is said of another person, or of oneself
"""

from __future__ import annotations

import re

from sleepmem.train.dialogues.entities import Split

SLOT = re.compile(r"\{[A-Z]\}")
EITHER = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")

Sides = dict[Split, tuple[str, ...]]


def sides(train: str, validation: str, test: str) -> Sides:
    """Return wordings by side, one to a line."""
    texts = {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}
    return {split: tuple(text.strip().splitlines()) for split, text in texts.items()}


TELL = sides(
    train="""
{P} {R} is {V}.
{P} {R} is {V}.
{P} {R} is {V}.
{P} {R}: {V}.
Remember that {P} {R} is {V}.
Please remember that {P} {R} is {V}.
By the way, {P} {R} is {V}.
You should know that {P} {R} is {V}.
I want you to know that {P} {R} is {V}.
I just wanted to say that {P} {R} is {V}.
Just for the record, {P} {R} is {V}.
It turns out that {P} {R} is {V}.
In case you need it, {P} {R} is {V}.
If anyone asks, {P} {R} is {V}.
I think I never told you: {P} {R} is {V}.
One more thing, {P} {R} is {V}.
Please take a note: {P} {R} is {V}.
For later: {P} {R} is {V}.
Keep in mind that {P} {R} is {V}.
Note that {V} is {P} {R}.
You should know that {V} is {P} {R}.
{V} is {P} {R}.
{V}, that is {P} {R}.
""",
    validation="""
Remember for later that {P} {R} is {V}.
I should note that {P} {R} is {V}.
{P} {R}, in case anyone asks, is {V}.
""",
    test="""
Just so you know, {P} {R} is {V}.
Please note that {P} {R} is {V}.
I never told you that {P} {R} is {V}.
{P} {R}, by the way, is {V}.
""",
)

# of things alone, never of people
TELL_THING = sides(
    train="""
As for {P} {R}, it is {V}.
About {P} {R}, it is {V}.
Regarding {P} {R}, it is {V}.
When it comes to {P} {R}, the answer is {V}.
I was asked about {P} {R} and it is {V}.
{P} {R} has always been {V}.
""",
    validation="""
Regarding {P} {R}: it is {V}.
""",
    test="""
I have to tell you about {P} {R}: it is {V}.
""",
)

# of what bears a name
TELL_NAME = sides(
    train="""
{P} {R} is called {V}.
{P} {R} is called {V}.
the name of {P} {R} is {V}.
{P} {R} has the name {V}.
""",
    validation="""
{V} is the name of {P} {R}.
""",
    test="""
Keep in mind for later that {P} {R} is called {V}.
""",
)

CHANGE = sides(
    train="""
Actually, {P} {R} is {V} now.
Actually, {P} {R} is {V}.
{P} {R} is now {V}.
No, I was wrong, {P} {R} is {V}.
No, {P} {R} is {V}.
Correction: {P} {R} is {V}.
Sorry, {P} {R} is {V} and not what I said before.
Forget what I said before, {P} {R} is {V}.
I have to correct that, {P} {R} is {V}.
""",
    validation="""
Sorry, I was wrong: {P} {R} is {V} now.
""",
    test="""
I was wrong before, {P} {R} is {V}.
Forget what I said, {P} {R} is {V} now.
""",
)

CHANGE_THING = sides(
    train="""
{P} {R} has changed to {V}.
Things have changed: {P} {R} is {V} now.
From today on {P} {R} is {V}.
I changed my mind, {P} {R} is {V}.
It is different now, {P} {R} is {V}.
""",
    validation="""
From now on {P} {R} is {V}.
""",
    test="""
{P} {R} has changed, it is {V} now.
Actually, from today on {P} {R} is {V}.
""",
)

ASK = sides(
    train="""
{P} {R}?
And {P} {R}?
Do you remember {P} {R}?
What did I say about {P} {R}?
What do you know about {P} {R}?
""",
    validation="""
And what about {P} {R}?
""",
    test="""
Do you know what I said about {P} {R}?
""",
)

ASK_WHAT = sides(
    train="""
What is {P} {R}?
What is {P} {R}?
Tell me {P} {R}.
Please tell me {P} {R}.
Do you know {P} {R}?
Can you tell me what {P} {R} is?
Could you remind me what {P} {R} is?
Remind me, what is {P} {R}?
What was {P} {R} again?
I forgot {P} {R}, what is it?
And what is {P} {R}?
I need to know {P} {R}.
""",
    validation="""
Please remind me, what is {P} {R}?
Do you remember what {P} {R} is?
I need {P} {R}, what is it?
""",
    test="""
Can you remind me what {P} {R} is?
What was it again, {P} {R}?
I forgot, what is {P} {R}?
""",
)

ASK_NAME = sides(
    train="""
What is {P} {R} called?
What is the name of {P} {R}?
Tell me the name of {P} {R}.
What was {P} {R} called again?
""",
    validation="""
Do you remember the name of {P} {R}?
""",
    test="""
Do you know what {P} {R} is called?
Can you tell me the name of {P} {R}?
""",
)

ASK_WHO = sides(
    train="""
Who is {P} {R}?
Who is {P} {R}?
Do you know who {P} {R} is?
Tell me who {P} {R} is.
Please tell me who {P} {R} is.
Who was {P} {R} again?
And who is {P} {R}?
I forgot who {P} {R} is.
""",
    validation="""
Remind me, who is {P} {R}?
""",
    test="""
Can you tell me who {P} {R} is?
Do you remember who {P} {R} is?
I forgot, who is {P} {R}?
""",
)

# what tools print
LOG = sides(
    train="""
{N} {R}={V}
{N}: {R} {V}
{R} of {N}: {V}
[{N}] {R} is {V}
{N} -> {R} {V}
read {N}: {R} set to {V}
""",
    validation="""
read {N} -> {R}={V}
""",
    test="""
[{N}] {R}: {V}
{N} {R} set to {V}
""",
)

ADD = sides(
    train="""
Put {V} on {P} {R}.
Add {V} to {P} {R}.
Could you add {V} to {P} {R}?
{V} should be on {P} {R}.
""",
    validation="""
Please put {V} on {P} {R}.
""",
    test="""
Please add {V} to {P} {R}.
""",
)

ASK_LIST = sides(
    train="""
What is on {P} {R}?
Tell me what is on {P} {R}.
What did I put on {P} {R}?
""",
    validation="""
What should be on {P} {R}?
""",
    test="""
Can you tell me what is on {P} {R}?
""",
)

ASK_COUNT = sides(
    train="""
How many things are on {P} {R}?
How long is {P} {R}?
Do you remember how many things are on {P} {R}?
""",
    validation="""
Tell me how many things are on {P} {R}.
""",
    test="""
Do you know how many things are on {P} {R}?
""",
)

DEED = sides(
    train="""
{N} {D} {V}.
Today {N} {D} {V}.
{N} {D} {V} in the end.
Yes, {N} {D} {V}.
""",
    validation="""
By the way, {N} {D} {V}.
""",
    test="""
Today, by the way, {N} {D} {V}.
""",
)

ASK_FIRST = sides(
    train="""
Who did {N} {R} first?
Do you know who {N} {D} first?
""",
    validation="""
Tell me who {N} {D} first.
""",
    test="""
Can you tell me who {N} {D} first?
""",
)

ASK_LAST = sides(
    train="""
Who did {N} {R} last?
Do you know who {N} {D} last?
""",
    validation="""
Tell me who {N} {D} last.
""",
    test="""
Can you tell me who {N} {D} last?
""",
)

TABLES = (
    *(TELL, TELL_THING, TELL_NAME, CHANGE, CHANGE_THING),
    *(ASK, ASK_WHAT, ASK_NAME, ASK_WHO, LOG),
    *(ADD, ASK_LIST, ASK_COUNT, DEED, ASK_FIRST, ASK_LAST),
)
