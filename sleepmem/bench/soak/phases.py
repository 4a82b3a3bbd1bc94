"""The two phases of a soak: one with SIGKILLs at random moments, one without.

With kills, processes live with all agents one after the other; each is killed after a number of
replies that the seed decides, and a few milliseconds later. What was acknowledged to the process
that watches must be in the log. Without kills one process lives it all, and its resident memory at
the end is compared with that after a tenth.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from random import Random
from time import perf_counter, sleep
from typing import Any

from sleepmem.bench import Report, Row
from sleepmem.bench.soak.judge import Acknowledged, Verdict, judged
from sleepmem.bench.soak.life import Plan, live
from sleepmem.bench.soak.script import Script

KILLS, QUIET = "kills", "quiet"
N_KILLS = 200  # in a phase, as far as it has the messages
MIN_LIFE = 20  # messages of a process, on the average
MOMENT_S = 0.02  # the kill comes up to so long after the last reply that it was let give
HANG_S = 120.0  # without a reply; a process that needs longer hangs
WARM = 0.1  # share of the messages after which memory is taken as what it needs
MAX_GROWTH_MIB = 8.0
MIB = 1 << 20
UNITS = {
    "lost": "messages",
    "read_twice": "messages or tokens",
    "out_of_order": "conversations",
    "altered": "replies",
    "forgotten": "facts",
    "unread": "tokens",
    "broken_heads": "agents",
    "unverified": "episodes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What is lived through.

    Attributes:
        kind: `kills` or `quiet`.
        db: URL of the database; agents of names of their own are born there.
        model: name or folder of a checkpoint; None is the fake model.
    """

    kind: str
    db: str
    model: str | None
    n_agents: int
    n_messages: int
    seed: int

    def script(self) -> Script:
        name = f"soak-{self.kind}-{secrets.token_hex(3)}"
        return Script(name, self.seed, self.n_agents, self.n_messages)

    def plan(self, acknowledged: Acknowledged, measured: tuple[int, ...] = ()) -> Plan:
        script, answered = acknowledged.script, acknowledged.answered
        return Plan(script, self.db, self.model, answered, measured)


@dataclass(slots=True)
class Lived:
    """How a phase went, before it is judged."""

    acknowledged: Acknowledged
    n_kills: int = 0
    n_failed: int = 0  # processes that ended or hung by themselves
    resident_bytes: list[int] = field(default_factory=list)
    lived_s: float = 0.0


def soaked(phase: Phase, report: Report) -> list[Row]:
    """Live a phase, judge it, and return its figures. Its agents are deleted if all hold."""
    began_s = perf_counter()
    lived = (_killed if phase.kind == KILLS else _undisturbed)(phase, report)
    lived.lived_s = perf_counter() - began_s
    return asyncio.run(_judged(phase, lived, report))


async def _judged(phase: Phase, lived: Lived, report: Report) -> list[Row]:
    acknowledged = lived.acknowledged
    async with phase.plan(acknowledged).memory() as memory:
        verdict = await judged(memory, acknowledged, can_recall=phase.model is None, report=report)
        rows = list(_rows(phase, lived, verdict))
        if all(row.holds is not False for row in rows):
            for name in acknowledged.script.agents:
                await memory.delete_agent(name)
    return rows


def _rows(phase: Phase, lived: Lived, verdict: Verdict) -> Iterator[Row]:
    """Yield the figures of a phase; what must not be comes with the goal 0."""

    def figure(name: str, value: float, unit: str, most: float | None = None) -> Row:
        holds = None if most is None else value <= most
        return Row(f"{phase.kind}.{name}", value, unit, goal=most, holds=holds)

    n_lines = lived.acknowledged.n_lines
    yield figure("messages", n_lines, "acknowledged")
    yield figure("unanswered", phase.n_messages - n_lines, "messages", 0)
    yield figure("messages_per_s", n_lines / lived.lived_s, "1/s")
    yield figure("episodes", verdict.n_episodes, "slept")
    if phase.kind == KILLS:
        yield figure("kills", lived.n_kills, "SIGKILL")
    yield figure("failed", lived.n_failed, "processes", 0)
    for name, count in verdict.counts().items():
        yield figure(name, count, UNITS[name], 0)
    if lived.resident_bytes:
        warm, *_, last = lived.resident_bytes
        yield figure("resident_at_10_percent", warm / MIB, "MiB")
        yield figure("resident_growth", (last - warm) / MIB, "MiB", MAX_GROWTH_MIB)


def _killed(phase: Phase, report: Report) -> Lived:
    acknowledged = Acknowledged.of(phase.script())
    lived, rng, n_messages = Lived(acknowledged), Random(phase.seed), phase.n_messages
    life = max(MIN_LIFE, n_messages // N_KILLS)
    nursery = _nursery()
    while acknowledged.n_lines < n_messages and not lived.n_failed:
        n_left = n_messages - acknowledged.n_lines
        # the last process of all lives to the end
        n_lines = rng.randrange(1, 2 * life) if n_left > life else None
        process = _Watched(nursery, phase.plan(acknowledged), lived)
        process.watch(n_lines, rng.random() * MOMENT_S, report)
    return lived


def _undisturbed(phase: Phase, report: Report) -> Lived:
    acknowledged = Acknowledged.of(phase.script())
    lived = Lived(acknowledged)
    warm = max(1, int(WARM * phase.n_messages))
    plan = phase.plan(acknowledged, (warm, phase.n_messages))
    _Watched(_nursery(), plan, lived).watch(None, 0.0, report)
    return lived


def _nursery() -> BaseContext:
    """Return where processes are born quickly, with everything imported and nothing open."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sleepmem.bench.soak.life", "sleepmem.store"])
    return context


class _Watched:
    """A process that lives, from its birth to its end."""

    def __init__(self, nursery: Any, plan: Plan, lived: Lived) -> None:
        self._lived, self._is_done = lived, False
        self._n_messages = plan.script.n_messages
        self._here, there = nursery.Pipe(duplex=False)
        self._process = nursery.Process(target=live, args=(plan, there), daemon=True)
        self._process.start()
        there.close()

    def watch(self, n_lines: int | None, moment_s: float, report: Report) -> None:
        """Take what it acknowledges until so many lines are new, then kill it; None lets it end."""
        lived, is_doomed = self._lived, False
        enough = self._n_messages if n_lines is None else lived.acknowledged.n_lines + n_lines
        try:
            while n_lines is None or lived.acknowledged.n_lines < enough:
                if not self._here.poll(HANG_S):
                    lived.n_failed += 1
                    break
                self._take()
                share = lived.acknowledged.n_lines / self._n_messages
                report(f"living, {lived.n_kills} kills", share)
            is_doomed = True
            sleep(moment_s)
            self._process.kill()
            while True:  # what it had acknowledged before
                self._take()
        except EOFError:
            self._process.join(HANG_S)
            was_killed = is_doomed and self._process.exitcode == -signal.SIGKILL
            lived.n_kills += was_killed
            lived.n_failed += not (was_killed or self._is_done)
        finally:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._here.close()

    def _take(self) -> None:
        told = json.loads(self._here.recv_bytes())
        if "reply" in told:
            self._lived.acknowledged.add(told["conversation"], told["n"], told["reply"])
        if "resident_bytes" in told:
            self._lived.resident_bytes.append(told["resident_bytes"])
        self._is_done = self._is_done or "done" in told
