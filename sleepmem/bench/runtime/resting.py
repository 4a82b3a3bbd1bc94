"""Let agents live and rest in this process, and say how much memory that took.

    python -m sleepmem.bench.runtime.resting FOLDER MODEL N_AGENTS N_RESIDENT

Each is born, is told something, answers it and rests; no more than N_RESIDENT of them stay awake.
It is looked twice, once the first N_RESIDENT have lived and once all have. Those who are awake have
filled as much of their window both times, and none has slept: what a process makes once, and caches
that are bounded, are full by then and stand on both sides. What malloc keeps free for later is
given back before each look: it is no agent's, and how much it is differs by megabytes from one
moment to the next. What lies free in pages that are partly used is counted. A line of JSON whenever
some have lived; the last one has the bytes.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from sleepmem.events import Event, SleepStarted
from sleepmem.memory import SleepMemory

STATM = Path("/proc/self/statm")
FILLED = 0.7  # share of the window of those who are awake when it is looked; at more they sleep


async def measured(folder: Path, model: str, n_agents: int, n_resident: int) -> None:
    """Print what each agent after those who stay awake at first added to what is resident."""
    database, slept = f"sqlite:///{folder / 'resting.db'}", list[str]()

    def watch(event: Event) -> None:
        if isinstance(event, SleepStarted):
            slept.append(event.agent)

    async with SleepMemory(database, model=model, resident=n_resident, on_event=watch) as memory:

        async def live(first: int, stop: int) -> None:
            await asyncio.gather(*(_live(memory, n) for n in range(first, stop)))

        async def looked(first: int, stop: int) -> int:
            for at in range(first, stop, n_resident):
                await live(at, min(at + n_resident, stop))
                _say(share=at / n_agents)
            told = await (await memory.agent(_name(stop - 1))).stats()
            for _ in range(int(FILLED * told.window / told.n_tokens) - 1):
                await live(stop - n_resident, stop)
            if slept:
                sys.exit(f"{slept[0]} slept, so it was not awake when it was looked")
            return _resident_bytes()

        few, all_ = await looked(0, n_resident), await looked(n_resident, n_agents)
        _say(share=1.0, bytes_per_agent=(all_ - few) / (n_agents - n_resident))


def _name(n: int) -> str:
    return f"agent-{n}"


async def _live(memory: SleepMemory, n: int) -> None:
    agent = await memory.agent(_name(n))
    await agent.say("My dog is called Rex.", max_tokens=1)


def _resident_bytes() -> int:
    """Return the resident set; where the system does not tell it, its peak."""
    gc.collect()
    with suppress(AttributeError, TypeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _say(**line: float) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    folder, model, *numbers = sys.argv[1:]
    asyncio.run(measured(Path(folder), model, *map(int, numbers)))
