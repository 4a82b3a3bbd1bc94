"""A reply as it is spoken."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType

from sleepmem.errors import MisuseError
from sleepmem.types import Reply


class ReplyStream:
    """Yields the text of a reply piece by piece; the turn begins with the first piece.

    The last piece comes when the turn is durable. A stream that is closed, cancelled or forgotten
    before aborts its turn: what came in stays in the log and belongs to no episode.
    """

    def __init__(self, turn: AsyncGenerator[str | Reply, None]) -> None:
        self._turn = turn
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """Return the whole reply, once the stream has ended.

        Raises:
            MisuseError: it has not.
        """
        if self._reply is None:
            raise MisuseError(
                "the reply is not complete", hint="Read the stream to its end before `reply`."
            )
        return self._reply

    def __aiter__(self) -> ReplyStream:
        return self

    async def __anext__(self) -> str:
        piece = await anext(self._turn)
        while isinstance(piece, Reply):
            self._reply = piece
            piece = await anext(self._turn)
        return piece

    async def aclose(self) -> None:
        """Abort the turn, unless it is done."""
        await self._turn.aclose()

    async def __aenter__(self) -> ReplyStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
