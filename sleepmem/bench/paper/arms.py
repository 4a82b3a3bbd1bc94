"""What is trained for the paper's claims: a study is a set of arms, an arm is one way to train.

All arms of a study see the same data in the same order; what an arm's name says is all that
differs. Steps, not minutes, are the budget, since machines are noisy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem.train.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train, and the numbers of passes that it is judged at.

    Attributes:
        study, name: together its folder.
        settings: all but the seed.
        judged_at: passes at inference, the first is the one of its row.
        says: what it is, in one line for tables and figures.
    """

    study: str
    name: str
    settings: TrainSettings
    judged_at: tuple[int, ...]
    says: str

    def seeded(self, seed: int) -> TrainSettings:
        return self.settings.model_copy(update={"seed": seed})

    def folder(self, out: Path, seed: int) -> Path:
        return out / self.study / f"{self.name}-s{seed}"


SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "n_attention_heads": 2,
    "n_heads": 2,
    "d_k": 32,
    "d_v": 32,
    "tied": False,
    "batch": 32,
    "lr": 3e-3,
    "curriculum": "forced",
}
"""The model of 92 thousand parameters: attention, then gated delta rule."""

DEPO = SMALL | {"task": "depo", "steps": 4000}
# passes are 2.5 times the work at N=4: (4 x 10 + 10) tokens a context against (10 + 10)
EQUAL_COMPUTE_STEPS = 10_000


def _arm(
    study: str, name: str, says: str, passes: int | tuple[int, ...], base: Mapping[str, Any],
    judged_at: tuple[int, ...] = (), **changed: Any,
) -> Arm:  # fmt: skip
    offered = passes if isinstance(passes, tuple) else (passes,)
    settings = TrainSettings(**{**base, **changed, "passes": offered})
    return Arm(study, name, settings, judged_at or (max(offered),), says)


def depo() -> list[Arm]:
    """Multi-hop retrieval after eviction: dedicated models, controls, and one for every N."""
    return [
        _arm("depo", "n1", "N=1, the hybrid without sleep", 1, DEPO, (1, 2, 4)),
        _arm("depo", "n2", "N=2", 2, DEPO, (2, 1, 4)),
        _arm("depo", "n4", "N=4", 4, DEPO, (4, 1, 2, 8)),
        _arm("depo", "equal_compute", "N=1, longer: the compute of N=4", 1, DEPO,
             steps=EQUAL_COMPUTE_STEPS),
        _arm("depo", "deeper", "N=1, 8 layers: 1.6 times the compute of N=4", 1, DEPO,
             layers="AGAGAGAG"),
        _arm("depo", "attention_only", "attention only, evicted", 1, DEPO, layers="AA"),
        _arm("depo", "full_context", "no eviction, N=1", 1, DEPO, loop={"evict": False}),
        _arm("depo", "full_context_deep", "no eviction, attention only, 8 layers", 1, DEPO,
             layers="AAAAAAAA", loop={"evict": False}),
        _arm("depo", "elastic", "one checkpoint, N drawn from 1, 2, 4", (1, 2, 4), DEPO,
             (4, 2, 1, 8, 16), steps=12_000, curriculum="gated"),
    ]  # fmt: skip


def ablations() -> list[Arm]:
    """What of the loop matters, at N=4 on the same task."""
    return [
        _arm("ablations", "embed", "hidden states dropped, tokens read again", 4, DEPO,
             loop={"loop_input": "embed"}),
        _arm("ablations", "inject", "tokens added to the hidden states", 4, DEPO,
             loop={"loop_input": "inject"}),
        _arm("ablations", "reset", "fast weights reset between passes", 4, DEPO,
             loop={"loop_state": "reset"}),
        _arm("ablations", "wake_loops", "1 pass in sleep, 4 over each question", 1, DEPO,
             loop={"wake_passes": 4}),
    ]  # fmt: skip


def windows() -> list[Arm]:
    """The same with the edges spread over several windows."""
    return [
        _arm("windows", f"w{n}-n{passes}", f"edges over {n} windows, N={passes}", passes, DEPO,
             options={"windows": n})
        for n in (2, 4)
        for passes in (1, 2, 4)
    ]  # fmt: skip


def large() -> list[Arm]:
    """A longer cycle: 16 nodes, 10 hops, up to 8 passes."""
    base = DEPO | {"options": {"nodes": 16, "hops": 10}, "steps": 8000, "lr": 1.5e-3}
    return [
        _arm("large", f"n{passes}", f"16 nodes, N={passes}", passes, base)
        for passes in (1, 2, 4, 8)
    ]


STUDIES = {"depo": depo, "ablations": ablations, "windows": windows, "large": large}
