"""One attempt to sleep: compute on a copy, measure, store, commit; report what really happened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sleepmem import events
from sleepmem.errors import HeadMoved, LeaseLost, NotOpen, SleepmemError, StoreUnavailable
from sleepmem.protocols import FastWeights
from sleepmem.runtime.lost_answers import is_closed
from sleepmem.runtime.measure import MAX_EARLIER, SCORED, measure
from sleepmem.runtime.parts import Lease, Parts
from sleepmem.types import (
    Head,
    Measures,
    Outcome,
    SleepReason,
    SleepReport,
    Snapshot,
    Thread,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a sleep.

    Attributes:
        start, stop: stream positions of what is slept on; with that it is sealed, and what is
            lived later belongs to the next episode.
        floor: retention under which the sleep is rejected; None accepts any.
        min_tokens: fewer give `nothing_to_do`.
    """

    reason: SleepReason
    passes: int
    start: int
    stop: int
    floor: float | None = None
    min_tokens: int = 1


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of it.

    Attributes:
        error: what made it fail, or moved the head.
        is_late: an earlier sleep of the thread took what this one was to sleep on.
    """

    report: SleepReport
    error: Exception | None = None
    is_late: bool = False

    @property
    def slept(self) -> bool:
        return self.report.outcome is Outcome.SLEPT

    def reason_it_did_not(self) -> SleepmemError:
        """Return an error of the family that tells why there was no sleep."""
        if isinstance(self.error, SleepmemError):
            return self.error
        found = SleepmemError(
            f"agent {self.report.agent!r} could not sleep: {self.report.problem}",
            hint="Nothing was lost and the episode is still open; try again.",
        )
        found.__cause__ = self.error
        return found


async def attempt(
    parts: Parts, lease: Lease, thread: Thread, wish: Wish, awake_on: Head | None
) -> Attempt:
    """Sleep once on what a wish has sealed, the branch being held by the caller.

    Whatever happens, either the sleep is committed or the log is as it was, but for a row that
    tells of the attempt.

    Args:
        awake_on: the head that the thread was awake on; None means the present one.

    Raises:
        LeaseLost: another process claimed the agent.
    """
    sleep = _Sleep(parts, lease, thread, wish, awake_on)
    error: Exception | None = None
    try:
        outcome = await sleep.run()
    except (LeaseLost, NotOpen):
        raise
    except HeadMoved as moved:
        outcome, sleep.problem, error = Outcome.SUPERSEDED, str(moved), moved
    except Exception as failure:
        # the outermost loop of a sleep: whatever failed is told, and the agent lives on
        outcome, sleep.problem, error = Outcome.FAILED, _line(failure), failure
    report = sleep.report(outcome)
    if outcome is not Outcome.SLEPT:
        await sleep.record(report)
    parts.tell(events.SleepFinished(**sleep.place, report=report))
    level = logging.WARNING if error else logging.INFO
    extra = _ids(report) | {"retention": report.retention, "ceiling": report.ceiling}
    log.log(level, "sleep ended: %s", outcome.value, extra=extra, exc_info=error)
    if sleep.cancelled:
        raise sleep.cancelled
    return Attempt(report, error, sleep.is_late)


class _Sleep:
    """The attempt as far as it got."""

    def __init__(
        self, parts: Parts, lease: Lease, thread: Thread, wish: Wish, awake_on: Head | None
    ) -> None:
        self.parts, self.thread, self.wish = parts, thread, wish
        self.epoch = lease.epoch  # what is sealed is the log's only while this claim lasts
        self.awake_on = awake_on
        self.episode: str | None = None
        self.is_late = False
        self.snapshot: Snapshot | None = None
        self.measures: Measures | None = None
        self.sleep_s = self.measure_s = 0.0
        self.problem: str | None = None
        self.cancelled: asyncio.CancelledError | None = None  # while it was committed

    async def run(self) -> Outcome:
        """Return `slept` after the commit, or why there was none."""
        parts, thread, wish, store = self.parts, self.thread, self.wish, self.parts.log
        open_ = await store.open_episode(thread)
        self.is_late = open_.start != wish.start
        if self.is_late:
            return Outcome.NOTHING_TO_DO
        self.episode = open_.id
        if wish.stop - wish.start < max(1, wish.min_tokens):
            return Outcome.NOTHING_TO_DO
        head = open_.head
        ids: Sequence[int] = open_.token_ids[: wish.stop - wish.start]
        if len(ids) < wish.stop - wish.start:  # it ends inside a turn that is not done
            ids = await store.tokens(thread.id, wish.start, wish.stop)
        self._tell_start()
        parent = await parts.weights_at(thread.agent, head)
        child = await self._compute(parent, ids)
        await self._measure(parent, child)
        if self._is_too_little():
            return Outcome.REJECTED
        data = await parts.engine.run(parts.lm.dump, child)
        self.snapshot = await parts.snapshots.put(thread.agent, data)
        await self._to_the_end(self._commit(head, data))
        self._tell_moved(head)
        return Outcome.SLEPT

    async def _commit(self, head: Head, data: bytes) -> None:
        """Commit the sleep; if the answer is lost, look up whether it was."""
        parts, thread, wish = self.parts, self.thread, self.wish
        assert self.episode
        assert self.snapshot
        ensure_stored = partial(parts.ensure_stored, thread.agent, self.snapshot.digest, data)
        try:
            await parts.log.commit_sleep(
                thread,
                self.epoch,
                self.report(Outcome.SLEPT),
                start=wish.start,
                stop=wish.stop,
                expected=head,
                woke_from=(self.awake_on or head).episode,
                now=parts.clock.now(),
                ensure_stored=ensure_stored,
            )
        except StoreUnavailable:
            if not await is_closed(parts.log, thread, self.epoch, self.episode):
                raise

    async def _to_the_end(self, commit: Coroutine[Any, Any, None]) -> None:
        """Await a commit also if the caller is cancelled: what becomes true is told."""
        task = asyncio.create_task(commit)
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as cancelled:
                self.cancelled = cancelled
        if self.cancelled and task.exception():
            raise self.cancelled from task.exception()
        task.result()

    @property
    def place(self) -> dict[str, str]:
        thread = self.thread
        return {"agent": thread.agent, "branch": thread.branch, "thread": thread.name}

    def _tell_start(self) -> None:
        assert self.episode
        wish = self.wish
        self.parts.tell(
            events.SleepStarted(
                **self.place,
                episode=self.episode,
                reason=wish.reason,
                n_tokens=wish.stop - wish.start,
                passes=wish.passes,
            )
        )

    def _tell_moved(self, before: Head) -> None:
        assert self.episode
        assert self.snapshot
        self.parts.tell(
            events.HeadMoved(
                agent=self.thread.agent,
                branch=self.thread.branch,
                episode=self.episode,
                parent=before.episode,
                snapshot=self.snapshot.digest,
            )
        )

    async def _compute(self, parent: FastWeights, ids: Sequence[int]) -> FastWeights:
        began_s = self.parts.clock.monotonic_s()
        child = await sleep_through(self.parts, parent, ids, self.wish.passes)
        self.sleep_s = self.parts.clock.monotonic_s() - began_s
        return child

    async def _measure(self, parent: FastWeights, child: FastWeights) -> None:
        store, thread = self.parts.log, self.thread
        began_s = self.parts.clock.monotonic_s()
        told = await store.ids_between(thread.id, self.wish.start, self.wish.stop, SCORED)
        earlier = await store.lineage(thread.agent, thread.branch, at_most=MAX_EARLIER)
        self.measures = await measure(self.parts, told, earlier, parent, child)
        self.measure_s = self.parts.clock.monotonic_s() - began_s

    def _is_too_little(self) -> bool:
        floor = self.wish.floor
        retention = self.measures.retention if self.measures else None
        if floor is None or retention is None or retention >= floor:
            return False
        self.problem = f"retention {retention:.2f} is under the floor of {floor:.2f}"
        return True

    def report(self, outcome: Outcome) -> SleepReport:
        return SleepReport(
            agent=self.thread.agent,
            branch=self.thread.branch,
            thread=self.thread.name,
            episode=self.episode,
            reason=self.wish.reason,
            outcome=outcome,
            n_tokens=0 if self.is_late else self.wish.stop - self.wish.start,
            passes=self.wish.passes,
            snapshot=self.snapshot if outcome is Outcome.SLEPT else None,
            measures=self.measures,
            sleep_s=self.sleep_s,
            measure_s=self.measure_s,
            problem=self.problem,
            numerics=dict(self.parts.lm.numerics),
        )

    async def record(self, report: SleepReport) -> None:
        """Write the row of an attempt; a log that fails now leaves only the report."""
        if self.episode is None:
            return
        try:
            await self.parts.log.record_attempt(
                self.thread,
                self.epoch,
                report,
                start=self.wish.start,
                stop=self.wish.stop,
                now=self.parts.clock.now(),
            )
        except LeaseLost:
            raise
        except SleepmemError:
            log.warning("sleep could not be recorded", extra=_ids(report), exc_info=True)


async def sleep_through(
    parts: Parts, weights: FastWeights, ids: Sequence[int], passes: int
) -> FastWeights:
    """Return the new fast weights; wake work runs between the steps."""
    steps = await parts.engine.run(parts.lm.sleep, weights, ids, passes)
    found: FastWeights = None
    while (step := await parts.engine.step(steps)) is not None:
        found = step.weights
    return found


def _line(error: Exception) -> str:
    """Return an error in one line, its kind first if it is none of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SleepmemError) else f"{type(error).__name__}: {text}"


def _ids(report: SleepReport) -> dict[str, str | float | None]:
    return {
        "agent": report.agent,
        "branch": report.branch,
        "thread_name": report.thread,
        "episode": report.episode,
        "reason": report.reason.value,
        "n_tokens": report.n_tokens,
    }
