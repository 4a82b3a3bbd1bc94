"""Grammars for the wordings that only one relation has: "Maria lives in Oslo."

Most of these tables are a few sentences long, and what was learned of those few did not carry over
to another order of their words. A held-out wording is in none of the lists, not even as a core that
tells, so that what is held out stays new.
"""

from __future__ import annotations

from typing import NamedTuple


class Cores(NamedTuple):
    """What a relation is told and asked for with.

    Attributes:
        tell: behind a stem, or alone as a sentence.
        ask: behind a stem ("Tell me where Maria lives.").
        question: alone, with a question mark.
        request: alone, for something that cannot be done without knowing.
    """

    tell: tuple[str, ...]
    ask: tuple[str, ...]
    question: tuple[str, ...]
    request: tuple[str, ...] = ()


def cores(tell: str, ask: str, question: str) -> Cores:
    """Return cores, one to a line."""
    return Cores(*(tuple(text.strip().splitlines()) for text in (tell, ask, question)))


PET = cores(
    """
{N} [has|have] a {R} named {V}
{N} [has|have] a {R} with the name {V}
{N} [has|have] one {R}, named {V}
{N} [has|have] a {R} and the name is {V}
{V} is the {R} {N} [has|have]
{P} {R} is named {V}
the {R} that {N} [has|have] is {V}
the {R} {N} [has|have] is called {V}
the name {P} {R} has is {V}
it is {V} that {P} {R} is called
""",
    """
which {R} {N} [has|have]
what {P} {R} is named
how {P} {R} is called
what the {R} that {N} [has|have] is called
""",
    """
Which {R} is it that {N} [has|have]
What is the {R} of {N} called
How is {P} {R} called
How is {P} {R} named
What was the {R} {N} [has|have] called
And which {R} [does|do] {N} have
""",
)

