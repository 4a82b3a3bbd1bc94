"""Where a chat model's agents live: a memory, and the event loop that it is open on."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from sleepmem.chat.bridge import Bridge, private_loop
from sleepmem.chat.errors import TooSlow
from sleepmem.memory import SleepMemory
from sleepmem.runtime.agent import AgentThread
from sleepmem.runtime.stream import ReplyStream
from sleepmem.types import Message

CLOSE_S = 10.0  # far longer than closing a database; the process must end


class Key(NamedTuple):
    """What tells two memories of the process apart."""

    db: str
    data: Path | None
    model: str
    passes: int


class Home:
    """A memory that is open already, or one that is opened when it is first needed.

    Args:
        where: an open memory, or the key of one that this process shares.
    """

    def __init__(self, where: SleepMemory | Key) -> None:
        self._where = where
        self.bridge = Bridge(where.loop if isinstance(where, SleepMemory) else private_loop())

    async def memory(self) -> SleepMemory:
        """Return the memory; only on the bridge's loop."""
        return self._where if isinstance(self._where, SleepMemory) else await _shared(self._where)

    @asynccontextmanager
    async def speaker(
        self, agent_id: str | None, thread: str, system: str | None
    ) -> AsyncIterator[AgentThread]:
        """Give a thread of the agent; without an agent, of one that is forgotten afterwards."""
        memory = await self.memory()
        if agent_id is not None:
            agent = await memory.agent(agent_id)
            yield agent.thread(thread, system=system)
        else:
            async with memory.ephemeral() as nobody:
                yield nobody.thread(thread, system=system)

    def token_ids(self, texts: Sequence[Message | str]) -> list[list[int]]:
        """Return the ids of messages, borders included, or of bare texts."""
        return self.bridge.run(self._token_ids(texts))

    async def _token_ids(self, texts: Sequence[Message | str]) -> list[list[int]]:
        memory = await self.memory()
        return [await memory.token_ids(text) for text in texts]


async def within(timeout_s: float | None, stream: ReplyStream) -> AsyncGenerator[str, None]:
    """Yield the pieces of a reply that must be whole after `timeout_s`. Raises TooSlow."""
    deadline = asyncio.get_running_loop().time() + timeout_s if timeout_s else None
    while True:
        try:
            # not around the yield: the time that a reader takes would be cancelled in its task
            async with asyncio.timeout_at(deadline):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as late:
            raise TooSlow(timeout_s or 0.0) from late
        yield piece


_open: dict[Key, asyncio.Task[SleepMemory]] = {}


async def _shared(key: Key) -> SleepMemory:
    """Return the process's memory of that key, opened once; lives until the process ends.

    Chat models share it, since of two memories one would wait for the agents of the other.
    """
    task = _open.get(key)
    if task is None or (task.done() and (task.cancelled() or task.exception())):
        memory = SleepMemory(key.db, data=key.data, model=key.model, passes=key.passes)
        task = _open[key] = asyncio.ensure_future(memory.open())
    # a caller who gives up must not take the memory from the others
    return await asyncio.shield(task)


def close_shared() -> None:
    """Close the memories that the process shares; whoever needs one opens it again."""
    if _open:
        Bridge(private_loop()).run(_close_all())


async def _close_all() -> None:
    opened, _ = await asyncio.wait(_open.values(), timeout=CLOSE_S)
    _open.clear()
    memories = [task.result() for task in opened if not (task.cancelled() or task.exception())]
    # at exit the interpreter has ended the models' threads by now, of which each memory complains
    # before it closes its database
    closing = asyncio.gather(*(memory.aclose() for memory in memories), return_exceptions=True)
    await asyncio.wait_for(closing, CLOSE_S)


atexit.register(close_shared)
