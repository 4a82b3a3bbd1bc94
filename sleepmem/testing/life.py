"""An agent that lives on an episode log without a model: turns and sleeps in one line each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

from blake3 import blake3

from sleepmem.history import Heads
from sleepmem.protocols import EpisodeLog
from sleepmem.types import (
    MAIN,
    Episode,
    FinishReason,
    LoggedMessage,
    Measures,
    Outcome,
    Role,
    SleepReason,
    SleepReport,
    Snapshot,
    Thread,
    Turn,
)

BIRTH = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FINGERPRINT = "f" * 64


async def stored() -> None:
    """Say of bytes that nobody needs that they are there."""


class Life:
    """One agent, one epoch and one thread on `log`; made by `born` and `on`.

    Token ids are never used twice, so a mistake in a stream shows. Every call is a second later.
    """

    def __init__(self, log: EpisodeLog, thread: Thread, epoch: int, ids: count[int]) -> None:
        self.log, self.thread, self.epoch = log, thread, epoch
        self._ids = ids

    @classmethod
    async def born(cls, log: EpisodeLog, agent: str = "ana", *, thread: str = MAIN) -> Life:
        """Claim the agent, made if it is new, and open the thread."""
        epoch = await log.claim(
            agent, fingerprint=FINGERPRINT, holder="test", create=True, now=BIRTH
        )
        opened = await log.thread(agent, epoch, branch=MAIN, name=thread, system=None)
        return cls(log, opened, epoch, count(1))

    async def on(self, thread: str) -> Life:
        """Return the same agent on another thread of its branch."""
        agent = self.thread.agent
        opened = await self.log.thread(agent, self.epoch, branch=MAIN, name=thread, system=None)
        return Life(self.log, opened, self.epoch, self._ids)

    def message(
        self, content: str = "hello", n_tokens: int = 3, role: Role = Role.USER
    ) -> LoggedMessage:
        ids = tuple(next(self._ids) for _ in range(n_tokens))
        return LoggedMessage(role=role, content=content, token_ids=ids)

    async def stage(
        self,
        *messages: LoggedMessage,
        done: bool = False,
        request_id: str | None = None,
    ) -> Turn:
        """Stage the messages, or one of three tokens."""
        return await self.log.stage(
            self.thread,
            self.epoch,
            messages or [self.message()],
            request_id=request_id,
            done=done,
            now=self.now(),
        )

    async def finish(self, turn: Turn, n_tokens: int = 2) -> Turn:
        """Give a staged turn a reply."""
        reply = self.message("a reply", n_tokens, Role.ASSISTANT)
        return await self.log.finish(turn, self.epoch, reply, FinishReason.STOP)

    def report(
        self, episode: str | None, n_tokens: int = 0, outcome: Outcome = Outcome.SLEPT
    ) -> SleepReport:
        """Return what a sleep of `episode` came to; its snapshot is the digest of its id."""
        data = f"snapshot of {episode}".encode()
        snapshot = Snapshot(digest=blake3(data).hexdigest(), n_bytes=len(data))
        return SleepReport(
            agent=self.thread.agent,
            branch=self.thread.branch,
            thread=self.thread.name,
            episode=episode,
            reason=SleepReason.ASKED,
            outcome=outcome,
            n_tokens=n_tokens,
            passes=4,
            snapshot=snapshot if outcome is Outcome.SLEPT else None,
            measures=Measures(first=2.1, again=0.1 + 0.2, cached=0.05, interference=-1e-17),
            sleep_s=1.25,
            measure_s=0.5,
            numerics={"torch": "2.11", "threads": "1"},
        )

    async def sleep(self, stop: int | None = None) -> SleepReport:
        """Close the open episode, or its part before `stop`, on top of the head."""
        opened = await self.log.open_episode(self.thread)
        stop = opened.start + len(opened.token_ids) if stop is None else stop
        head = await self.log.head(self.thread.agent, self.thread.branch)
        report = self.report(opened.id, stop - opened.start)
        await self.log.commit_sleep(
            self.thread,
            self.epoch,
            report,
            start=opened.start,
            stop=stop,
            expected=head,
            woke_from=head.episode,
            now=self.now(),
            ensure_stored=stored,
        )
        return report

    async def fail_to_sleep(
        self, episode: str | None, start: int, stop: int, outcome: Outcome = Outcome.FAILED
    ) -> None:
        """Record an attempt that closed nothing."""
        await self.log.record_attempt(
            self.thread,
            self.epoch,
            self.report(episode, stop - start, outcome),
            start=start,
            stop=stop,
            now=self.now(),
        )

    async def stream(self) -> list[int]:
        """Return the whole stream of the thread as turns and their intervals give it."""
        opened = await self.log.open_episode(self.thread)
        stop = opened.start + len(opened.token_ids)
        return await self.log.tokens(self.thread.id, 0, stop)

    def now(self) -> datetime:
        return BIRTH + timedelta(seconds=next(self._ids))


class History(NamedTuple):
    """What a log shows of a life, oldest first."""

    heads: dict[str, str | None]
    episodes: list[Episode]


async def history(log: EpisodeLog, agent: str = "ana") -> History:
    """Return all that a log shows of a life, having seen that parents come after their children."""
    found = History({}, [])

    def look(heads: Heads) -> Callable[[Episode], None]:
        found.heads.update(heads)
        return show

    def show(episode: Episode) -> None:
        assert episode.parent not in [shown.id for shown in found.episodes]
        found.episodes.append(episode)

    await log.history(agent, look)
    found.episodes.reverse()
    return found
