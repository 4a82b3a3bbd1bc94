"""When to sleep: pure decisions over the statistics of an open episode.

    TokenBudget(384) | TaskBoundary()          either
    TokenBudget(200) & Idle(30)                both; the first reason is given

A policy waits while a tool call is unanswered. The window is not its business: what does not
fit makes the runtime sleep, whatever the policy says.
"""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field

from sleepmem.types import EpisodeStats, SleepReason, Value


class Policy(Value):
    """Base of the policies that come with sleepmem; a protocol member without it composes too."""

    @abstractmethod
    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        """Decide without regard to open tool calls."""

    def decide(self, stats: EpisodeStats) -> SleepReason | None:
        """Return why to sleep now, or None."""
        return None if stats.open_tool_calls or not stats.n_tokens else self.fires(stats)

    def wait_s(self, stats: EpisodeStats) -> float | None:
        """Return the seconds after which it may decide otherwise without a new turn, or None."""
        return None

    def __or__(self, other: Policy) -> Policy:
        return AnyOf(members=(self, other))

    def __and__(self, other: Policy) -> Policy:
        return AllOf(members=(self, other))


class TokenBudget(Policy):
    """Sleep when the open episode holds at least `n_tokens` tokens, or that share of the window.

    Args:
        n_tokens: a count of tokens if an int, a share of the window in (0, 1] if a float.
    """

    n_tokens: int | float = Field(gt=0)

    def __init__(self, n_tokens: int | float) -> None:
        if isinstance(n_tokens, float) and n_tokens > 1:
            raise ValueError(f"a share of the window is at most 1.0, not {n_tokens}")
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
    """Sleep when nothing was said for `seconds`."""

    seconds: float = Field(gt=0)

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds=seconds)  # type: ignore[call-arg]  # a field of this class

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        return SleepReason.IDLE if stats.idle_s >= self.seconds else None

    def wait_s(self, stats: EpisodeStats) -> float | None:
        left_s = self.seconds - stats.idle_s
        return left_s if left_s > 0 else None


class _Members(Policy):
    members: tuple[Policy, ...]

    def wait_s(self, stats: EpisodeStats) -> float | None:
        waits = [wait for member in self.members if (wait := member.wait_s(stats)) is not None]
        return min(waits, default=None)


class AnyOf(_Members):
    """Sleep when one of the members would."""

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        reasons = (member.fires(stats) for member in self.members)
        return next((reason for reason in reasons if reason), None)


class AllOf(_Members):
    """Sleep when all of the members would; the first one's reason is given."""

    def fires(self, stats: EpisodeStats) -> SleepReason | None:
        reasons = [member.fires(stats) for member in self.members]
        return reasons[0] if all(reasons) else None
