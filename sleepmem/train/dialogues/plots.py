"""The kinds of memory: what is told for each, in which order, and what is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sleepmem.train.dialogues import relations, wordings
from sleepmem.train.dialogues.entities import PEOPLE, draw
from sleepmem.train.dialogues.speech import SELF, Fact, Subject, answered, applied
from sleepmem.train.dialogues.world import World

KINDS = (
    *("single", "changed", "code", "two_hop", "three_hop", "several", "list", "order"),
    *("preference", "interference", "repeated", "tool", "project", "abstain", "apart"),
)  # of probes; answers are counted by the place in here


def single(world: World) -> None:
    """One fact."""
    fact = world.fact()
    world.tell(fact)
    world.ask("single", *fact)


def code(world: World) -> None:
    """A code, to be said letter by letter."""
    fact = world.fact(relations.CODES)
    world.tell(fact)
    world.ask("code", *fact)


def changed(world: World) -> None:
    """A fact and what becomes of it; the last value holds."""
    fact = world.fact()
    world.tell(fact)
    for _ in range(world.rng.choice((1, 1, 1, 2))):
        fact = world.other(fact)
        world.tell(fact, is_change=True)
    world.ask("changed", *fact)


def repeated(world: World) -> None:
    """A fact told two or three times."""
    fact = world.fact()
    for _ in range(world.rng.choice((2, 2, 3))):
        world.tell(fact)
    world.ask("repeated", *fact)


def several(world: World) -> None:
    """Four facts about one person."""
    subject = world.subject()
    for _ in range(4):
        fact = world.fact(subject=subject)
        world.tell(fact)
        world.ask("several", *fact)


def interference(world: World) -> None:
    """The same of four people."""
    relation = world.rng.choice(world.relations)
    for _ in range(4):
        fact = world.fact((relation,))
        world.tell(fact)
        world.ask("interference", *fact)


def preference(world: World) -> None:
    """What somebody likes, to be applied to a request."""
    fact = world.fact(relations.FAVOURITES)
    world.tell(fact)
    request = applied(world.rng, world.split, fact.subject, fact.relation)
    world.probe("preference", request, answered(fact.value))


def two_hop(world: World) -> None:
    """Somebody's boss, and where that boss lives; told in one message, in any order."""
    chain, question = _chain(world, 1)
    world.tell(*world.rng.sample(chain, len(chain)))
    _ask_of(world, "two_hop", chain, question)


def three_hop(world: World) -> None:
    """Where the boss of somebody's sister lives; told in one message, in any order."""
    chain, question = _chain(world, 2)
    world.tell(*world.rng.sample(chain, len(chain)))
    _ask_of(world, "three_hop", chain, question)


def apart(world: World) -> None:
    """Two or three hops, told one by one between other things, so often over several sleeps."""
    chain, question = _chain(world, world.rng.choice((1, 1, 2)))
    for fact in world.rng.sample(chain, len(chain)):
        world.tell(fact)
    _ask_of(world, "apart", chain, question)


def _chain(world: World, n_relatives: int) -> tuple[list[Fact], Fact]:
    """Draw facts of which each is about whom the one before names, and what follows from them."""
    chain = [world.fact(relations.PEOPLE)]
    for _ in range(n_relatives - 1):
        chain.append(world.fact(relations.PEOPLE, Subject(chain[-1].value)))
    plain = tuple(relation for relation in world.relations if relation.value not in PEOPLE)
    last = world.fact(plain or relations.HABITS, Subject(chain[-1].value))
    relative = chain[0].subject
    for link in chain:
        relative = relative.relative(link.relation)
        world.say_of(relative, last.relation)  # so that no other plot tells it of "my sister"
    return [*chain, last], last._replace(subject=relative)


def _ask_of(world: World, kind: str, chain: list[Fact], question: Fact) -> None:
    world.ask(kind, *question)
    world.ask("single", *world.rng.choice(chain))


def listed(world: World) -> None:
    """Things put on a list one by one: all of them in order, and how many."""
    fact = world.fact(relations.LISTS)
    values: list[str] = []
    for _ in range(world.rng.randint(1, 4)):
        while fact.value in values:
            fact = world.other(fact)
        values.append(fact.value)
        world.tell_as(wordings.ADD, fact)
    if world.rng.random() < 0.5:
        world.probe("list", world.worded(wordings.ASK_LIST, fact), answered(", ".join(values)))
    else:
        world.probe("list", world.worded(wordings.ASK_COUNT, fact), answered(str(len(values))))


def order(world: World) -> None:
    """The same done with two or three people: with whom first, with whom last."""
    fact = first = world.fact(relations.DEEDS)
    world.tell_as(wordings.DEED, fact)
    for _ in range(world.rng.choice((1, 1, 2))):
        fact = world.other(fact)
        world.tell_as(wordings.DEED, fact)
    if world.rng.random() < 0.5:
        world.probe("order", world.worded(wordings.ASK_FIRST, fact), answered(first.value))
    else:
        world.probe("order", world.worded(wordings.ASK_LAST, fact), answered(fact.value))


def tool(world: World) -> None:
    """Something that a tool printed about a ticket, a job or a build."""
    name = world.rng.choice(("ticket", "job", "build", "file"))
    value = draw(world.rng, "file" if name == "file" else "number", world.split)
    fact = world.fact(relations.OF_TOOLS, Subject(f"{name} {value}", is_tool=True))
    world.tell(fact)
    world.ask("tool", *fact)


def project(world: World) -> None:
    """Two facts about a project."""
    name = Subject(f"project {draw(world.rng, 'codename', world.split)}")
    for _ in range(2):
        fact = world.fact(relations.OF_PROJECTS, name)
        world.tell(fact)
        world.ask("project", *fact)


def never_said(world: World) -> None:
    """Ask of somebody what was told of others only, if there is such a thing."""
    nouns = {noun for _, noun in world.said}
    told = [relation for relation in relations.OF_PEOPLE if relation.noun in nouns]
    told_of = {name for name, _ in world.said}
    relatives = [
        SELF.relative(r).name for r in relations.PEOPLE if (SELF.name, r.noun) in world.unnamed
    ]
    people = [Subject(n) for n in (SELF.name, *world.names, *relatives) if n in told_of]
    pairs = [(p, r) for p in people for r in told if (p.name, r.noun) not in world.said]
    if pairs:
        world.ask_unknown(*world.rng.choice(pairs))


class Plot(NamedTuple):
    """A kind of memory.

    Attributes:
        weight: how often it is drawn.
        most: statements that it takes at most.
    """

    tell: Callable[[World], None]
    weight: int
    most: int


PLOTS = {
    "single": Plot(single, 6, 1),
    "code": Plot(code, 3, 1),
    "changed": Plot(changed, 4, 3),
    "several": Plot(several, 1, 4),
    "interference": Plot(interference, 1, 4),
    "preference": Plot(preference, 2, 1),
    "two_hop": Plot(two_hop, 2, 1),
    "three_hop": Plot(three_hop, 1, 1),
    "apart": Plot(apart, 1, 3),
    "list": Plot(listed, 1, 4),
    "order": Plot(order, 1, 3),
    "repeated": Plot(repeated, 1, 3),
    "tool": Plot(tool, 1, 1),
    "project": Plot(project, 1, 2),
}
