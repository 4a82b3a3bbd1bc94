"""A life: what is told, episode by episode, and what is asked in the end. Knows no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple

from sleepmem.train.dialogues import relations
from sleepmem.train.dialogues.chains import Mention
from sleepmem.train.dialogues.chatter import reply, small_talk
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.plots import PLOTS, never_said
from sleepmem.train.dialogues.world import NothingLeft, Probe, Statement, World
from sleepmem.types import Role

REPLIED = 0.9  # share of the statements that get a reply


class Line(NamedTuple):
    """A message of a dialogue.

    Attributes:
        mentions: whom it calls by a name that it explains.
    """

    role: Role
    text: str
    mentions: tuple[Mention, ...] = ()


class Load(NamedTuple):
    """How much a life holds, and in which words.

    Attributes:
        n_facts: that are told, each in a message of its own or several in one.
        n_episodes: that they are told over; an episode without one holds small talk.
        kinds: of memory, names in `PLOTS`.
        n_relations: different things that are said of people.
        n_people: of whom they are said at first; more come when all is said of them.
        sentences: share of whole sentences instead of shorthand ("Maria dog Rex").
        in_pieces: share of names and values that are a single token, for a start.
        of_self, of_relatives: see `World`.
        chatter: small talk for each statement.
        abstain: share of the questions whose answer was never told.
    """

    n_facts: int
    n_episodes: int
    kinds: tuple[str, ...] = tuple(PLOTS)
    n_relations: int = len(relations.OF_PEOPLE)
    n_people: int = 8
    sentences: float = 1.0
    in_pieces: float = 0.0
    of_self: float = 0.25
    of_relatives: float = 0.15
    chatter: float = 0.15
    abstain: float = 0.15


class Asked(NamedTuple):
    """A probe of a life.

    Attributes:
        episode: in which the last statement was told that it rests on, from 0; -1 if never told.
    """

    probe: Probe
    episode: int


@dataclass(frozen=True)
class Life:
    """Episodes oldest first, and the questions, in no order."""

    episodes: Sequence[Sequence[Line]]
    asked: Sequence[Asked]


def draw_life(
    rng: Random, split: Split, load: Load, cuts: Sequence[int], pieces: Sequence[str] = ()
) -> Life:
    """Draw a life.

    Args:
        cuts: `load.n_episodes` - 1 places, in order, in 0 .. `load.n_facts`; see `draw_cuts`.
        pieces: see `World`.
    """
    world = draw_world(rng, split, load, pieces)
    order = _interleaved(rng, world.statements)
    bounds = [0, *_bounds(order, cuts), len(order)]
    episodes: list[list[Line]] = []
    told_in: dict[int, int] = {}  # last episode of each plot
    for number, (start, stop) in enumerate(pairwise(bounds)):
        episodes.append(_lines(rng, split, order[start:stop], load.chatter))
        told_in |= {statement.plot: number for statement in order[start:stop]}
    asked = [
        Asked(probe, -1 if probe.plot is None else told_in[probe.plot]) for probe in world.probes
    ]
    return Life(episodes, asked)


def draw_cuts(rng: Random, load: Load) -> list[int]:
    """Draw after how many facts episodes end; ragged, and empty ones only if there are fewer."""
    n, places = load.n_episodes - 1, range(1, load.n_facts)
    if n <= len(places):
        return sorted(rng.sample(places, n))
    return sorted(rng.choices(range(load.n_facts + 1), k=n))


def _bounds(order: Sequence[Statement], cuts: Sequence[int]) -> list[int]:
    """Return the statement that each episode but the first begins with: the first one at its cut.

    A message of several facts may span cuts. Episodes are then moved by a statement, so that none
    is empty that would not be if each fact had a message of its own, while there are enough.
    """
    facts_before = [*accumulate((statement.n_facts for statement in order), initial=0)]
    bounds, begun, last_cut = list[int](), 0, 0
    for n, cut in enumerate(cuts):
        n_later = len({later for later in cuts[n:] if later < facts_before[-1]})
        if last_cut < cut < facts_before[-1]:
            latest = max(begun, len(order) - n_later)
            begun = min(latest, max(bisect_left(facts_before, cut), begun + 1))
        elif cut > last_cut:
            begun = len(order)
        bounds.append(begun)
        last_cut = cut
    return bounds


def draw_world(rng: Random, split: Split, load: Load, pieces: Sequence[str] = ()) -> World:
    """Draw `n_facts` facts of the kinds, and questions on all of them.

    Args:
        pieces: see `World`.

    Raises:
        ValueError: so few facts are left that none of the kinds has so few.
    """
    among = tuple(rng.sample(relations.OF_PEOPLE, load.n_relations))
    world = World(
        *(rng, split, [], among, load.sentences, pieces, load.in_pieces),
        of_self=load.of_self,
        of_relatives=load.of_relatives,
    )
    world.names = [world.entity("person") for _ in range(load.n_people)]
    while (n_left := load.n_facts - world.n_facts) > 0:
        fitting = [PLOTS[kind] for kind in load.kinds if PLOTS[kind].most <= n_left]
        if not fitting:
            raise ValueError(f"{n_left} of {load.n_facts} facts fit none of {load.kinds}")
        [plot] = rng.choices(fitting, [plot.weight for plot in fitting])
        before = world.known()
        try:
            plot.tell(world)
        except NothingLeft:  # of those whom the plot is about; another one is drawn
            world.forget_since(before)
        world.n_plots += 1
    # so many that they are the asked share of all probes; the fraction is left to chance
    n_unknown = round(load.abstain / (1 - load.abstain) * len(world.probes) + rng.random() - 0.5)
    for _ in range(n_unknown):
        never_said(world)
    return world


def _interleaved(rng: Random, statements: Sequence[Statement]) -> list[Statement]:
    """Shuffle the plots into each other; statements of one plot keep their order."""
    # whose turn it is, shuffled; each turn tells the oldest statement that the plot has left
    plots = [statement.plot for statement in statements]
    rng.shuffle(plots)
    remaining: dict[int, list[Statement]] = {}
    for statement in reversed(statements):
        remaining.setdefault(statement.plot, []).append(statement)
    return [remaining[plot].pop() for plot in plots]


def _lines(
    rng: Random, split: Split, statements: Sequence[Statement], chatter: float
) -> list[Line]:
    lines: list[Line] = []
    for statement in statements:
        role = Role.TOOL if statement.by_tool else Role.USER
        lines.append(Line(role, statement.text, statement.mentions))
        if rng.random() < REPLIED:
            lines.append(Line(Role.ASSISTANT, reply(rng)))
        if rng.random() < chatter:
            lines += _chat(rng, split)
    return lines or _chat(rng, split)


def _chat(rng: Random, split: Split) -> list[Line]:
    said, heard = small_talk(rng, split)
    return [Line(Role.USER, said), Line(Role.ASSISTANT, heard)]
