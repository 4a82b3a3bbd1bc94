"""One thread of an agent: where it stands, how it wakes, how it sleeps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from sleepmem.errors import MemoryFull, SleepmemError, WindowExceeded
from sleepmem.events import Evicted, Woken
from sleepmem.protocols import WakeState
from sleepmem.runtime.awake import Awake, Standing
from sleepmem.runtime.incoming import checked_text, last_call, open_calls
from sleepmem.runtime.parts import Lease, Parts
from sleepmem.runtime.sleeper import Attempt, Wish, attempt
from sleepmem.runtime.window import CutAt
from sleepmem.types import (
    EpisodeStats,
    Head,
    LoggedMessage,
    Message,
    Outcome,
    Role,
    SleepReason,
    SleepReport,
    Thread,
    Turn,
)

log = logging.getLogger(__name__)


class LiveThread:
    """The state of one conversation in this process; all of it can be had again from the log.

    Args:
        sleeps: held during a sleep; one for all threads of a branch.
    """

    def __init__(
        self, parts: Parts, lease: Lease, branch: str, name: str, sleeps: asyncio.Lock
    ) -> None:
        self.parts, self.lease, self.branch, self.name = parts, lease, branch, name
        self._sleeps, self._calls = sleeps, asyncio.Lock()
        self._row: tuple[int, Thread] | None = None  # as it was read in an epoch
        self._system: str | None = None
        self._system_ids: dict[str, tuple[int, ...]] = {}
        self._before: tuple[int, LoggedMessage | None, frozenset[str]] | None = None
        self._awake_on: Head | None = None
        self._awake_to = 0  # stream position up to which something was read on that head
        self._heard_s: float | None = None
        self._rejected_at: int | None = None
        self._n_sleeps = 0  # under way, or waiting for others of the branch

    def prompt(self, system: str) -> None:
        """Replace the system prompt, from the next call on."""
        self._system = checked_text("the system prompt", system)
        self.parts.in_use.prompted.add(self)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[tuple[Thread, int]]:
        """Hold the thread for one call; calls wait for each other.

        Gives its row, and the epoch under which all of the call is written: if the agent is lost
        and claimed again meanwhile, what the call goes by may be outdated.

        Raises:
            NotOpen, ThreadBusy, LeaseLost
        """
        self.parts.check_open()
        async with self.parts.queued(self._calls, f"{self.lease.agent}, thread {self.name!r},"):
            self.parts.check_open()
            with self.lease.watched():
                epoch = self.lease.epoch
                yield await self.row(), epoch

    async def row(self) -> Thread:
        """Return the thread's row; who held the agent meanwhile may have changed it."""
        epoch, system = self.lease.epoch, self._system
        if self._row is not None and self._row[0] == epoch and system is None:
            return self._row[1]
        row = await self.parts.log.thread(
            self.lease.agent, epoch, branch=self.branch, name=self.name, system=system
        )
        if self._row is not None and self._row[0] != epoch:
            self._heard_s = None  # since then somebody else may have spoken with it
        self._row = (epoch, row)
        if self._system is system:
            self._system = None  # it is in the log; a later one is not
            self.parts.in_use.prompted.discard(self)
        return row

    # where it stands

    async def stand(self, row: Thread, reserve: int = 0) -> Standing:
        """Return where the thread stands by the log, with `reserve` tokens to be kept free."""
        # one look at the log: a sleep may be committed at any moment, and moves both
        open_ = await self.parts.log.open_episode(row)
        system_ids = await self.system_ids(row)
        if self._before is None or self._before[0] != open_.start:
            self._before = (open_.start, *await self._unanswered(row, open_.start))
        _, call, pending = self._before
        # the call is a courtesy of at most half the room; the bound is the bound
        room = self.parts.lm.window - len(system_ids) - reserve
        is_short = call is not None and len(call.token_ids) <= room // 2
        return Standing(open_, system_ids, call if is_short else None, pending)

    async def system_ids(self, row: Thread) -> tuple[int, ...]:
        text = row.system
        if not text:
            return ()
        if text not in self._system_ids:
            message = Message(role=Role.SYSTEM, content=text)
            ids = await self.parts.engine.run(self.parts.lm.encode, message)
            self._system_ids = {text: tuple(ids)}
        return self._system_ids[text]

    async def _unanswered(
        self, row: Thread, start: int
    ) -> tuple[LoggedMessage | None, frozenset[str]]:
        """Return the message whose tool calls waited for an answer when the last sleep came."""
        if start == 0:
            return None, frozenset()
        since = max(0, start - self.parts.lm.window)
        messages = await self.parts.log.messages_between(row.id, since, start)
        return last_call(messages), open_calls(frozenset(), messages)

    # awake

    async def wake(self, row: Thread, standing: Standing, token_ids: tuple[int, ...]) -> WakeState:
        """Return a state that has read `token_ids` since the head; the caller alone holds it."""
        run, lm = self.parts.engine.run, self.parts.lm
        kept = self.parts.residents.take(row)
        unread = kept.unread(standing, token_ids) if kept else None
        if kept is None or unread is None:
            weights = await self.parts.weights_at(row.agent, standing.head)
            state, unread = await run(lm.wake, weights), standing.before + token_ids
        else:
            state = kept.state
        if unread:
            await run(lm.read, state, unread)
        if kept is None or state is not kept.state:
            self._tell_woken(row, standing, len(unread))
        self._awake_on, self._awake_to = standing.head, standing.open.start + len(token_ids)
        return state

    def _tell_woken(self, row: Thread, standing: Standing, n_tokens: int) -> None:
        self.parts.tell(
            Woken(
                agent=row.agent,
                branch=row.branch,
                thread=row.name,
                episode=standing.head.episode,
                n_tokens=n_tokens,
            )
        )

    def keep(
        self, row: Thread, standing: Standing, token_ids: tuple[int, ...], state: WakeState
    ) -> None:
        """Keep a state that has read exactly `token_ids` since the head, for the next turn."""
        start = standing.open.start
        awake = Awake(standing.head, standing.before, start, token_ids, state)
        for evicted in self.parts.residents.keep(row, awake):
            self._tell_evicted(evicted, "resident")
        self._awake_to = start + len(token_ids)

    # asleep

    @property
    def is_asleep(self) -> bool:
        """Whether a sleep has sealed what the thread lived through, and has not ended."""
        return self._n_sleeps > 0

    async def sleep(self, row: Thread, wish: Wish) -> Attempt:
        """Attempt one sleep; sleeps of a branch wait for each other.

        The thread need not be held: turns go on meanwhile, on the old fast weights.
        """
        self._n_sleeps += 1
        try:
            with self.lease.watched():
                async with self.parts.queued(self._sleeps, f"{row.agent}/{row.branch}"):
                    awake_on = self._awake_on if self._awake_to > wish.start else None
                    result = await attempt(self.parts, self.lease, row, wish, awake_on)
        finally:
            self._n_sleeps -= 1
        # only now is the KV cache dropped; that of a turn under way fits no head any more
        if result.slept and self.parts.residents.take(row):
            self._tell_evicted(row, "slept")
        return result

    def _tell_evicted(self, row: Thread, reason: Literal["slept", "resident"]) -> None:
        self.parts.tell(Evicted(agent=row.agent, branch=row.branch, thread=row.name, reason=reason))

    async def sleep_and_swap(self, row: Thread, wish: Wish) -> Attempt:
        """Sleep beside turns, then wake on the new fast weights between two of them.

        A turn under way is not waited for, its reader may be slow: the next one wakes by itself.
        """
        result = await self.sleep(row, wish)
        if result.slept and self._awake_to > wish.stop and not self._calls.locked():
            try:
                await self._swap()
            except SleepmemError:
                # the sleep is committed whatever comes; the next turn wakes by itself
                log.warning("not awake after a sleep", extra={"agent": row.agent}, exc_info=True)
        return result

    async def _swap(self) -> None:
        """Read what was lived during a sleep on top of it, so that the next turn need not."""
        async with self.turn() as (row, _):
            standing = await self.stand(row)
            ids = standing.open.token_ids
            if ids and len(standing.before) + len(ids) <= self.parts.lm.window:
                self.keep(row, standing, ids, await self.wake(row, standing, ids))

    async def make_room(
        self, row: Thread, reports: list[SleepReport], reserve: int, cut_at: CutAt
    ) -> Standing:
        """Sleep until nothing has to be cut any more, and return where the thread then stands.

        Args:
            reports: sleeps are added as they happen, also those before an error.
            reserve: tokens that must stay free behind what was read.
            cut_at: gives the position at which the next episode must end.

        Raises:
            WindowExceeded: system prompt and `reserve` leave no room for a single token.
            MemoryFull: the sleep was rejected, also with doubled passes.
            HeadMoved: the head moved during the sleep.
            SleepmemError: the sleep failed.
        """
        while True:
            standing = await self.stand(row, reserve)
            window, n_taken = self.parts.lm.window, len(standing.system_ids) + reserve
            if n_taken >= window:
                raise WindowExceeded(n_taken, window)
            cut = cut_at(standing.open, window - len(standing.before))
            if cut is None:
                return standing
            # a sleep that went on beside the turns may have made the room: look again after it
            await self._sleep_for_room(row, standing.open.start, cut, reports)

    async def _sleep_for_room(
        self, row: Thread, start: int, cut: int, reports: list[SleepReport]
    ) -> None:
        """Sleep on `[start, cut)` because the window needs it. Raises as `make_room`."""
        defaults = self.parts.defaults
        for passes in (defaults.passes, 2 * defaults.passes):
            if start == self._rejected_at:
                break
            result = await self.sleep(
                row,
                Wish(
                    reason=SleepReason.WINDOW,
                    passes=passes,
                    start=start,
                    stop=cut,
                    floor=defaults.retention_floor,
                ),
            )
            if result.is_late:
                return
            reports.append(result.report)
            if result.slept:
                return
            if result.report.outcome is not Outcome.REJECTED:
                raise result.reason_it_did_not()
        self._rejected_at = start
        raise MemoryFull(row.agent, row.name)

    # policies

    def heard(self) -> None:
        """Note that something was said just now."""
        self._heard_s = self.parts.clock.monotonic_s()

    def stats(self, standing: Standing, *, task_ended: bool = False) -> EpisodeStats:
        """Return what a policy may know of the open episode."""
        messages = [message for turn in standing.open.turns for message in turn.messages]
        return EpisodeStats(
            n_tokens=len(standing.open.token_ids),
            n_turns=len(standing.open.turns),
            window=self.parts.lm.window,
            idle_s=self._idle_s(standing),
            task_ended=task_ended,
            open_tool_calls=len(open_calls(standing.pending, messages)),
        )

    def stats_after(self, standing: Standing, turn: Turn) -> EpisodeStats:
        """Return the same for an episode that the turn has just joined, without asking the log."""
        stats = self.stats(standing)
        return stats.model_copy(
            update={
                "n_tokens": turn.stop - standing.open.start,
                "n_turns": stats.n_turns + 1,
                "open_tool_calls": 0,  # a generated reply calls no tool
            }
        )

    def _idle_s(self, standing: Standing) -> float:
        if self._heard_s is not None:
            return self.parts.clock.monotonic_s() - self._heard_s
        if not standing.open.turns:
            return 0.0
        # nothing was said in this process: all that is left is the wall clock
        since = self.parts.clock.now() - standing.open.turns[-1].created_at
        return max(0.0, since.total_seconds())

    def wish_of_policy(self, start: int, stats: EpisodeStats) -> Wish | None:
        """Return the sleep that the policy wishes; it is not asked while a tool call waits."""
        defaults = self.parts.defaults
        reason = None if stats.open_tool_calls else defaults.policy.decide(stats)
        if reason is None:
            return None
        return Wish(
            reason=reason,
            passes=defaults.passes,
            start=start,
            stop=start + stats.n_tokens,
            floor=defaults.retention_floor,
            min_tokens=defaults.min_tokens,
        )

    def watch_clock(self, row: Thread, stats: EpisodeStats) -> None:
        """Have the policy asked again when only time has passed."""
        self.parts.idle.arm(row.id, self._wait_s(stats), self._ask_when_idle)

    def ask_soon(self, row: Thread) -> None:
        """Have the policy asked now, and again for as long as it looks at the clock."""
        self.parts.idle.arm(row.id, 0.0, self._ask_when_idle)

    def _wait_s(self, stats: EpisodeStats) -> float | None:
        is_waiting = stats.open_tool_calls or not stats.n_tokens
        return None if is_waiting else self.parts.defaults.policy.wait_s(stats)

    async def _ask_when_idle(self) -> float | None:
        while True:
            async with self.turn() as (row, _):
                standing = await self.stand(row)
                stats = self.stats(standing)
                wish = self.wish_of_policy(standing.open.start, stats)
            if wish is None:
                return self._wait_s(stats)
            result = await self.sleep_and_swap(row, wish)
            if not result.is_late:  # else another sleep came first and may have left something
                return None


def live_thread(parts: Parts, lease: Lease, branch: str, name: str) -> LiveThread:
    """Return the thread that is in use under that name, or else a new one."""
    in_use, key = parts.in_use, (lease.agent, branch, name)
    live = in_use.threads.get(key)
    if live is None or live.lease is not lease:  # an agent of that name may have been deleted
        sleeps = in_use.sleeps.setdefault((lease.agent, branch), asyncio.Lock())
        live = in_use.threads[key] = LiveThread(parts, lease, branch, name, sleeps)
    return live
