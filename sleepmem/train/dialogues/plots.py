"""The kinds of memory: what is told for each, in which order, and what is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sleepmem.train.dialogues import relations, wordings
from sleepmem.train.dialogues.entities import PEOPLE, draw
from sleepmem.train.dialogues.relations import Relation
from sleepmem.train.dialogues.speech import SELF, Fact, Subject, answered, applied
from sleepmem.train.dialogues.world import World

KINDS = (
    *("single", "changed", "code", "two_hop", "three_hop", "several", "list", "order"),
    *("preference", "interference", "repeated", "tool", "project", "abstain", "apart"),
    *("link", "relative"),
)  # of probes; answers are counted by the place in here
N_CHAINS, N_APART = 3, 2  # alike, told at once and one by one


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
    """Whose boss is who, and where those bosses live, of three; in one message."""
    _told_at_once(world, "two_hop", 1)


def three_hop(world: World) -> None:
    """Where the bosses of three people's sisters live; in one message."""
    _told_at_once(world, "three_hop", 2)


def apart(world: World) -> None:
    """Two or three hops, told one by one between others, so often over several sleeps."""
    chains, questions = _alike(world, N_APART, world.rng.choice((1, 1, 2)))
    facts = [fact for chain in chains for fact in chain]
    for fact in world.rng.sample(facts, len(facts)):
        world.tell(fact)
    _ask_of(world, "apart", chains, questions)


def relatives(world: World) -> None:
    """The same of three people's sisters, whose names nobody tells."""
    link, last = world.rng.choice(relations.PEOPLE), _of_no_person(world)
    facts: list[Fact] = []
    while len(facts) < N_CHAINS:
        whose = Subject(world.entity("person"))
        if world.is_unsaid(whose, link):
            world.unnamed.add((whose.name, link.noun))
            facts.append(world.fact((last,), whose.relative(link)))
    for told in [facts] if world.rng.random() < 0.5 else [[fact] for fact in facts]:
        world.tell(*told)
    for fact in facts:
        world.ask("relative", *fact)


def _told_at_once(world: World, kind: str, n_relatives: int) -> None:
    """Tell three chains of the same relations, shuffled, each from its beginning."""
    chains, questions = _alike(world, N_CHAINS, n_relatives)
    turns = [turn for turn, chain in enumerate(chains) for _ in chain]
    world.rng.shuffle(turns)
    left = [iter(chain) for chain in chains]
    world.tell(*(next(left[turn]) for turn in turns))
    _ask_of(world, kind, chains, questions)


def _alike(world: World, n_chains: int, n_relatives: int) -> tuple[list[list[Fact]], list[Fact]]:
    """Draw chains of facts, each about whom the one before names, and what follows from each.

    All have the same relations, so nothing but the people tells one's end from another's.
    """
    links = [world.rng.choice(relations.PEOPLE) for _ in range(n_relatives)]
    last = _of_no_person(world)
    chains, questions, used = list[list[Fact]](), list[Fact](), set[str]()
    for _ in range(n_chains):
        chain, who = list[Fact](), _somebody_else(world, links[0], used)
        used.add(who.name)
        for link in (*links, last):
            fact = world.fact((link,), who)
            while fact.value in used:
                fact = world.other(fact)
            used.add(fact.value)
            chain.append(fact)
            who = Subject(fact.value)
        relative = chain[0].subject
        for link in links:
            relative = relative.relative(link)
            world.say_of(relative, last)  # so that no other plot tells it of "my sister"
        chains.append(chain)
        questions.append(chain[-1]._replace(subject=relative))
    return chains, questions


def _somebody_else(world: World, relation: Relation, used: Collection[str]) -> Subject:
    """Draw somebody who is not yet in a chain, and of whom a relation may be told."""
    while True:
        who = world.subject()
        if who.name not in used and world.is_unsaid(who, relation):
            return who
        world.names.append(world.entity("person"))


def _of_no_person(world: World) -> Relation:
    """Draw a relation whose value is not somebody."""
    plain = [relation for relation in world.relations if relation.value not in PEOPLE]
    return world.rng.choice(plain or relations.HABITS)


def _ask_of(
    world: World, kind: str, chains: Sequence[Sequence[Fact]], questions: Sequence[Fact]
) -> None:
    for question in questions:
        world.ask(kind, *question)
    world.ask("link", *world.rng.choice(world.rng.choice(chains)))


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
        most: facts that it tells at most.
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
    "two_hop": Plot(two_hop, 2, 2 * N_CHAINS),
    "three_hop": Plot(three_hop, 2, 3 * N_CHAINS),
    "relatives": Plot(relatives, 1, N_CHAINS),
    "apart": Plot(apart, 1, 3 * N_APART),
    "list": Plot(listed, 1, 4),
    "order": Plot(order, 1, 3),
    "repeated": Plot(repeated, 1, 3),
    "tool": Plot(tool, 1, 1),
    "project": Plot(project, 1, 2),
}
