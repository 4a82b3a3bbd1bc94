"""The episode log in plain Python: the slow, obvious version that judges the SQL one.

Ephemeral agents live on it. No method awaits anything but a snapshot store, with a lock held, so
each one is a transaction by nature.
`aclose` keeps the data: opening a second memory over the same object is a restart.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from sleepmem.errors import (
    BranchNotFound,
    ConfigError,
    Conflict,
    EpisodeNotFound,
    HeadMoved,
    MisuseError,
    StoreError,
)
from sleepmem.history import LogEntry
from sleepmem.store.memory_leases import MemoryLeases
from sleepmem.types import (
    AgentSummary,
    Episode,
    FinishReason,
    Head,
    LoggedMessage,
    OpenEpisode,
    Outcome,
    Role,
    SleepReport,
    Thread,
    Turn,
    TurnState,
    checked_message,
    checked_name,
)


@dataclass
class _Stream:
    """A thread's row, its turns as indices into the agent's, and its episodes."""

    thread: Thread
    turns: list[int] = field(default_factory=list)
    closed: list[Episode] = field(default_factory=list)
    open_id: str | None = None


class MemoryEpisodeLog(MemoryLeases):
    """Keep every agent's log in memory.

    Attributes:
        attempts: every sleep that was recorded, committed or not, oldest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._streams: dict[int, _Stream] = {}
        self._thread_ids = count(1)
        self.attempts: list[SleepReport] = []

    async def agents(self) -> list[AgentSummary]:
        return [await self.summary(name) for name in sorted(self._agents)]

    async def delete_agent(self, agent: str, *, now: datetime) -> None:
        self._agent(agent)
        del self._agents[agent]
        self._streams = {k: s for k, s in self._streams.items() if s.thread.agent != agent}
        self._episodes = {k: e for k, e in self._episodes.items() if e.agent != agent}
        self.attempts = [attempt for attempt in self.attempts if attempt.agent != agent]
        self._deletions.append((agent, now))

    async def summary(self, agent: str) -> AgentSummary:
        found = self._agent(agent)
        done = [turn for turn in found.turns if turn.state is TurnState.DONE]
        return AgentSummary(
            agent=agent,
            fingerprint=found.fingerprint,
            branches=tuple(sorted(found.heads)),
            n_turns=len(done),
            n_episodes=sum(episode.agent == agent for episode in self._episodes.values()),
            last_turn_at=done[-1].created_at if done else None,
        )

    async def thread(
        self, agent: str, epoch: int, *, branch: str, name: str, system: str | None
    ) -> Thread:
        checked_name("thread name", name)
        owner = self._owned(agent, epoch)
        if branch not in owner.heads:
            raise BranchNotFound(agent, branch)
        for stream in self._streams.values():
            known = stream.thread
            if (known.agent, known.branch, known.name) == (agent, branch, name):
                if system is not None:
                    stream.thread = known.model_copy(update={"system": system})
                return stream.thread
        thread = Thread(
            id=next(self._thread_ids), agent=agent, branch=branch, name=name, system=system
        )
        self._streams[thread.id] = _Stream(thread)
        return thread

    async def threads(self, agent: str) -> list[Thread]:
        self._agent(agent)
        streams = self._streams.values()
        return [stream.thread for stream in streams if stream.thread.agent == agent]

    async def head(self, agent: str, branch: str) -> Head:
        heads = self._agent(agent).heads
        if branch not in heads:
            raise BranchNotFound(agent, branch)
        return heads[branch]

    async def open_episode(self, thread: Thread) -> OpenEpisode:
        stream = self._stream(thread)
        start = _closed_stop(stream)
        turns = tuple(
            turn
            for turn in self._turns(stream)
            if turn.state is TurnState.DONE and turn.stop > max(start, turn.start)
        )
        ids = [i for turn in turns for i in _ids(turn)[max(0, start - turn.start) :]]
        return OpenEpisode(
            id=stream.open_id or secrets.token_hex(8),
            head=self._agent(thread.agent).heads[thread.branch],
            start=start,
            token_ids=tuple(ids),
            turns=turns,
        )

    async def turn_of_request(self, agent: str, request_id: str) -> Turn | None:
        checked_name("request id", request_id)
        turns = self._agents[agent].turns if agent in self._agents else []
        for turn in turns:
            if turn.request_id == request_id and turn.state is not TurnState.ABANDONED:
                return turn
        return None

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
        owner, stream = self._owned(thread.agent, epoch), self._stream(thread)
        for message in messages:
            checked_message(message)
        if request_id is not None and await self.turn_of_request(thread.agent, request_id):
            raise Conflict(
                f"request {request_id!r} of agent {thread.agent!r} is in the log already"
            )
        staged = next((t for t in self._turns(stream) if t.state is TurnState.STAGED), None)
        if staged:
            stop = max(staged.start, min(staged.stop, _closed_stop(stream)))
            self._put(staged.model_copy(update={"state": TurnState.ABANDONED, "stop": stop}))
        start = max([_closed_stop(stream), *(turn.stop for turn in self._turns(stream))])
        turn = Turn(
            id=secrets.token_hex(16),
            agent=thread.agent,
            thread_id=thread.id,
            seq=len(owner.turns) + 1,
            request_id=request_id,
            state=TurnState.DONE if done else TurnState.STAGED,
            start=start,
            stop=start + sum(len(message.token_ids) for message in messages),
            messages=tuple(messages),
            created_at=now,
        )
        stream.turns.append(len(owner.turns))
        owner.turns.append(turn)
        return turn

    async def finish(
        self, turn: Turn, epoch: int, reply: LoggedMessage, finish_reason: FinishReason
    ) -> Turn:
        owner = self._owned(turn.agent, epoch)
        checked_message(reply)
        known = next((t for t in owner.turns if t.id == turn.id), None)
        if known is None or known.state is not TurnState.STAGED:
            raise Conflict(f"turn {turn.id} is {known.state if known else 'unknown'}, not staged")
        changes = {
            "state": TurnState.DONE,
            "stop": known.stop + len(reply.token_ids),
            "messages": (*known.messages, reply),
            "finish_reason": finish_reason,
        }
        return self._put(known.model_copy(update=changes))

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
        if report.outcome is not Outcome.SLEPT or not report.episode or not report.snapshot:
            raise MisuseError(f"a sleep that ended as {report.outcome} cannot be committed")
        self._owned(thread.agent, epoch)
        async with self._sweeping:
            await ensure_stored()
        # nothing is awaited from here on
        owner, stream = self._owned(thread.agent, epoch), self._stream(thread)
        found = owner.heads[thread.branch]
        if found != expected:
            raise HeadMoved(thread.agent, thread.branch, expected.episode, found.episode)
        end = max((turn.stop for turn in self._turns(stream)), default=0)
        if not _closed_stop(stream) == start < stop <= end:
            raise Conflict(
                f"[{start}, {stop}) is not the open episode of thread {thread.name!r}, "
                f"which lies in [{_closed_stop(stream)}, {end})"
            )
        self._check_id(stream, report.episode)
        parent = self._episodes[found.episode] if found.episode else None
        episode = Episode(
            id=report.episode,
            index=parent.index + 1 if parent else 1,
            agent=thread.agent,
            thread_id=thread.id,
            thread=thread.name,
            start=start,
            stop=stop,
            parent=found.episode,
            woke_from=woke_from,
            reason=report.reason,
            passes=report.passes,
            snapshot=report.snapshot,
            measures=report.measures,
            numerics=report.numerics,
            closed_at=now,
        )
        self._mark(thread.agent, {report.snapshot.digest}, None)
        self._episodes[episode.id] = episode
        stream.closed.append(episode)
        stream.open_id = None
        owner.heads[thread.branch] = Head(episode=episode.id, snapshot=report.snapshot.digest)
        self.attempts.append(report.model_copy(update={"recorded_at": now}))

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
        if report.outcome is Outcome.SLEPT:
            raise MisuseError("a sleep that slept is committed, not recorded as an attempt")
        self._owned(thread.agent, epoch)
        stream = self._stream(thread)
        episode = report.episode or stream.open_id or secrets.token_hex(8)
        self._check_id(stream, episode)
        stream.open_id = episode
        self.attempts.append(report.model_copy(update={"episode": episode, "recorded_at": now}))

    async def sleeps(self, agent: str, branch: str) -> list[SleepReport]:
        await self.head(agent, branch)
        return [tried for tried in self.attempts if (tried.agent, tried.branch) == (agent, branch)]

    async def lineage(
        self, agent: str, branch: str, *, until: str | None = None, at_most: int | None = None
    ) -> list[Episode]:
        episodes: list[Episode] = []
        episode = (await self.head(agent, branch)).episode
        while episode is not None:
            episodes.append(self._episodes[episode])
            episode = episodes[-1].parent
        episodes.reverse()
        if at_most is not None and len(episodes) > at_most:
            oldest, gaps = len(episodes) - 1, max(1, at_most - 1)
            return [episodes[-1 - i * oldest // gaps] for i in reversed(range(at_most))]
        if until is None:
            return episodes
        for n, found in enumerate(episodes, 1):
            if found.id == until:
                return episodes[:n]
        raise EpisodeNotFound(agent, until)

    async def tokens(self, thread_id: int, start: int, stop: int) -> list[int]:
        _check_interval(start, stop)
        stream = self._streams.get(thread_id)
        turns = self._turns(stream) if stream else []
        whole = [token_id for turn in turns for token_id in _ids(turn)]
        if stop > len(whole):
            raise StoreError(
                f"thread {thread_id} holds {len(whole)} tokens, [{start}, {stop}) was asked for"
            )
        return whole[start:stop]

    async def ids_between(
        self, thread_id: int, start: int, stop: int, roles: frozenset[Role]
    ) -> list[tuple[int, ...]]:
        messages = await self.messages_between(thread_id, start, stop)
        return [message.token_ids for message in messages if message.role in roles]

    async def messages_between(self, thread_id: int, start: int, stop: int) -> list[LoggedMessage]:
        _check_interval(start, stop)
        stream = self._streams.get(thread_id)
        messages = []
        for turn in self._turns(stream) if stream else []:
            begin = turn.start
            for message in turn.messages:
                end = begin + len(message.token_ids)
                if start <= begin < end <= min(stop, turn.stop):
                    messages.append(message)
                begin = end
        return messages

    async def entries(self, agent: str, *, search: str | None = None) -> AsyncIterator[LogEntry]:
        needle = (search or "").lower()
        for turn in self._agent(agent).turns:
            for message in turn.messages:
                if needle in message.content.lower():
                    yield LogEntry(
                        seq=turn.seq,
                        turn=turn.id,
                        thread=self._streams[turn.thread_id].thread.name,
                        state=turn.state,
                        role=message.role,
                        content=message.content,
                        n_tokens=len(message.token_ids),
                        created_at=turn.created_at,
                    )

    async def aclose(self) -> None:
        """Keep everything: the same object opened again is the same log."""

    def _stream(self, thread: Thread) -> _Stream:
        stream = self._streams.get(thread.id)
        if stream is None or stream.thread.agent != thread.agent:
            raise MisuseError(f"thread {thread.id} is not one of agent {thread.agent!r}")
        return stream

    def _turns(self, stream: _Stream) -> list[Turn]:
        turns = self._agents[stream.thread.agent].turns
        return [turns[i] for i in stream.turns]

    def _put(self, turn: Turn) -> Turn:
        self._agents[turn.agent].turns[turn.seq - 1] = turn
        return turn

    def _check_id(self, stream: _Stream, episode: str) -> None:
        if episode in self._episodes or (stream.open_id or episode) != episode:
            raise MisuseError(f"{episode} is not the open episode of thread {stream.thread.name!r}")


def _closed_stop(stream: _Stream) -> int:
    return stream.closed[-1].stop if stream.closed else 0


def _ids(turn: Turn) -> list[int]:
    """Return the ids of a turn that belong to the stream."""
    ids = [token_id for message in turn.messages for token_id in message.token_ids]
    return ids[: turn.stop - turn.start]


def _check_interval(start: int, stop: int) -> None:
    if not 0 <= start <= stop:
        raise ConfigError(f"[{start}, {stop}) is no interval of a stream")
