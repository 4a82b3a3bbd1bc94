"""When to sleep: pure decisions over the statistics of an open episode.

    TokenBudget(384) | TaskBoundary()          either
    TokenBudget(200) & Idle(30)                both; the first reason is given

A policy waits while a tool call is unanswered. The window is not its business: what does not
fit makes the runtime sleep, whatever the policy says.
"""

from __future__ import annotations

from abc import abstractmethod
from math import inf

from pydantic import ConfigDict, SkipValidation

from sleepmem.errors import ConfigError
from sleepmem.protocols import SleepPolicy
from sleepmem.types import EpisodeStats, SleepReason, Value


class Policy(Value):
    """Base of the policies that come with sleepmem; any other `SleepPolicy` composes with them."""

    @abstractmethod
    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        """Decide without regard to open tool calls."""

    def decide(self, stats: EpisodeStats) -> SleepReason | None:
        """Return why to sleep now, or None."""
        return None if stats.open_tool_calls or not stats.n_tokens else self.fires(stats)

    def wait_s(self, stats: EpisodeStats) -> float | None:
        """Return the seconds after which it may decide otherwise without a new turn, or None."""
        return None

    def __or__(self, other: SleepPolicy) -> Policy:
        return AnyOf(members=(self, other))

    def __ror__(self, other: SleepPolicy) -> Policy:
        return AnyOf(members=(other, self))

    def __and__(self, other: SleepPolicy) -> Policy:
        return AllOf(members=(self, other))

    def __rand__(self, other: SleepPolicy) -> Policy:
        return AllOf(members=(other, self))


class TokenBudget(Policy):
    """Sleep when the open episode holds at least `n_tokens` tokens, or that share of the window.

    Args:
        n_tokens: a count of tokens if an int, a share of the window in (0, 1] if a float.

    Raises:
        ConfigError: neither of these.
    """

    n_tokens: int | float

    def __init__(self, n_tokens: int | float) -> None:
        is_count = isinstance(n_tokens, int) and not isinstance(n_tokens, bool) and n_tokens > 0
        if not is_count and not (isinstance(n_tokens, float) and 0 < n_tokens <= 1):
            raise ConfigError(
                f"a token budget cannot be {n_tokens!r}",
                hint="Give a count of tokens from 1 on, or a share of the window as in 0.75.",
            )
        super().__init__(n_tokens=n_tokens)  # type: ignore[call-arg]  # a field of this class

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        is_share = isinstance(self.n_tokens, float)
        budget = self.n_tokens * stats.window if is_share else self.n_tokens
        return SleepReason.TOKEN_BUDGET if stats.n_tokens >= budget else None


class TaskBoundary(Policy):
    """Sleep when the caller says that a task ended."""

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        return SleepReason.TASK_BOUNDARY if stats.task_ended else None


class Idle(Policy):
    """Sleep when nothing was said for `seconds`.

    Raises:
        ConfigError: not a number above 0.
    """

    seconds: float

    def __init__(self, seconds: float) -> None:
        if not isinstance(seconds, int | float) or not 0 < seconds < inf:
            raise ConfigError(
                f"an agent cannot be idle for {seconds!r} s", hint="Give a number above 0."
            )
        super().__init__(seconds=seconds)  # type: ignore[call-arg]  # a field of this class

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        return SleepReason.IDLE if stats.idle_s >= self.seconds else None

    def wait_s(self, stats: EpisodeStats) -> float | None:
        left_s = self.seconds - stats.idle_s
        return left_s if left_s > 0 else None


class _Members(Policy):
    # any object may be a policy, and pydantic cannot look into it
    model_config = ConfigDict(arbitrary_types_allowed=True)

    members: tuple[SkipValidation[SleepPolicy], ...]

    def wait_s(self, stats: EpisodeStats) -> float | None:
        waits = [wait for member in self.members if (wait := member.wait_s(stats)) is not None]
        return min(waits, default=None)


class AnyOf(_Members):
    """Sleep when one of the members would."""

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        reasons = (member.decide(stats) for member in self.members)
        return next((reason for reason in reasons if reason), None)


class AllOf(_Members):
    """Sleep when all of the members would; the first one's reason is given."""

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        reasons = [member.decide(stats) for member in self.members]
        return reasons[0] if all(reasons) else None
