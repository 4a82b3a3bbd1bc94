"""Everyday talk over many windows, slept on, then questions; see `sleepmem.train.dialogues`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

from pydantic import Field, PositiveInt
from tokenizers import Tokenizer

from sleepmem.train.dialogues.chatter import NOTED, small_talk, system_prompt
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Life, Line, Load, draw_cuts, draw_life, draw_world
from sleepmem.train.dialogues.plots import KINDS, PLOTS
from sleepmem.train.dialogues.relations import OF_PEOPLE
from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.tasks import Batch
from sleepmem.train.tasks.dialogue_hints import hint_of
from sleepmem.train.tasks.dialogue_rows import Row, labelled, single_pieces, told, with_questions
from sleepmem.types import Role, Value

FLAT = ("single", "code", "changed", "interference", "several", "repeated", "preference")
SHORT = Load(4, 4, ("single",), n_relations=1, sentences=0.0, in_pieces=1.0, chatter=0, abstain=0)

STAGES = (  # in the long ones `DialoguesTask.untold` says what is never told
    SHORT,
    SHORT._replace(n_relations=2, sentences=0.2, in_pieces=0.6),
    SHORT._replace(n_relations=4, sentences=0.5, in_pieces=0.4, abstain=0.1),
    SHORT._replace(n_facts=6, kinds=("single", "code", "changed"), n_relations=8,
                   sentences=0.7, in_pieces=0.3, abstain=0.1),
    Load(8, 5, FLAT, n_relations=20, sentences=0.85, in_pieces=0.2),
    Load(10, 6, in_pieces=0.1, sentences=0.9),
    Load(16, 8, in_pieces=0.05, sentences=0.95),
    Load(24, 12, n_people=12, in_pieces=0.05, sentences=0.95),
)  # fmt: skip
# Names are learned while nothing else tells facts apart, or not at all: where what is said does,
# they are left out of the keys, and then no gradient brings them back.
NAMED = 0.5  # share of the batches in which the same few things are said of several people
ALIKE = ("single", "code", "changed", "interference")  # kinds of memory in them
# Who is whose boss can only be followed once names are known. Then a sleep of several passes may
# learn to do it; it begins with little else to remember, and some of it in shorthand.
CHAIN_KINDS = ("two_hop", "three_hop", "three_hop", "relatives")  # that are drawn from then
HELD_OUT = Load(16, 8)
ONE = Load(1, 1, ("single",), n_people=1, abstain=0)
N_LONG = 2  # stages at the end in which lives may be long, and windows full


class DialoguesTask(Value):
    """See the module.

    Attributes:
        questions: asked of each life.
        chained: percent of the batches, in the stages of long lives, in which chains are told.
        untold: percent, about, of the questions on lives of those stages whose answer was never
            told; a seventh is then asked of something said awake.
    """

    questions: PositiveInt = 16
    chained: int = Field(default=15, ge=0, le=100)
    untold: int = Field(default=5, ge=0, lt=100)

    @property
    def name(self) -> str:
        return "dialogues"

    @property
    def window(self) -> int:
        return 512

    @property
    def vocab_size(self) -> int:
        return int(tokenizer().get_vocab_size())

    @property
    def n_stages(self) -> int:
        return len(STAGES)

    def tokenizer(self) -> Tokenizer:
        return tokenizer()

    def batch(self, rng: Random, size: int, stage: int) -> Batch:
        load, times = drawn_load(rng, stage, self.chained / 100, self.untold / 100)
        return self.lives(rng, size * times, load, Split.TRAIN)

    def held_out(self, rng: Random, size: int) -> Batch:
        return self.lives(rng, size, HELD_OUT, Split.VALIDATION)

    def lives(self, rng: Random, size: int, load: Load, split: Split) -> Batch:
        """Draw lives of one load, cut into episodes at the same places."""
        cuts = draw_cuts(rng, load)
        lives = [draw_life(rng, split, load, cuts, single_pieces()) for _ in range(size)]
        n_rows = min(self.questions, 2 * load.n_facts)
        rows = [[self._row(rng, life, load, split) for _ in range(n_rows)] for life in lives]
        batch = with_questions(told(lives, self.window), rows)
        return replace(batch, hint=partial(hint_of, lives, self.window))

    def _row(self, rng: Random, life: Life, load: Load, split: Split) -> Row:
        """Draw a question on a life; in training, now and then something else said awake."""
        probe = rng.choice(life.asked).probe
        question = Line(Role.USER, probe.question)
        kind = rng.random() if split is Split.TRAIN and load.sentences > 0.5 else 1.0
        if kind < 0.04:
            said, heard = small_talk(rng, split)
            return labelled([Line(Role.USER, said)], heard, -1)
        if kind < 0.14:  # told awake: noted, or asked for while it is in the KV cache
            world = draw_world(rng, split, ONE)
            news = Line(Role.USER, world.statements[0].text)
            if kind < 0.08:
                return labelled([news], NOTED, -1)
            asked = Line(Role.USER, world.probes[0].question)
            noted = Line(Role.ASSISTANT, NOTED)
            return labelled([news, noted, asked], world.probes[0].answer, -1)
        before = [Line(Role.SYSTEM, system_prompt(rng, split))] if kind < 0.24 else []
        return labelled([*before, question], probe.answer, KINDS.index(probe.kind))


def drawn_load(rng: Random, stage: int, chained: float, untold: float) -> tuple[Load, int]:
    """Draw what the lives of a batch hold, and how many times more of them there are.

    Small ones are more, so that all batches are of about equal work.

    Args:
        chained: share of the batches, in the stages of long lives, in which chains are told.
        untold: share of the questions, in lives of those stages, whose answer was never told.
    """
    is_last = stage >= len(STAGES) - N_LONG
    if is_last and rng.random() < chained:
        load, times = _drawn_chains(rng)
        return load._replace(abstain=untold), times
    if stage and rng.random() < 0.15:  # what was learned earlier stays
        stage = rng.randrange(stage)
    load = STAGES[stage]
    if stage >= len(STAGES) - N_LONG:
        load = load._replace(abstain=untold)
    times = max(1, min(6, 16 // load.n_facts))
    n_facts = rng.randint((load.n_facts + 1) // 2, load.n_facts)
    n_episodes = rng.randint((load.n_episodes + 1) // 2, min(load.n_episodes, n_facts))
    n_relations = rng.randint(1 + load.n_relations // 8, load.n_relations)
    if rng.random() < NAMED:
        n_relations = rng.randint(1, 2)
        kinds = tuple(kind for kind in ALIKE if kind in load.kinds)
        load = load._replace(kinds=kinds, of_self=0.1, of_relatives=0.05)
    load = load._replace(n_facts=n_facts, n_episodes=n_episodes, n_relations=n_relations)
    if is_last and (kind := rng.random()) < 0.12:
        if kind < 0.04:
            load = load._replace(n_episodes=rng.choice((32, 64)))
        else:  # a few windows, full to the brim
            load = load._replace(n_episodes=-(-n_facts // 12), chatter=0.7)
    return load, times


def _drawn_chains(rng: Random) -> tuple[Load, int]:
    kind, n_plots = rng.choice(CHAIN_KINDS), rng.choice((1, 1, 2))
    load = Load(
        n_facts=n_plots * PLOTS[kind].most,
        n_episodes=rng.randint(1, n_plots),
        kinds=(kind,),
        n_relations=rng.choice((4, 12, len(OF_PEOPLE))),
        sentences=rng.choice((0.0, 0.5, 1.0, 1.0)),
    )
    return load, 2
