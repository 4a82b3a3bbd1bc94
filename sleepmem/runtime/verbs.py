"""What callers do with a thread: say, stream, observe, sleep, plan, end a task."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.errors import ConfigError
from sleepmem.runtime.incoming import Incoming, checked_messages
from sleepmem.runtime.parts import at_least_one
from sleepmem.runtime.plan import plan_of
from sleepmem.runtime.sleeper import Wish
from sleepmem.runtime.stream import ReplyStream
from sleepmem.runtime.thread import LiveThread
from sleepmem.runtime.turns import Ask, answer, observe
from sleepmem.runtime.window import cut_behind
from sleepmem.types import (
    EpisodeStats,
    Outcome,
    Reply,
    Sampling,
    SleepPlan,
    SleepReason,
    SleepReport,
    checked_name,
)


class Verbs:
    """The verbs of one thread; an agent has them too, for its thread `main`."""

    _live: LiveThread

    async def say(
        self,
        message: Incoming,
        *,
        request_id: str | None = None,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Reply:
        """Say something and return the reply, once both are durable.

        Args:
            message: what the user said, or a message, or several.
            request_id: names this call for good: made again, it returns the stored reply or goes
                on where it was cut short, and nothing is read twice.
            max_tokens: tokens of the reply at most.
            sampling: how tokens are chosen.
            stop: texts before which the reply is cut.

        Raises:
            InvalidMessage, WindowExceeded, MemoryFull, LeaseLost, ThreadBusy, NotOpen
        """
        stream = self.stream(
            message, request_id=request_id, max_tokens=max_tokens, sampling=sampling, stop=stop
        )
        async for _ in stream:
            pass
        return stream.reply

    def stream(
        self,
        message: Incoming,
        *,
        request_id: str | None = None,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> ReplyStream:
        """Return the reply as it is spoken; arguments and errors as in `say`."""
        defaults = self._live.parts.defaults
        if request_id is not None:
            checked_name("request id", request_id)
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(isinstance(text, str) and text for text in stops):
            raise ConfigError("a stop string is a text that is not empty")
        if sampling is not None and not isinstance(sampling, Sampling):
            raise ConfigError(f"sampling is a Sampling, not {type(sampling).__name__}")
        ask = Ask(
            messages=checked_messages(message),
            request_id=request_id,
            max_tokens=at_least_one(
                "max_tokens", defaults.max_tokens if max_tokens is None else max_tokens
            ),
            sampling=sampling or defaults.sampling,
            stop=stops,
        )
        return ReplyStream(answer(self._live, ask))

    async def observe(self, messages: Incoming) -> tuple[SleepReport, ...]:
        """Live through messages as they stand, in one commit; nothing is generated.

        Returns the sleeps that they caused.
        """
        return await observe(self._live, checked_messages(messages))

    async def sleep(self, *, passes: int | None = None, force: bool = False) -> SleepReport:
        """Sleep on the open episode now, and report what really happened.

        Turns go on meanwhile: they are answered on the old fast weights and belong to the next
        episode, and when the sleep is committed they are read again on top of the new ones.

        An import that was cut short may have left more than a window: it is slept in pieces, and
        the report is of the last one.

        Args:
            passes: the paper's N; None takes the memory's default.
            force: accept any retention, and any length from one token on.
        """
        live = self._live
        defaults = live.parts.defaults
        passes = at_least_one("passes", defaults.passes if passes is None else passes)
        floor = None if force else defaults.retention_floor
        last: SleepReport | None = None
        while True:
            async with live.turn() as (row, _):
                standing = await live.stand(row)
            # what is read before an episode takes no room in a sleep
            cut = cut_behind(None, 0)(standing.open, live.parts.lm.window)
            wish = Wish(
                reason=SleepReason.ASKED if cut is None else SleepReason.WINDOW,
                passes=passes,
                start=standing.open.start,
                stop=standing.stop if cut is None else cut,
                floor=floor,
                min_tokens=1 if force or cut is not None else defaults.min_tokens,
            )
            attempt = await live.sleep_and_swap(row, wish)
            if attempt.is_late:  # another sleep came first: what is left, if anything?
                continue
            report = attempt.report
            if last and report.outcome is Outcome.NOTHING_TO_DO:
                return last
            last = report
            if cut is None or report.outcome is not Outcome.SLEPT:
                return report

    async def plan(self, *, passes: int | None = None) -> SleepPlan:
        """Return what `sleep` would do now; changes nothing."""
        return plan_of(self._live, await self.stats(), passes)

    async def end_task(self) -> SleepReport | None:
        """Say that a task ended; the policy may sleep. None if it does not wish to."""
        live = self._live
        reports: list[SleepReport] = []
        while True:
            async with live.turn() as (row, _):
                standing = await live.make_room(row, reports, 0, cut_behind(None, 0))
            stats = live.stats(standing, task_ended=True)
            wish = live.wish_of_policy(standing.open.start, stats)
            if wish is None:
                break
            attempt = await live.sleep_and_swap(row, wish)
            if attempt.is_late:  # another sleep came first: what is left, if anything?
                continue
            if not (reports and attempt.report.outcome is Outcome.NOTHING_TO_DO):
                reports.append(attempt.report)
            break
        return reports[-1] if reports else None

    async def stats(self) -> EpisodeStats:
        """Return what a policy may know of the open episode."""
        live = self._live
        live.parts.check_open()
        with live.lease.watched():
            return live.stats(await live.stand(await live.row()))
