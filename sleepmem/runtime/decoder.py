"""Continuous batching: all who are speaking get their next token from one call of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sleepmem.protocols import SleepLM, WakeState
from sleepmem.types import Sampling

MOST = 64  # states in one call

Run = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class _Wanted:
    """A token that somebody waits for."""

    state: WakeState
    sampling: Sampling
    token_id: asyncio.Future[int]


class Decoder:
    """Gathers what is asked for while the model is busy, and decodes it together.

    Nobody waits for company: a call goes out as soon as the model is free, with whoever has asked
    by then. One state that cannot go on does not stop the others.

    Args:
        run: calls a function in the model's thread; see `Engine.run`.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._wanted: list[_Wanted] = []
        self._gathering: asyncio.Task[None] | None = None

    async def next(self, lm: SleepLM, state: WakeState, sampling: Sampling) -> int:
        """Return the next token of a state, sampled and already read by it.

        A cancelled caller leaves a state that may be advanced later, so it must be thrown away.

        Raises:
            NotOpen: the engine is closed.
        """
        wanted = _Wanted(state, sampling, asyncio.get_running_loop().create_future())
        self._wanted.append(wanted)
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._decode(lm))
        return await wanted.token_id

    async def _decode(self, lm: SleepLM) -> None:
        try:
            while True:
                await asyncio.sleep(0)  # who has just got a token asks for the next one
                waiting = [wanted for wanted in self._wanted if not wanted.token_id.done()]
                batch, self._wanted = waiting[:MOST], waiting[MOST:]
                if not batch:
                    return
                await self._decode_batch(lm, batch)
        finally:
            for wanted in self._wanted:
                wanted.token_id.cancel()

    async def _decode_batch(self, lm: SleepLM, batch: list[_Wanted]) -> None:
        states = [wanted.state for wanted in batch]
        try:
            found = await self._run(lm.next, states, [wanted.sampling for wanted in batch])
        except Exception as error:
            # no state was advanced, so each goes on alone and only who is to blame fails
            if len(batch) > 1:
                for wanted in batch:
                    await self._decode_batch(lm, [wanted])
            elif not batch[0].token_id.done():
                batch[0].token_id.set_exception(error)
            return
        except asyncio.CancelledError:
            for wanted in batch:
                wanted.token_id.cancel()
            raise
        for wanted, token_id in zip(batch, found, strict=True):
            if not wanted.token_id.done():
                wanted.token_id.set_result(token_id)
