"""How facts are told and asked for, by side of the split. A side's wordings are on no other side.

Held-out wordings use words that training reads elsewhere; it is their order that is new. These
tables fit any relation; `relations` has more that fit only one.

Slots of a wording:

    {P}    possessor: "Maria's", "my", "my sister's"
    {N}    the subject by itself: "Maria", "I", "my sister"
    {R}    what is said of it: "dog"
    {V}    its value, and {A} the article that fits it
    {D}    the past of a deed: "called"
    [a|b]  the verb for another person or for oneself
"""

from __future__ import annotations

import re

from sleepmem.train.dialogues.entities import Split

SLOT = re.compile(r"\{[A-Z]\}")
VERB = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")

Sides = dict[Split, tuple[str, ...]]


def sides(train: str, validation: str, test: str) -> Sides:
    """Return wordings by side, one to a line."""
    texts = {Split.TRAIN: train, Split.VALIDATION: validation, Split.TEST: test}
    return {split: tuple(text.strip().splitlines()) for split, text in texts.items()}


TELL = sides(
    train="""
{P} {R} is {V}.
{P} {R} is {V}.
{P} {R} is called {V}.
{P} {R}: {V}.
Please remember that {P} {R} is {V}.
By the way, {P} {R} is {V}.
As for {P} {R}, it is {V}.
You should know that {P} {R} is {V}.
I want you to know that {P} {R} is {V}.
Just for the record, {P} {R} is {V}.
It turns out that {P} {R} is {V}.
In case you need it, {P} {R} is {V}.
Regarding {P} {R}, it is {V}.
If anyone asks, {P} {R} is {V}.
When it comes to {P} {R}, the answer is {V}.
I think I never told you: {P} {R} is {V}.
One more thing, {P} {R} is {V}.
{P} {R} has always been {V}.
Note that {V} is {P} {R}.
You should know that {V} is {P} {R}.
{V} is {P} {R}.
I was asked about {P} {R} and it is {V}.
For later: {P} {R} is {V}.
Keep in mind that {P} {R} is {V}.
""",
    validation="""
Remember for later that {P} {R} is {V}.
I should note that {P} {R} is {V}.
{P} {R}, in case anyone asks, is {V}.
As you should know, {P} {R} is {V}.
""",
    test="""
Just so you know, {P} {R} is {V}.
About {P} {R}: it is {V}.
Please note that {P} {R} is {V}.
I never told you that {P} {R} is {V}.
{P} {R}, by the way, is {V}.
Keep in mind for later that {P} {R} is called {V}.
""",
)

CHANGE = sides(
    train="""
Actually, {P} {R} is {V} now.
Actually, {P} {R} is {V}.
{P} {R} has changed to {V}.
{P} {R} is now {V}.
No, I was wrong, {P} {R} is {V}.
Correction: {P} {R} is {V}.
Sorry, {P} {R} is {V} and not what I said before.
Things have changed: {P} {R} is {V} now.
Forget what I said before, {P} {R} is {V}.
From today on {P} {R} is {V}.
I changed my mind, {P} {R} is {V}.
It is different now, {P} {R} is {V}.
""",
    validation="""
Sorry, I was wrong: {P} {R} is {V} now.
From now on {P} {R} is {V}.
""",
    test="""
I was wrong before, {P} {R} is {V}.
{P} {R} has changed, it is {V} now.
Forget what I said about {P} {R}, it is {V} now.
Actually, from today on {P} {R} is {V}.
""",
)

ASK = sides(
    train="""
What is {P} {R}?
What is {P} {R}?
Tell me {P} {R}.
Do you know {P} {R}?
Do you remember {P} {R}?
Can you tell me what {P} {R} is?
Remind me, what is {P} {R}?
What was {P} {R} again?
I forgot {P} {R}, what is it?
{P} {R}?
And what is {P} {R}?
Please tell me {P} {R}.
What did I say about {P} {R}?
I need to know {P} {R}.
What do you know about {P} {R}?
What is {P} {R} called?
""",
    validation="""
Please remind me, what is {P} {R}?
Do you remember what {P} {R} is?
I need {P} {R}, what is it?
""",
    test="""
Can you remind me what {P} {R} is?
Do you know what {P} {R} is called?
What was it again, {P} {R}?
I forgot, what is {P} {R}?
""",
)

ASK_WHO = sides(
    train="""
Who is {P} {R}?
Who is {P} {R}?
Do you know who {P} {R} is?
Tell me who {P} {R} is.
Who was {P} {R} again?
""",
    validation="""
Remind me, who is {P} {R}?
""",
    test="""
Can you tell me who {P} {R} is?
Do you remember who {P} {R} is?
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
    *(TELL, CHANGE, ASK, ASK_WHO, LOG),
    *(ADD, ASK_LIST, ASK_COUNT, DEED, ASK_FIRST, ASK_LAST),
)
