"""How good a memory the checkpoint is: by kind, age, load and passes, beside its opponents.

Only stored checkpoints are judged, on lives of the test side: wordings and entities that training
never saw. Right is an answer that equals what was told, token for token, full stop and end
included; nothing is normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sleepmem.bench import Report, Row
from sleepmem.bench.memory.exam import AGES, Exam, aged, mixed
from sleepmem.bench.memory.judged import Answers, Way, answer, blank, in_context, others, slept
from sleepmem.bench.memory.opponents import ATTENTION, PASSES1_COMPUTE, PASSES1_STEPS, opponent
from sleepmem.bench.memory.retention import retention
from sleepmem.bench.memory.statistics import Share, balanced, share
from sleepmem.model.checkpoint import checkpoint_folder, read_weights
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.dialogues.life import Load
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.dialogues.speech import UNKNOWN
from sleepmem.train.tasks.dialogue_rows import text_ids

PASSES = (1, 2, 4, 8)
DEFAULT_PASSES = 4
FACTS, SLEEPS = 16, 8  # the CPU tier
LOADS = (8, 16, 32, 64, 128)  # facts held at once, two to an episode
N_MIXED, N_AGED, N_LOADED = 300, 50, 25  # lives
GOALS = {"single": 0.85, "changed": 0.75, "code": 0.60, "abstain": 0.75}
DEEP = ("two_hop", "three_hop")  # where more passes are to help
UNKNOWN_KIND = "abstain"


RowsOf = Callable[[Exam, str, Answers], list[Row]]


class Judge(NamedTuple):
    """Somebody who takes exams, by the name of WHO."""

    who: str
    way: Way


def memory(model: str, seed: int, report: Report) -> list[Row]:
    """Return rows `memory.KIND.WHO`, fractions with intervals.

    Raises:
        CheckpointNotFound: no such model.
        CheckpointInvalid: it or an opponent cannot be read.
    """
    lm = read_weights(checkpoint_folder(model)).eval()
    exams = _exams(seed, [*_selves(lm), *_opponents(lm.config.window)])
    n_done, n_all = 0, sum(len(judges) for _, judges, _ in exams)
    rows: list[Row] = []
    for exam, judges, rows_of in exams:
        for judge in judges:
            report(judge.who, n_done / n_all)
            rows += rows_of(exam, judge.who, answer(exam, judge.way))
            n_done += 1
    return [*rows, *_gains(rows), *retention(model, seed)]


def _exams(seed: int, judges: list[Judge]) -> list[tuple[Exam, list[Judge], RowsOf]]:
    """Return each exam with who takes it: attention only lives that it was trained to span."""
    sleepers = [judge for judge in judges if not judge.who.startswith("attention")]
    exams: list[tuple[Exam, list[Judge], RowsOf]] = [
        (mixed(seed, Load(FACTS, SLEEPS), N_MIXED), judges, _by_kind),
        (aged(seed, FACTS, N_AGED), sleepers, _by_age),
    ]
    for load in LOADS:
        exam = mixed(seed, Load(load, load // 2, ("single",), n_people=16), N_LOADED)
        exams.append((exam, judges if load <= 2 * FACTS else sleepers, partial(_by_load, load)))
    return exams


def _gains(rows: Sequence[Row]) -> list[Row]:
    """Compare more passes with one where they are to help: intervals apart, ours above."""
    by_name = {row.name: row for row in rows}
    gains = []
    for kind in DEEP:
        ours = by_name[f"memory.{kind}.ours"]
        for who in ("ours_passes1", "trained_passes1_steps", "trained_passes1_compute"):
            one = by_name[f"memory.{kind}.{who}"]
            gains.append(
                Row(
                    f"memory.{kind}.gain_over_{who}",
                    ours.value - one.value,
                    "fraction",
                    reference=one.value,
                    goal=0.0,
                    holds=(ours.lowest or 0.0) > (one.highest or 0.0),
                )
            )
    return gains


def _selves(lm: SleepForCausalLM) -> list[Judge]:
    default = slept(lm, DEFAULT_PASSES)
    return [
        Judge("ours", default),
        *(Judge(f"ours_passes{passes}", slept(lm, passes)) for passes in PASSES),
        Judge("blank", blank(lm)),
        Judge("other", others(lm, DEFAULT_PASSES)),
    ]


def _opponents(window: int) -> list[Judge]:
    attention = opponent(ATTENTION)
    return [
        Judge("trained_passes1_steps", slept(opponent(PASSES1_STEPS), 1)),
        Judge("trained_passes1_compute", slept(opponent(PASSES1_COMPUTE), 1)),
        Judge("attention_full", in_context(attention)),
        Judge("attention_truncated", in_context(attention, window)),
    ]


def _by_kind(exam: Exam, who: str, answers: Answers) -> list[Row]:
    rows = []
    for kind in KINDS:
        found = _told_apart(exam, answers)
        if kind != UNKNOWN_KIND:
            found = _share(exam, answers.right, [asked.kind == kind for asked in exam.asked])
        rows.append(_row(f"memory.{kind}.{who}", found, GOALS.get(kind) if who == "ours" else None))
    return rows


def _told_apart(exam: Exam, answers: Answers) -> Share:
    """Return the balanced accuracy of abstaining: by the first word, whether it claims to know."""
    abstains = answers.first == text_ids(UNKNOWN)[0]
    unknown = torch.tensor([asked.kind == UNKNOWN_KIND for asked in exam.asked])
    life = exam.life
    return balanced([(abstains[unknown], life[unknown]), (~abstains[~unknown], life[~unknown])])


def _by_age(exam: Exam, who: str, answers: Answers) -> list[Row]:
    rows = []
    for age in AGES:
        found = _share(exam, answers.right, [asked.age == age for asked in exam.asked])
        rows.append(_row(f"memory.age{age}.{who}", found))
    return rows


def _by_load(load: int, exam: Exam, who: str, answers: Answers) -> list[Row]:
    return [_row(f"memory.load{load}.{who}", share(answers.right, exam.life))]


def _share(exam: Exam, right: Tensor, kept: Sequence[bool]) -> Share:
    keep = torch.tensor(kept)
    return share(right[keep], exam.life[keep])


def _row(name: str, found: Share, goal: float | None = None) -> Row:
    holds = None if goal is None else found.value >= goal
    bounds = {"lowest": found.lowest, "highest": found.highest}
    return Row(name, found.value, "fraction", goal=goal, holds=holds, **bounds)
