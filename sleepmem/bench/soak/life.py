"""The life that a soak kills: all conversations at once, in a process of its own.

Every reply is acknowledged to the process that watches, as soon as it is there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sleepmem.bench.soak.script import Script
from sleepmem.memory import SleepMemory
from sleepmem.policy import TokenBudget
from sleepmem.testing import FakeSleepLM

FAKE_WINDOW = 320
OPTIONS: dict[str, Any] = {"max_tokens": 10, "min_tokens": 4, "passes": 2, "resident": 16}
BUDGET = 0.6  # of the window; sleeps come often
COLLECTED_EVERY = 30  # lines of a conversation; its agent's old snapshots are removed then

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a process lives through.

    Attributes:
        model: name or folder of a checkpoint; None is the fake model.
        answered: lines of each conversation that have been acknowledged.
        measured: numbers of replies at which the resident memory is told.
    """

    script: Script
    db: str
    model: str | None
    answered: tuple[int, ...]
    measured: tuple[int, ...] = ()

    def memory(self) -> SleepMemory:
        model = self.model or FakeSleepLM(FAKE_WINDOW)
        return SleepMemory(self.db, model=model, policy=TokenBudget(BUDGET), **OPTIONS)


def live(plan: Plan, watcher: Connection) -> None:
    """Say what is left of the script, and acknowledge each reply."""

    def tell(told: dict[str, Any]) -> None:
        watcher.send_bytes(json.dumps(told).encode())

    asyncio.run(Life(plan, tell).run())
    tell({"done": True})


class Life:
    """All conversations of a plan, side by side; each reply is told."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self._plan, self._tell, self._n_replies = plan, tell, 0

    async def run(self) -> None:
        async with self._plan.memory() as memory, asyncio.TaskGroup() as group:
            for conversation in self._plan.script.conversations:
                group.create_task(self._converse(memory, conversation))

    async def _converse(self, memory: SleepMemory, conversation: int) -> None:
        script = self._plan.script
        name, thread = script.place(conversation)
        said = (await memory.agent(name)).thread(thread)
        # whoever asked last cannot know whether the answer came from before or after the end
        first = max(0, self._plan.answered[conversation] - 1)
        for n in range(first, script.n_lines(conversation)):
            reply = await said.say(
                script.line(conversation, n), request_id=script.request_id(conversation, n)
            )
            self._tell({"conversation": conversation, "n": n, "reply": reply.text})
            self._n_replies += 1
            if self._n_replies in self._plan.measured:
                self._tell({"resident_bytes": resident_bytes()})
            if n % COLLECTED_EVERY == COLLECTED_EVERY - 1:
                await memory.gc(name, keep_last=1, keep_within=None)


def resident_bytes() -> int:
    """Return the resident memory of this process, without what Python can give back at once."""
    gc.collect()
    n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return n_pages * os.sysconf("SC_PAGE_SIZE")
