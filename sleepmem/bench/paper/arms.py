"""What is trained for the paper's claims: a study is a set of arms, an arm is one way to train.

Arms of the same task and steps see the same data in the same order, and differ in nothing but what
their names say. Steps, not minutes, are the budget, since machines are noisy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem.train.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train, and the numbers of passes that it is judged at.

    Attributes:
        study, name: together its folder.
        says: what it is, in one line for tables and figures.
        settings: all but the seed.
        rows: passes at inference -> name of the row, with `{depth}` in it.
    """

    study: str
    name: str
    says: str
    settings: TrainSettings
    rows: dict[int, str]

    @property
    def is_dedicated(self) -> bool:
        """Whether it is the paper's model at one N, and not a control or an ablation of it."""
        return re.fullmatch(r"(w\d+-)?n\d+", self.name) is not None

    def seeded(self, seed: int) -> TrainSettings:
        return self.settings.model_copy(update={"seed": seed})

    def folder(self, out: Path, seed: int) -> Path:
        return out / self.study / f"{self.name}-s{seed}"


SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "n_attention_heads": 2,
    "n_heads": 2,
    "d_k": 32,
    "d_v": 32,
    "tied": False,
    "embedding_std": 1.0,  # with less, N=1 learns two hops late
    "linear_gain": 0.58,
    "batch": 32,
    "lr": 3e-3,
    "curriculum": "forced",
}
"""The model of 91 thousand parameters: attention, then gated delta rule."""

DEPO = SMALL | {"task": "depo", "steps": 4000}
# N=4 reads 4 x 10 + 10 tokens a context, N=1 reads 10 + 10: 2.5 times the work a step
EQUAL_COMPUTE_STEPS = 10_000


def depo() -> list[Arm]:
    """Multi-hop retrieval after eviction: a model for each N, and the controls."""

    def arm(name: str, says: str, passes: int, rows: dict[int, str], **changed: Any) -> Arm:
        return _arm("depo", name, says, (passes,), DEPO | changed, rows)

    def dedicated(passes: int, others: tuple[int, ...], says: str) -> Arm:
        rows = {passes: f"depo.k{{depth}}.n{passes}"}
        rows |= {n: f"depo.trained_n{passes}.k{{depth}}.n{n}" for n in others}
        return arm(f"n{passes}", says, passes, rows)

    def control(name: str, says: str, **changed: Any) -> Arm:
        return arm(name, says, 1, {1: f"depo.{name}.k{{depth}}"}, **changed)

    return [
        dedicated(1, (4,), "N=1, the hybrid without sleep"),
        dedicated(2, (1, 4), "N=2"),
        dedicated(4, (1, 2, 8), "N=4"),
        control("equal_compute", "N=1, 2.5 times the steps: the compute of N=4",
                steps=EQUAL_COMPUTE_STEPS),
        control("deeper", "N=1, 8 layers: 1.6 times the compute of N=4", layers="AGAGAGAG"),
        control("attention_only", "attention only, evicted", layers="AA"),
        control("full_context", "N=1, nothing evicted", loop={"evict": False}),
        control("full_context_deep", "attention only, 8 layers, nothing evicted",
                layers="AAAAAAAA", loop={"evict": False}),
    ]  # fmt: skip


def elastic() -> list[Arm]:
    """One checkpoint for every N, also for more passes than it was trained with.

    Many different N above four teach it to stay where it is once all is composed; trained at 1, 2
    and 4 alone it unlearns in the fifth pass what it knew after the fourth.
    """
    settings = DEPO | {"steps": 6000, "curriculum": "gated"}
    rows = {n: f"depo.elastic.k{{depth}}.n{n}" for n in (1, 2, 4, 8, 12, 16)}
    return [_arm("elastic", "elastic", "one checkpoint", (1, 2, 3, 4, 6, 8), settings, rows)]


