"""An agent is told things, sleeps, and its process ends; another process asks.

    python examples/01_sleep_and_restart.py

Expected output:

    ana: Noted.
    slept: 4 passes over 26 tokens
    ... and in another process:
    ana: Rex.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from sleepmem import SleepMemory


async def tell(db: str) -> None:
    async with SleepMemory(db) as memory:
        ana = await memory.agent("ana")
        reply = await ana.say("My dog is called Rex.")
        print("ana:", reply.text)
        await ana.say("Maria lives in Lisbon.")
        report = await ana.sleep()  # writes the episode into fast weights, then drops the KV cache
        print(f"{report.outcome}: {report.passes} passes over {report.n_tokens} tokens")


async def ask(db: str) -> None:
    async with SleepMemory(db) as memory:
        ana = await memory.agent("ana")
        reply = await ana.say("What is my dog called?")
        print("ana:", reply.text)


def main() -> None:
    if len(sys.argv) > 1:
        asyncio.run(ask(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        db = f"sqlite:///{Path(folder) / 'agents.db'}"
        asyncio.run(tell(db))
        print("... and in another process:", flush=True)
        subprocess.run([sys.executable, __file__, db], check=True)


if __name__ == "__main__":
    main()