CORES = {
    "favourite drink": cores(
        """
{N} [likes|like] to drink {V}
{N} [drinks|drink] {V}
{N} [drinks|drink] {V} most of all
{N} always [has|have] {V} to drink
{N} [loves|love] to have {V} to drink
{V} is what {N} [drinks|drink]
{V} is the drink that {N} [likes|like] most
{V} is what {N} [loves|love] to drink
what {N} [loves|love] to drink is {V}
the drink {N} [loves|love] is {V}
the drink to order for {N} is {V}
""",
        """
what {N} [drinks|drink]
what {N} [likes|like] to drink
which drink {N} [likes|like] best
which drink I should order for {N}
what I should bring {N} to drink
what {N} would drink
""",
        """
Which drink would {N} like
Which drink should I bring {N}
What would {N} drink now
What [does|do] {N} love to drink
What drink [does|do] {N} like most
Which drink would be best for {N}
Which drink would {N} order
""",
    ),
    "favourite food": cores(
        """
{N} [likes|like] to eat {V}
{N} [loves|love] {V} for dinner
{N} [likes|like] {V} for dinner
{N} always [has|have] {V} for dinner
{V} is what {N} [has|have] for dinner
{V} is the food that {N} [loves|love]
what {N} [loves|love] to eat is {V}
for dinner {N} [likes|like] {V} most
the best dinner for {N} is {V}
the food to cook for {N} is {V}
""",
        """
what {N} [likes|like] to eat
which food {N} [likes|like] best
what I should cook for {N}
what {N} would eat
what {N} [has|have] for dinner
which food I should order for {N}
""",
        """
Which food would {N} like
What would {N} eat
What [does|do] {N} love to eat
What [does|do] {N} have for dinner
What food should I bring {N}
What should I cook for {N} today
Which food would be best for {N}
""",
    ),
    "favourite colour": cores(
        """
{N} [likes|like] the colour {V}
{N} [likes|like] the colour {V} most
{N} [likes|like] {V} best of all colours
{V} is the colour {N} [likes|like] best
{V} is the colour that {N} [loves|love]
of all colours {N} [loves|love] {V} most
the colour {N} always [likes|like] is {V}
the best of all colours for {N} is {V}
the colour of {P} room should be {V}
""",
        """
which colour {N} [likes|like] best
which colour {N} [loves|love] most
which colour I should paint {P} room
which colour would be best for {P} room
what colour {N} [likes|like]
""",
        """
What colour [does|do] {N} like
Which colour [does|do] {N} love most
Which colour should {P} room be
What colour would be best for {P} room
Which of all colours [does|do] {N} like best
What colour should I paint for {N}
""",
    ),
    "hobby": cores(
        """
{N} [enjoys|enjoy] {V}
{N} [likes|like] {V}
{N} always [enjoys|enjoy] {V}
{N} [likes|like] {V} most of all
{N} [has|have] a hobby: {V}
{V} is what {N} [likes|like] to do
{V} is the hobby that {N} [has|have]
{V} is what {N} [loves|love]
what {N} [loves|love] most is {V}
what {N} [enjoys|enjoy] is {V}
the hobby {N} [has|have] is {V}
in the evening {N} [likes|like] {V}
{N} always [loves|love] {V}
what {N} [loves|love] in the evening is {V}
in the evening it is {V} that {N} [enjoys|enjoy]
""",
        """
what {N} [enjoys|enjoy]
what {N} [likes|like] to do
which hobby {N} [has|have]
what {N} [loves|love] most
what {N} would like to do
""",
        """
What would {N} like to do
What [does|do] {N} enjoy most
What [does|do] {N} love to do
What hobby [does|do] {N} have
Which hobby would {N} enjoy
What is it that {N} [enjoys|enjoy]
In the evening, what [does|do] {N} like to do
""",
    ),
    "dog": PET,
    "cat": PET,
    "city": cores(
        """
{N} [lives|live] in {V}
{N} [lives|live] in {V} now
{N} [is|am] living in {V}
{N} [has|have] a home in {V}
{N} [lives|live] in a city called {V}
{P} home is in {V}
{V} is where {N} [lives|live]
{V} is the place where {N} [lives|live]
{V} is the city that {N} [lives|live] in
it is in {V} that {N} [lives|live]
the city {N} [has|have] moved to is {V}
the name of the place where {N} [lives|live] is {V}
{N} [has|have] moved to a city, {V}
{N} [has|have] moved to the town of {V}
{N} [lives|live] in the town of {V}
the town {N} [lives|live] in is {V}
{N} [lives|live] in a place with the name {V}
""",
        """
where {N} [lives|live]
which city {N} [lives|live] in
in which city {N} [lives|live]
where {P} home is
where {N} [has|have] moved to
""",
        """
What city [does|do] {N} live in
In which city [does|do] {N} live
Where is {P} home
Where [does|do] {N} live now
Where is {N} living
Where was it that {N} [lives|live]
What is the city called where {N} [lives|live]
""",
    ),
    "job": cores(
        """
{N} [works|work] as {A} {V}
{N} [is|am] {A} {V}
{N} [is|am] now {A} {V}
{N} [is|am] {A} {V} by trade
{N} [has|have] a job as {A} {V}
{P} work is that of {A} {V}
by trade {N} [is|am] {A} {V}
what {N} [is|am] by trade is {A} {V}
for a living {N} [works|work] as {A} {V}
""",
        """
what {N} [works|work] as
what {N} [does|do] for a living
which job {N} [has|have]
what {N} [is|am] by trade
what {P} work is
""",
        """
What job [does|do] {N} have
What [does|do] {N} do for work
What [is|am] {N} by trade
What is {P} trade
What is the work that {N} [does|do]
""",
    ),
    "company": cores(
        """
{N} [works|work] for {V}
{N} [works|work] at {V}
{N} [works|work] for a company called {V}
{N} [has|have] a job at {V}
{P} job is at {V}
{V} is where {N} [works|work]
{V} is the company that {N} [works|work] for
{V} is the company where {N} [works|work]
it is {V} that {N} [works|work] for
the name of the company {N} [works|work] for is {V}
""",
        """
which company {N} [works|work] for
who {N} [works|work] for
where {N} [works|work]
at which company {N} [works|work]
what company {N} [works|work] for
""",
        """
What company [does|do] {N} work for
At which company [does|do] {N} work
Where is {P} job
Which company is it that {N} [works|work] for
What is the company called where {N} [works|work]
""",
    ),
    "instrument": cores(
        """
{N} [plays|play] the {V}
{N} [loves|love] to play the {V}
{N} [enjoys|enjoy] the {V}
at home {N} [plays|play] the {V}
in the evening {N} [plays|play] the {V}
{V} is what {N} [plays|play]
{V} is the instrument {N} [plays|play]
the instrument {N} [plays|play] is the {V}
what {N} [plays|play] is the {V}
""",
        """
which instrument {N} [plays|play]
what {N} [plays|play]
what {N} [likes|like] to play
which instrument {N} [loves|love] to play
""",
        """
What instrument [does|do] {N} play
Which instrument is it that {N} [plays|play]
What [does|do] {N} love to play
Which instrument [does|do] {N} like to play
""",
    ),
    "language": cores(
        """
{N} [speaks|speak] {V}
{N} [speaks|speak] {V} at home
{N} always [speaks|speak] {V} at home
at home {N} [speaks|speak] {V}
at home it is always {V} for {N}
{V} is the language {N} [speaks|speak]
what {N} [speaks|speak] at home is {V}
what {N} [speaks|speak] is {V}
{V} is what {N} always [speaks|speak]
it is {V} that {N} [speaks|speak] at home
the language of {N} is {V}
the language that {N} [speaks|speak] at home is {V}
""",
        """
which language {N} [speaks|speak]
what {N} [speaks|speak] at home
in which language {N} [speaks|speak]
what language {N} [speaks|speak]
""",
        """
What language [does|do] {N} speak
What [does|do] {N} speak
In which language [does|do] {N} speak
At home, what [does|do] {N} speak
Which language is it that {N} [speaks|speak]
What language [does|do] {N} speak at home
""",
    ),
    "birthday": cores(
        """
{N} was born on {V}
{P} birthday is on {V}
{V} is when {N} was born
{V} is {P} birthday
on {V} {N} was born
it was on {V} that {N} was born
it is on {V}, {P} birthday
the date of {P} birthday is {V}
""",
        """
when {N} was born
when {P} birthday is
on which day {N} was born
on which date {P} birthday is
""",
        """
Which day was {N} born on
Which date was {N} born on
Which day is {P} birthday on
Which day is {P} birthday
What day was {N} born
""",
    ),
}
