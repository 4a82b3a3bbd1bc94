"""`sleepmem demo`: an agent is told facts, sleeps, its process ends; a new process asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import click

from sleepmem.cli.options import common, pass_terminal
from sleepmem.cli.screen import print_table, progress
from sleepmem.cli.terminal import Terminal
from sleepmem.errors import SleepmemError
from sleepmem.train.dialogues.demo import N_EPISODES, N_FACTS, Told, draw_demo
from sleepmem.types import Outcome

OWN, OTHER, BLANK = "demo", "demo-other", "demo-blank"


class Answered(NamedTuple):
    """A fact with what each agent said when it was asked for."""

    told: Told
    own: str
    blank: str
    other: str


class DemoFailed(SleepmemError):
    """A process of the demo ended before its time."""


@click.command()
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Draws other people and facts."
)
@click.option("--passes", type=click.IntRange(min=1), default=4, show_default=True)
@common
@pass_terminal
def demo(terminal: Terminal, seed: int, passes: int) -> None:
    """Watch an agent learn, sleep, end, wake and answer.

    It is told 24 facts over 8 episodes and sleeps after each. Its process ends. A new process asks
    for all of them, with an empty KV cache each time: the answers come out of fast weights. Two
    others are asked the same: a newborn, and an agent that was told other values.

    Starts the agents demo, demo-other and demo-blank over. Same --seed, same people and facts.

    \b
    Example:
      sleepmem demo --seed 7
    """
    told = draw_demo(seed)
    plan = plan_of(terminal, told, passes)
    with progress("told and slept", 2 * N_EPISODES) as step:
        for slept in steps_of("live", plan):
            if slept["outcome"] != Outcome.SLEPT:
                raise DemoFailed(
                    f"{slept['agent']} was to sleep, and the outcome was {slept['outcome']}",
                    hint="Demonstrate another checkpoint with --model.",
                )
            step()
    with progress("asked in a new process", N_FACTS) as step:
        answered = []
        for fact, said in zip(told, steps_of("ask", plan), strict=True):
            answered.append(Answered(fact, **said["answers"]))
            step()
    terminal.write_document(document(seed, answered))
    if not terminal.as_json:
        print_answers(seed, answered)
        given = {"db": terminal.db, "model": terminal.model}
        options = "".join(f" --{name} {value}" for name, value in given.items() if value)
        terminal.write(
            f"\nIts life, episode by episode: sleepmem replay --agent {OWN} --verify{options}"
        )


def plan_of(terminal: Terminal, told: list[Told], passes: int) -> dict[str, Any]:
    """Return what the processes are given: texts only, and never a value to the one that asks."""
    settings = terminal.settings()

    def life(worded: Callable[[Told], str]) -> list[list[str]]:
        return [
            [worded(t) for t in told if t.episode == episode]
            for episode in range(1, N_EPISODES + 1)
        ]

    return {
        "db": settings.database(),
        "model": settings.model,
        "data": str(settings.data) if settings.data else None,
        "passes": passes,
        "lives": {OWN: life(lambda t: t.statement), OTHER: life(lambda t: t.other_statement)},
        "asked": {"own": OWN, "blank": BLANK, "other": OTHER},
        "questions": [t.question for t in told],
    }


def steps_of(what: str, plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run a process of the demo to its end, yielding the steps that it reports.

    Raises:
        DemoFailed: it ended with an error.
    """
    given = {key: value for key, value in plan.items() if what == "live" or key != "lives"}
    with subprocess.Popen(
        [sys.executable, "-m", "sleepmem.cli.demo_process", what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the demo, which ends its process itself
    ) as process:
        try:
            yield from _told_by(process, given)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise DemoFailed(
            f"the process that should {what} ended with code {process.returncode}",
            hint="Run the demo again; it starts over.",
        )


def _told_by(process: subprocess.Popen[str], given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Hand a process its plan and yield its steps, as far as it comes."""
    assert process.stdin
    assert process.stdout
    with suppress(BrokenPipeError):  # it ended already; its return code says why
        process.stdin.write(json.dumps(given))
        process.stdin.close()
    for line in process.stdout:
        if not line.endswith("\n"):  # killed in the middle of it
            return
        step = json.loads(line)
        if "error" in step:
            raise DemoFailed(step["error"]["message"], hint=step["error"]["hint"])
        yield step


def accuracy(answered: list[Answered], who: str) -> float:
    """Return the share of questions to which `own`, `blank` or `other` gave the demo's answer."""
    return sum(a.told.is_answered_by(getattr(a, who)) for a in answered) / len(answered)


def document(seed: int, answered: list[Answered]) -> dict[str, Any]:
    """Return the agreed JSON shape."""
    return {
        "seed": seed,
        "accuracy": {who: accuracy(answered, who) for who in ("own", "blank", "other")},
        "questions": [
            {
                "question": a.told.question,
                "answer": a.own,
                "expected": a.told.answer,
                "right": a.told.is_answered_by(a.own),
                "sleep_age": a.told.sleep_age,
                "told": a.told.statement,
                "blank": a.blank,
                "other": a.other,
                "other_was_told": a.told.other_answer,
            }
            for a in answered
        ],
    }


def print_answers(seed: int, answered: list[Answered]) -> None:
    columns = ["question", "answer", "right?", "#sleeps ago", "blank", "other"]
    rows = [
        [
            a.told.question,
            a.own,
            "right" if a.told.is_answered_by(a.own) else f"wrong: {a.told.answer}",
            str(a.told.sleep_age),
            a.blank,
            a.other,
        ]
        for a in answered
    ]
    print_table(columns, rows)
    meaning = {
        "own": "its own fast weights",
        "blank": "blank fast weights",
        "other": "those of an agent that was told other values",
    }
    shares = [f"{accuracy(answered, who):4.0%} with {what}" for who, what in meaning.items()]
    click.echo(f"\nRight answers to {len(answered)} questions (seed {seed}):")
    click.echo("  " + "\n  ".join(shares))
