"""The episode log in SQL: one method, one transaction.

Each call is one of `Transactions`; the statements are in `agents`, `appends`, `turns`, `episodes`
and `history`. A writer locks its agent first, so that what it reads cannot change. Turns and
replies that are appended at once share a commit, and are as good as alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

from sqlalchemy.engine import URL

from sleepmem.history import LogEntry, Look
from sleepmem.store import agents, episodes, history, migrate, turns
from sleepmem.store.appends import Finishing, Staging
from sleepmem.store.engine import normalised
from sleepmem.store.transactions import Transactions
from sleepmem.types import (
    AgentSummary,
    Episode,
    FinishReason,
    Head,
    LoggedMessage,
    OpenEpisode,
    Role,
    SleepReport,
    Thread,
    Turn,
    checked_message,
    checked_name,
)

_PAGE = 500  # messages; each page of a life is a short transaction of its own


async def open_log(url: str | URL, *, durable: bool = True) -> SqlEpisodeLog:
    """Return the log in the database at `url`; a new database gets its tables first.

    Args:
        durable: false lets a commit return before it is flushed, to measure what it costs beside.

    Raises:
        ConfigError: the URL names no database that can be used.
        MissingExtra: Postgres without its driver.
        SchemaMismatch: made by an older or a newer sleepmem.
        StoreUnavailable: locked or unreachable.
    """
    url = normalised(url)
    await migrate.make_ready(url)
    return SqlEpisodeLog(url, durable=durable)


class SqlEpisodeLog(Transactions):
    """`EpisodeLog` on SQLite or Postgres; made by `open_log`."""

    async def claim(
        self,
        agent: str,
        *,
        fingerprint: str,
        holder: str,
        create: bool,
        now: datetime,
        over: int | None = None,
    ) -> int:
        return await self.write(
            agents.claim,
            agent,
            fingerprint=fingerprint,
            holder=holder,
            create=create,
            now=now,
            over=over,
        )

    async def renew(self, holder: str, *, now: datetime) -> int:
        return await self.write(agents.renew, holder, now=now)

    async def held(self, holder: str) -> frozenset[str]:
        return await self.read(agents.held, holder)

    async def release(self, holder: str) -> None:
        await self.write(agents.release, holder)

    async def agents(self) -> list[AgentSummary]:
        return await self.read(agents.agents)

    async def delete_agent(self, agent: str, *, now: datetime) -> None:
        await self.write(agents.delete_agent, agent, now=now)

    async def summary(self, agent: str) -> AgentSummary:
        return await self.read(agents.summary, agent)

    async def thread(
        self, agent: str, epoch: int, *, branch: str, name: str, system: str | None
    ) -> Thread:
        return await self.write(
            agents.thread, agent, epoch, branch=branch, name=name, system=system
        )

    async def threads(self, agent: str) -> list[Thread]:
        return await self.read(agents.threads, agent)

    async def head(self, agent: str, branch: str) -> Head:
        return await self.read(agents.head, agent, branch)

    async def open_episode(self, thread: Thread) -> OpenEpisode:
        return await self.read(episodes.open_episode, thread)

    async def turn_of_request(self, agent: str, request_id: str) -> Turn | None:
        return await self.read(turns.turn_of_request, agent, request_id)

    async def stage(
        self,
        thread: Thread,
        epoch: int,
        messages: Sequence[LoggedMessage],
        *,
        request_id: str | None,
        done: bool,
        now: datetime,
    ) -> Turn:
        if request_id is not None:
            checked_name("request id", request_id)
        return await self.append(
            Staging(
                thread=thread,
                epoch=epoch,
                messages=[checked_message(message) for message in messages],
                request_id=request_id,
                done=done,
                now=now,
            )
        )

    async def finish(
        self, turn: Turn, epoch: int, reply: LoggedMessage, finish_reason: FinishReason
    ) -> Turn:
        checked_message(reply)
        return await self.append(
            Finishing(turn=turn, epoch=epoch, reply=reply, finish_reason=finish_reason)
        )

    async def commit_sleep(
        self,
        thread: Thread,
        epoch: int,
        report: SleepReport,
        *,
        start: int,
        stop: int,
        expected: Head,
        woke_from: str | None,
        now: datetime,
        ensure_stored: Callable[[], Awaitable[None]],
    ) -> None:
        await self.write(
            episodes.commit_sleep,
            thread,
            epoch,
            report,
            start=start,
            stop=stop,
            expected=expected,
            woke_from=woke_from,
            now=now,
            ensure_stored=ensure_stored,
        )

    async def record_attempt(
        self,
        thread: Thread,
        epoch: int,
        report: SleepReport,
        *,
        start: int,
        stop: int,
        now: datetime,
    ) -> None:
        await self.write(
            episodes.record_attempt, thread, epoch, report, start=start, stop=stop, now=now
        )

    async def sleeps(self, agent: str, branch: str) -> list[SleepReport]:
        return await self.read(episodes.sleeps, agent, branch)

    async def lineage(
        self, agent: str, branch: str, *, until: str | None = None, at_most: int | None = None
    ) -> list[Episode]:
        return await self.read(episodes.lineage, agent, branch, until=until, at_most=at_most)

    async def tokens(self, thread_id: int, start: int, stop: int) -> list[int]:
        return await self.read(turns.tokens, thread_id, start, stop)

    async def ids_between(
        self, thread_id: int, start: int, stop: int, roles: frozenset[Role]
    ) -> list[tuple[int, ...]]:
        return await self.read(turns.ids_between, thread_id, start, stop, roles)

    async def messages_between(self, thread_id: int, start: int, stop: int) -> list[LoggedMessage]:
        return await self.read(turns.messages_between, thread_id, start, stop)

    async def entries(self, agent: str, *, search: str | None = None) -> AsyncIterator[LogEntry]:
        place: tuple[int, int] | None = (0, 0)
        while place is not None:
            page, place = await self.read(
                turns.entries_after, agent, place, search=search, limit=_PAGE
            )
            for entry in page:
                yield entry

    async def history(self, agent: str, look: Look) -> None:
        await self.read(history.history, agent, look)

    async def pin(self, agent: str, episode: str, pinned: bool) -> None:
        await self.write(history.pin, agent, episode, pinned)

    async def drop(self, agent: str, digests: Sequence[str], now: datetime) -> None:
        await self.write(history.drop, agent, digests, now)

    async def sweep(
        self, agent: str, digest: str, delete: Callable[[str, str], Awaitable[None]]
    ) -> bool:
        return await self.write(history.sweep, agent, digest, delete)

    async def deleted(self) -> list[str]:
        return await self.read(agents.deleted)

    async def forget_deletions(self, before: datetime) -> None:
        await self.write(agents.forget_deletions, before)

    async def restore(
        self, agent: str, digest: str, ensure_stored: Callable[[], Awaitable[None]]
    ) -> None:
        await self.write(history.restore, agent, digest, ensure_stored)
