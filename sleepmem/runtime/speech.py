"""Speaking: tokens one by one, text as it becomes certain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from sleepmem.protocols import WakeState
from sleepmem.runtime.parts import Parts
from sleepmem.types import FinishReason, Message, Role, Sampling


@dataclass
class Speech:
    """One reply in the making; `state` is advanced with every token.

    Attributes:
        token_ids: generated so far, at the end with the closing id.
        text: what was said, cut at a stop string; `token_ids` are never cut.
    """

    parts: Parts
    state: WakeState
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason = FinishReason.LENGTH

    async def deltas(self) -> AsyncGenerator[str, None]:
        """Yield the text piece by piece; a piece that may begin a stop string is held back."""
        engine, lm = self.parts.engine, self.parts.lm
        detokenizer = await engine.run(lm.detokenizer)
        scissors = Scissors(self.stop)

        while len(self.token_ids) < self.max_tokens and not scissors.has_cut:
            token_id = await engine.decoder.next(lm, self.state, self.sampling)
            self.token_ids.append(token_id)
            if token_id in lm.stop_ids:
                self.finish_reason = FinishReason.STOP
                break
            if said := scissors.push(detokenizer.push(token_id)):
                yield self._say(said)
        rest = scissors.push(detokenizer.flush()) + scissors.flush()
        if scissors.has_cut:
            self.finish_reason = FinishReason.STOP
        if self.token_ids[-1] not in lm.stop_ids:
            # every message in the log is closed, also one that was cut short
            closing_id = await engine.run(closing_id_of_reply, self.parts)
            await engine.run(lm.read, self.state, [closing_id])
            self.token_ids.append(closing_id)
        if rest:
            yield self._say(rest)

    def _say(self, piece: str) -> str:
        # the model may say any byte, a database keeps no NUL
        piece = piece.replace("\0", "\ufffd")
        self.text += piece
        return piece


def closing_id_of_reply(parts: Parts) -> int:
    """Return the id that closes an assistant message."""
    return parts.lm.encode(Message(role=Role.ASSISTANT, content="."))[-1]


class Scissors:
    """Cuts text at the first stop string, which may come in pieces.

    Attributes:
        has_cut: a stop string came; nothing more will be let through.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = [text for text in stop if text]
        self._held = ""
        self.has_cut = False

    def push(self, text: str) -> str:
        """Return what is certain to stand before any stop string."""
        if self.has_cut:
            return ""
        self._held += text
        places = [place for word in self._stop if (place := self._held.find(word)) >= 0]
        if places:
            self.has_cut = True
            return self._take(min(places))
        return self._take(len(self._held) - self._n_doubtful())

    def flush(self) -> str:
        """Return what was held back and turned out to be text."""
        return "" if self.has_cut else self._take(len(self._held))

    def _take(self, n: int) -> str:
        taken, self._held = self._held[:n], self._held[n:]
        return taken

    def _n_doubtful(self) -> int:
        """Return the length of the longest end of the text that begins a stop string."""
        return max(
            (
                n
                for word in self._stop
                for n in range(1, min(len(word), len(self._held) + 1))
                if word.startswith(self._held[-n:])
            ),
            default=0,
        )
