"""How good a memory the checkpoint is: by kind, age, load and passes, beside its opponents.

Only stored checkpoints are judged, on lives of the test side: wordings and entities that training
never saw. Right is an answer that equals what was told, token for token, full stop and end
included; nothing is normalised. Lives that a person wrote are judged apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sleepmem.bench import DEFAULT_PASSES, Report, Row
from sleepmem.bench.memory.checkpoints import (
    ATTENTION,
    OPPONENTS,
    candidate,
    opponent,
)
from sleepmem.bench.memory.exam import AGES, Exam, aged, mixed
from sleepmem.bench.memory.handwritten import (
    Said,
    handwritten,
    handwritten_lives,
    handwritten_rows,
)
from sleepmem.bench.memory.judged import Answers, Way, answer, blank, in_context, others, slept
from sleepmem.bench.memory.retention import retention
from sleepmem.bench.memory.statistics import Share, balanced, share
from sleepmem.bench.memory.tables import OURS
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.dialogues.life import Load
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.tasks.dialogue_rows import text_ids

FACTS, SLEEPS = 16, 8  # the CPU tier
LOADS = (8, 16, 32, 64, 128)  # facts held at once, two to an episode
N_LIVES = 200  # of the CPU tier
AGED, LOADED = 4, 8  # those of the other exams are so many times fewer
SPAN = 16  # sleeps that attention with nothing evicted is given at most
GOALS = {"single": 0.85, "changed": 0.75, "code": 0.60, "abstain": 0.75}
DEEP = ("two_hop", "three_hop")  # where more passes are to help
UNKNOWN_KIND = "abstain"


class Judge(NamedTuple):
    """Somebody who takes exams.

    Attributes:
        names: of WHO.
        span: sleeps that are before its eyes; None if it does not matter.
    """

    names: tuple[str, ...]
    way: Way
    span: int | None = None

    def spans(self, n_sleeps: int) -> bool:
        return self.span is None or n_sleeps <= self.span


RowsOf = Callable[[Exam, Judge, Answers], Iterator[tuple[str, Share]]]  # by KIND


class Sitting(NamedTuple):
    """An exam, who takes it, and the shares that are made of the answers."""

    name: str
    exam: Exam
    judges: Sequence[Judge]
    shares_of: RowsOf


class Judged(NamedTuple):
    """What came out: rows `memory.KIND.WHO` and others, and what was said to the handwritten."""

    rows: list[Row]
    said: list[Said]


def memory(
    model: str,
    seed: int,
    report: Report,
    n_lives: int = N_LIVES,
    *,
    without: Collection[str] = (),
) -> Judged:
    """Judge a checkpoint on drawn lives, on damaged sleeps, and on lives that a person wrote.

    Args:
        n_lives: of the exam by kind; the others take their part of it. A kind that nobody was
            asked for, with few lives, has no rows.
        without: opponents that are not judged; all of them take half of the time.

    Raises:
        CheckpointNotFound: no such model.
        CheckpointInvalid: it or an opponent cannot be read.
        ConfigError: an opponent is missing, or one of them knows other words.
    """
    lm = candidate(model)
    opponents = [
        judge
        for name in OPPONENTS
        if name not in without
        for judge in _as_judges(name, opponent(name), lm.config.window)
    ]
    sittings = _sittings(seed, n_lives, [*_selves(lm), *opponents])
    n_done, n_all = 0, sum(len(sitting.judges) for sitting in sittings) + 2
    rows: list[Row] = []
    for name, exam, judges, shares_of in sittings:
        for judge in judges:
            report(f"{name}: {judge.names[0]}", n_done / n_all)
            shares = list(shares_of(exam, judge, answer(exam, judge.way)))
            rows += [_row(kind, who, found) for who in judge.names for kind, found in shares]
            n_done += 1
    agent = load_checkpoint(model)
    report("damaged sleeps", n_done / n_all)
    kept = retention(agent, seed, _part(n_lives, LOADED))
    report("lives that a person wrote", (n_done + 1) / n_all)
    said = handwritten(agent, handwritten_lives())
    return Judged([*rows, *_gains(rows), *kept, *handwritten_rows(said)], said)


def _part(n_lives: int, times: int) -> int:
    return max(2, n_lives // times)


def _sittings(seed: int, n_lives: int, judges: list[Judge]) -> list[Sitting]:
    by_kind = mixed(seed, Load(FACTS, SLEEPS), n_lives)
    by_age = aged(seed, FACTS, _part(n_lives, AGED))
    sittings = [
        Sitting("kinds", by_kind, judges, _by_kind),
        Sitting("ages", by_age, judges, _by_age),
    ]
    for load in LOADS:
        n_sleeps = load // 2
        facts = Load(load, n_sleeps, ("single",), n_people=16, abstain=0)
        exam = mixed(seed, facts, _part(n_lives, LOADED))
        able = [judge for judge in judges if judge.spans(n_sleeps)]
        sittings.append(Sitting(f"load {load}", exam, able, partial(_by_load, load)))
    return sittings


def _selves(lm: SleepForCausalLM) -> list[Judge]:
    judges = [
        Judge((name, *("ours",) * (passes == DEFAULT_PASSES)), slept(lm, passes))
        for passes, name in OURS.items()
    ]
    other = Judge(("other",), others(lm, DEFAULT_PASSES))
    return [*judges, Judge(("blank",), blank(lm)), other]


def _as_judges(name: str, lm: SleepForCausalLM, window: int) -> list[Judge]:
    if name != ATTENTION:
        return [Judge((f"trained_{name}",), slept(lm, 1))]
    return [
        Judge(("attention_full",), in_context(lm, n_sleeps=SPAN), SPAN),
        Judge(("attention_truncated",), in_context(lm, n_tokens=window)),
    ]


def _by_kind(exam: Exam, judge: Judge, answers: Answers) -> Iterator[tuple[str, Share]]:
    for kind in KINDS:
        is_asked = torch.tensor([asked.kind == kind for asked in exam.asked])
        if kind == UNKNOWN_KIND and is_asked.any():
            yield kind, _told_apart(exam, answers, is_asked)
        elif is_asked.any():
            yield kind, _share(exam, answers, is_asked)


def _told_apart(exam: Exam, answers: Answers, unknown: Tensor) -> Share:
    """Return the balanced accuracy of abstaining where nothing was told, and nowhere else.

    A wrong answer abstains if it begins as abstaining does.
    """
    claims = answers.right | (answers.first != text_ids(UNKNOWN)[0])
    life, known = exam.life, ~unknown
    return balanced([(answers.right[unknown], life[unknown]), (claims[known], life[known])])


def _by_age(exam: Exam, judge: Judge, answers: Answers) -> Iterator[tuple[str, Share]]:
    for age in AGES:
        if judge.spans(age):
            is_old = torch.tensor([asked.age == age for asked in exam.asked])
            yield f"age{age}", _share(exam, answers, is_old)


def _by_load(load: int, exam: Exam, judge: Judge, answers: Answers) -> Iterator[tuple[str, Share]]:
    yield f"load{load}", share(answers.right, exam.life)


def _share(exam: Exam, answers: Answers, kept: Tensor) -> Share:
    return share(answers.right[kept], exam.life[kept])


def _row(kind: str, who: str, found: Share) -> Row:
    goal = GOALS.get(kind) if who == "ours" else None
    holds = None if goal is None else found.value >= goal
    bounds = {"lowest": found.lowest, "highest": found.highest}
    return Row(f"memory.{kind}.{who}", found.value, "fraction", goal=goal, holds=holds, **bounds)


def _gains(rows: Sequence[Row]) -> list[Row]:
    """Compare more passes with one where they are to help: intervals apart, ours above."""
    by_name = {row.name: row for row in rows}
    gains = []
    for kind in DEEP:
        ours = by_name.get(f"memory.{kind}.ours")
        for who in ("ours_passes1", "trained_passes1_steps", "trained_passes1_compute"):
            one = by_name.get(f"memory.{kind}.{who}")
            if ours and one:
                assert ours.lowest is not None
                assert one.highest is not None
                gains.append(
                    Row(
                        f"memory.{kind}.gain_over_{who}",
                        ours.value - one.value,
                        "fraction",
                        reference=one.value,
                        goal=0.0,
                        holds=ours.lowest > one.highest,
                    )
                )
    return gains
