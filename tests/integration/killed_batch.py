"""A log that SIGKILL ends in the middle of a commit that many share; started by its test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from sleepmem.store import open_log
from sleepmem.testing.life import Life

N_WRITERS, N_WHOLE = 8, 3  # batches that are acknowledged before the one that is cut


def dies(call: Callable[..., Any], n: int, *, first: bool) -> Callable[..., Any]:
    """Return `call`, of which the n-th kills this process, before or after it is done."""
    n_left = n

    def mortal(*args: Any) -> Any:
        nonlocal n_left
        n_left -= 1
        if n_left or not first:
            found = call(*args)
        if not n_left:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return mortal


async def main(url: str, point: str) -> None:
    log = await open_log(url)
    lives = [await Life.born(log, f"agent-{n}") for n in range(N_WRITERS)]
    dialect = log._appends._engine.dialect
    is_first = point == "before its commit"
    dialect.do_commit = dies(dialect.do_commit, N_WHOLE + 1, first=is_first)  # type: ignore[method-assign]

    async def live(life: Life) -> None:
        while True:
            turn = await life.stage(life.message(), life.message(), done=True)
            sys.stdout.write(f"{turn.id}\n")
            sys.stdout.flush()

    await asyncio.gather(*(live(life) for life in lives))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
