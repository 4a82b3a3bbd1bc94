"""Figures of a shipped model in words and tables, by the name that a template has for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from sleepmem.bench import Row
from sleepmem.bench.memory.checkpoints import (
    ATTENTION,
    FOLDER,
    OPPONENTS,
    PASSES1_COMPUTE,
    PASSES1_STEPS,
)
from sleepmem.bench.memory.evidence import Evidence, Measured
from sleepmem.bench.memory.statistics import COVERAGE
from sleepmem.bench.memory.suite import AGED, FACTS, LOADED, SLEEPS, SPAN
from sleepmem.bench.memory.tables import (
    KIND_IS,
    WHO,
    cells,
    kinds_table,
    markdown,
    numbers_table,
    percent,
)
from sleepmem.bench.wake import LONG, N_ROUNDS, SHORT
from sleepmem.model.config import RECURRENT
from sleepmem.train.dialogues.entities import MADE_UP, TEST_SHARE, VALIDATION_SHARE
from sleepmem.train.loop import Progress
from sleepmem.train.runs import read_record
from sleepmem.train.settings import Loop, TrainSettings
from sleepmem.train.tasks.dialogues import STAGES

TOLD_NOTHING = ("blank", "other")  # of no interest by age and load
BY_HAND = "handwritten"
RETENTION_IS = {
    "rank_correlation": "retention of a damaged sleep against its answers, rank correlation",
    "zero_update_rejected": "share of the sleeps that did nothing and are rejected by default",
}
TRAINED_FOR = {PASSES1_STEPS: "for as many steps", PASSES1_COMPUTE: "for as much compute"}
OPPONENT_IS = {
    **{name: f"the same with N=1 {what}" for name, what in TRAINED_FOR.items()},
    ATTENTION: "attention that reads the history itself",
}
RECURRENT_IS = "gated delta rule"
LOOPED = "; {} more attention layers, for sleep alone, rewrite the window between its passes"
# of `sleepmem train`, where they are not called like the settings
OPTIONS = {"n_heads": "heads", "n_attention_heads": "attention-heads"}
OFF = {"evict": "no-evict", "tied": "untied"}


def figures_of(evidence: Evidence, among: Sequence[str]) -> dict[str, str]:
    """Return every figure.

    Args:
        among: who has a column or a line in the tables.
    """
    memory, wake = evidence.memory, evidence.wake
    found = cells(list(memory.rows.values()))
    among = [who for who in among if any(who in by_who for by_who in found.values())]
    able = [who for who in among if who not in TOLD_NOTHING]
    return {
        **_sizes(evidence),
        **_training(evidence),
        "seed": str(memory.record["seed"]),
        "machine": _machine(memory.record["environment"]),
        "conditions": _conditions(memory.record["n_lives"]),
        "coverage": f"{COVERAGE:.0%}",
        "opponents": _opponents(memory.record["without"], evidence.progress),
        "kinds": markdown(kinds_table(found, among)),
        "ages": markdown(numbers_table(found, "age", "sleeps since it was told", able)),
        "loads": markdown(numbers_table(found, "load", "facts held at once", able)),
        "goals": markdown(goals_table(memory.rows.values())),
        "handwritten": _handwritten(memory),
        "by_hand": markdown(_by_hand_table(memory)),
        "wake": _wake(wake),
        "snapshot_bytes": f"{wake.rows['snapshot_bytes'].value:,.0f}",
    }


def goals_table(rows: Iterable[Row]) -> list[list[str]]:
    """Return a line for each row that has a goal; the first line is the header."""
    lines = [[*_goal(row), "yes" if row.holds else "no"] for row in rows if row.goal is not None]
    return [["goal", "measured", "asked for", "holds"], *lines]


def _goal(row: Row) -> list[str]:
    """Return what a goal is about, what was measured, and what was asked for."""
    assert row.goal is not None
    _, kind, what = row.name.split(".", 2)
    if kind not in KIND_IS:
        return [RETENTION_IS[what], f"{row.value:.2f}", f"at least {row.goal:g}"]
    asked, *_ = KIND_IS[kind].split(":")
    if what in WHO:
        return [f"{asked}, %", percent(row), f"at least {100 * row.goal:.0f}"]
    one = WHO[what.removeprefix("gain_over_")]
    return [f"{asked}, points over {one}", f"{100 * row.value:+.0f}", "above, intervals apart"]


def command_of(settings: TrainSettings, out: str) -> str:
    """Return the command that trains a model an agent can live with."""
    words = [f"sleepmem train {settings.task} --out {out}"]
    words += [f"--set {name}={value}" for name, value in settings.options.items()]
    given = settings.model_dump(exclude_defaults=True, exclude={"task", "options", "loop"})
    given |= settings.loop.model_dump(exclude_defaults=True)
    for name, value in given.items():
        option = OPTIONS.get(name, name.replace("_", "-"))
        if isinstance(value, tuple):
            words.append(f"--{option} {','.join(map(str, value))}")
        elif isinstance(value, bool):
            words.append(f"--{option}" if value else f"--{OFF[name]}")
        else:
            words.append(f"--{option} {value}")
    lines = wrap(" ".join(words), 80, break_long_words=False, break_on_hyphens=False)
    return " \\\n        ".join(lines)


def _sizes(evidence: Evidence) -> dict[str, str]:
    config = evidence.lm.config
    layers = [RECURRENT_IS if kind == RECURRENT else "attention" for kind in config.layer_types]
    key, value = config.linear_key_head_dim, config.linear_value_head_dim
    n_recurrent = config.layer_types.count(RECURRENT)
    return {
        "name": evidence.name,
        "fingerprint": evidence.fingerprint[:12],
        "layers": ", ".join(layers) + _looped(config.num_loop_layers),
        "hidden_size": str(config.hidden_size),
        "intermediate_size": str(config.intermediate_size),
        "n_parameters": f"{sum(p.numel() for p in evidence.lm.parameters()):,}",
        "fast_weights": f"{n_recurrent * config.linear_num_heads} heads of {key} x {value}",
        "window": str(config.window),
        "vocabulary": f"{config.vocab_size:,}",
    }


def _looped(n_layers: int) -> str:
    return LOOPED.format(n_layers) if n_layers else ""


def _training(evidence: Evidence) -> dict[str, str]:
    settings, progress = evidence.settings, evidence.progress
    passes = ", ".join(map(str, settings.passes))
    return {
        "command": command_of(settings, f"runs/{evidence.name.split('/')[-1]}"),
        "training": (
            f"Training took {progress.step:,} steps and {_million(progress.n_tokens)}, with passes "
            f"drawn from {passes}: {_time(progress.seconds)} on {_machine(evidence.trained_in)}."
        ),
        "branches": _branches(progress.branched) + _mean(progress.step, progress.averaged),
        "most_facts": str(STAGES[-1].n_facts),
        "most_episodes": str(STAGES[-1].n_episodes),
        "train_share": str(100 - VALIDATION_SHARE - TEST_SHARE),
        "validation_share": str(VALIDATION_SHARE),
        "test_share": str(TEST_SHARE),
        "made_up": f"{MADE_UP:.0%}",
    }


def _branches(branched: Sequence[Mapping[str, Any]]) -> str:
    """Return what was other before each branch that led to the run."""
    said = []
    for branch in branched:
        step, mean = branch["step"], branch.get("averaged", ())
        own = {"step", "averaged"}
        other = [_setting(name, value) for name, value in branch.items() if name not in own]
        if other:
            said.append(f" Until step {step:,} it ran with {' and '.join(other)}.")
        said.append(_mean(step, mean))
    return "".join(said)


def _mean(step: int, averaged: Sequence[Mapping[str, float]]) -> str:
    """Return what the weights at a step are the mean of."""
    if not averaged:
        return ""
    parts = [f"{one['share']:.0%} step {one['step']:,}" for one in averaged]
    return (
        f" At step {step:,} its weights became the mean of those along the way: {', '.join(parts)}."
    )


def _setting(name: str, value: Any) -> str:
    """Return a setting of a run in words."""
    words = name.replace("_", " ")
    if isinstance(value, Mapping):
        inner = {"loop": Loop().model_dump()}.get(name, {})
        parts = [_setting(key, part) for key, part in value.items() if part != inner.get(key)]
        return f"{words} of {', '.join(parts)}" if parts else f"{words} as they are by default"
    if isinstance(value, (list, tuple)):
        return f"{words} {','.join(map(str, value))}"
    return f"{words} {value}"


def _conditions(n_lives: int) -> str:
    return (
        f"Judged on {n_lives} lives of {FACTS} facts over {SLEEPS} sleeps, by age on "
        f"{n_lives // AGED} and by load on {n_lives // LOADED} others; their wordings, names and "
        "values are of the side that training never saw."
    )


def _opponents(without: Sequence[str], ours: Progress) -> str:
    passes1 = {name: read_record(FOLDER / name)[1] for name in TRAINED_FOR if name not in without}
    said = []
    if passes1:
        said.append(_trained_with_one_pass(passes1, ours))
    if ATTENTION not in without:
        settings, progress, _ = read_record(FOLDER / ATTENTION)
        said.append(
            "Attention is a model without fast weights that reads the history itself: all of it, "
            f"up to {SPAN} sleeps, or the last window. It was not trained from nothing: its "
            "embeddings and first layer began as those of ours at about step 5,550. It took "
            f"{progress.step:,} steps, with {settings.options['questions']} questions to a life, "
            "and none of the wordings that are put together for one thing alone."
        )
    missing = [OPPONENT_IS[name] for name in OPPONENTS if name in without]
    if missing:
        said.append(f"Yet to be trained beside it: {'; '.join(missing)}.")
    return " ".join(said)


def _trained_with_one_pass(opponents: Mapping[str, Progress], ours: Progress) -> str:
    """Return how long they were trained, what they share with ours, and what they are means of."""
    each = ", ".join(
        f"one {TRAINED_FOR[name]} (step {run.step:,}, {_million(run.n_tokens)})"
        for name, run in opponents.items()
    )
    said = (
        f"What was trained with N=1 alone is of the same sizes and data: {each}. Ours took one "
        "pass in its first steps too, and those are shared."
    )
    if ours.averaged and all(_shares(run) == _shares(ours) for run in opponents.values()):
        said += " All are means of weights along the way, in the same shares."
    return said


def _shares(run: Progress) -> list[float]:
    return [round(part["share"], 6) for part in run.averaged]


def _million(n_tokens: int) -> str:
    return f"{n_tokens / 1e6:.0f} million tokens x passes"


def _handwritten(memory: Measured) -> str:
    said = memory.record["handwritten"]
    n_lives = len({answer["life"] for answer in said})
    n_right = sum(answer["is_right"] for answer in said)
    return (
        f"Of lives that were written without sight of the generator, in no wordings of its own, "
        f"it answers {n_right} of {len(said)} questions to {n_lives} lives: "
        f"{percent(memory.rows[f'memory.{BY_HAND}.ours'])} %."
    )


def _by_hand_table(memory: Measured) -> list[list[str]]:
    start = f"memory.{BY_HAND}_"
    by_kind = {
        name.removeprefix(start).removesuffix(".ours"): row
        for name, row in memory.rows.items()
        if name.startswith(start)
    }
    lines = [[KIND_IS.get(kind, kind), percent(row)] for kind, row in by_kind.items()]
    return [["% answered of lives written by hand", WHO["ours"]], *lines]


def _wake(wake: Measured) -> str:
    token, decode, sleep = (
        wake.rows[name] for name in ("wake_64k_over_1k", "wake.decode", "wake.sleep")
    )
    n_bytes = wake.rows["snapshot_bytes"].value
    return (
        f"A wake token takes {token.value:.2f} ms after {LONG:,} tokens and {token.reference:.2f} "
        f"ms after {SHORT:,} (ratio {token.ratio:.2f}, goal at most {token.goal:.2f}; medians of "
        f"{N_ROUNDS} interleaved rounds); alone it says {decode.value:,.0f} tokens a second and "
        f"sleeps on {sleep.value:,.0f} tokens x passes a second. The fast weights of an agent are "
        f"{n_bytes:,.0f} bytes on disk, always."
    )


def _machine(environment: Mapping[str, Any]) -> str:
    n_threads = environment["threads"]
    threads = "one thread" if n_threads == 1 else f"{n_threads} threads"
    device = environment["gpu"] or environment["processor"]
    return f"a machine with {device} ({threads}, torch {environment['torch']})"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes"
