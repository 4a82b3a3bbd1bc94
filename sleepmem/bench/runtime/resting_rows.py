"""What an agent costs that has lived and rests, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE

from sleepmem.bench import Report, Row
from sleepmem.bench.runtime import resting
from sleepmem.bench.runtime.measured import Setting
from sleepmem.errors import SleepmemError

GOAL = 500  # bytes


async def resting_rows(setting: Setting, report: Report) -> list[Row]:
    """Return `bytes_per_resting_agent`: what one more takes that has lived and rests."""
    size = setting.size
    numbers = (str(size.n_agents), str(size.n_resident))
    command = (sys.executable, "-m", resting.__name__, str(setting.folder), setting.model)
    process = await asyncio.create_subprocess_exec(*command, *numbers, stdout=PIPE)
    assert process.stdout
    line: dict[str, float] = {}
    async for text in process.stdout:
        line = json.loads(text)
        report(f"{size.n_agents} agents live and rest", line["share"])
    if await process.wait() or "bytes_per_agent" not in line:
        raise SleepmemError("the process in which agents rest ended before it was done")
    value = line["bytes_per_agent"]
    return [Row("bytes_per_resting_agent", value, "bytes", goal=GOAL, holds=value <= GOAL)]