def ablations() -> list[Arm]:
    """What of the loop matters, at N=4 on the same task."""

    def arm(name: str, says: str, passes: int = 4, **changed: Any) -> Arm:
        rows = {passes: f"depo.ablation.{name}.k{{depth}}"}
        return _arm("ablations", name, says, (passes,), DEPO | changed, rows)

    return [
        arm("embed", "hidden states dropped, tokens read again", loop={"loop_input": "embed"}),
        arm("inject", "tokens added to the hidden states", loop={"loop_input": "inject"}),
        arm("reset", "fast weights reset between passes", loop={"loop_state": "reset"}),
        arm("wake_loops", "1 pass in sleep, 4 over each question", 1, loop={"wake_passes": 4}),
        arm("muon", "Muon for the matrices of the blocks", optimizer="muon", muon_lr=3e-3),
    ]


def windows() -> list[Arm]:
    """The same with the edges spread over several windows, and what was tried against that.

    Cues are ten more tokens a window, and to sleep twice is twice the work of once.
    """

    def arm(n: int, passes: int, tried: str = "", says: str = "", **changed: Any) -> Arm:
        options = {"windows": n} | changed.pop("options", {})
        name = f"w{n}-n{passes}" + (f"-{tried}" if tried else "")
        row = f"depo.windows{n}." + (f"{tried}." if tried else "") + f"k{{depth}}.n{passes}"
        told = f"edges over {n} windows, N={passes}" + (f", {says}" if says else "")
        settings = DEPO | {"options": options} | changed
        return _arm("windows", name, told, (passes,), settings, {passes: row})

    cues, deep = {"options": {"cues": 1}}, {"layers": "AGAG"}
    again: dict[str, Any] = {"options": {"rounds": 2}}
    return [
        *(arm(n, passes) for n in (2, 4) for passes in (1, 2, 4)),
        *(arm(n, passes, "cues", "with cues", **cues) for n in (2, 4) for passes in (1, 4)),
        *(arm(n, passes, "again", "slept on twice", **again) for n in (2, 4) for passes in (1, 2)),
        arm(2, 4, "deep", "4 layers", **deep),
    ]


def large() -> list[Arm]:
    """A longer cycle: 16 nodes, 10 hops, up to 8 passes."""
    base = DEPO | {"options": {"nodes": 16, "hops": 10}, "steps": 8000, "lr": 1.5e-3}
    return [
        _arm("large", f"n{passes}", f"16 nodes, N={passes}", (passes,), base,
             {passes: f"depo.large.k{{depth}}.n{passes}"})
        for passes in (1, 2, 4, 8)
    ]  # fmt: skip


def rule110() -> list[Arm]:
    """The paper's first task, small and supervised at every cell: still an experiment."""
    base = SMALL | {
        "task": "rule110",
        "options": {"states": 1, "steps": 8, "answer": "whole"},
        "steps": 4000,
    }
    return [
        _arm("rule110", f"n{passes}", f"ring of 12 cells, N={passes}", (passes,), base,
             {passes: f"rule110.t{{depth}}.n{passes}"})
        for passes in (1, 4)
    ]  # fmt: skip


def math() -> list[Arm]:
    """Word problems, the question first, one token a sentence; and both baselines of the paper."""
    sizes = {"operations": 8, "quantities": 10, "questions": 6, "windows": 1}
    base = SMALL | {"task": "math", "steps": 4000}
    base["options"] = sizes | {"numbers": 20, "amounts": 1}

    def arm(name: str, says: str, passes: int, row: str, **changed: Any) -> Arm:
        return _arm("math", name, says, (passes,), base | changed, {passes: row})

    return [
        *(arm(f"n{n}", f"N={n}", n, f"math.ops{{depth}}.n{n}") for n in (1, 2, 4)),
        arm("attention_only", "attention only, evicted", 1, "math.attention_only.ops{depth}",
            layers="AA"),
        # (4 x 16 + 6) tokens a context against (16 + 6)
        arm("equal_compute", "N=1, 3.2 times the steps: the compute of N=4", 1,
            "math.equal_compute.ops{depth}", steps=12_727),
    ]  # fmt: skip


def _arm(
    study: str,
    name: str,
    says: str,
    passes: tuple[int, ...],
    settings: Mapping[str, Any],
    rows: dict[int, str],
) -> Arm:
    return Arm(study, name, says, TrainSettings(**settings, passes=passes), rows)


STUDIES: dict[str, Callable[[], list[Arm]]] = {
    "depo": depo,
    "elastic": elastic,
    "ablations": ablations,
    "windows": windows,
    "large": large,
    "rule110": rule110,
    "math": math,
}
