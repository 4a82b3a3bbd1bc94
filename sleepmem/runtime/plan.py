"""What a sleep would do now; looking changes nothing and claims nobody."""

from __future__ import annotations

import asyncio

from sleepmem.errors import ThreadNotFound
from sleepmem.protocols import EpisodeLog
from sleepmem.runtime.parts import Lease, Parts, at_least_one
from sleepmem.runtime.thread import LiveThread
from sleepmem.types import MAIN, EpisodeStats, SleepPlan, SleepReason, Thread

NOBODY = 0  # an epoch that no claim ever gets


async def planned(
    parts: Parts, agent: str, branch: str, thread: str, passes: int | None
) -> SleepPlan:
    """Return the plan of a thread that another process may be holding.

    Raises:
        AgentNotFound, BranchNotFound, ThreadNotFound
    """
    row = await _known_row(parts.log, agent, branch, thread)
    live = LiveThread(parts, Lease(agent, NOBODY), branch, thread, asyncio.Lock())
    nothing = EpisodeStats(n_tokens=0, n_turns=0, window=parts.lm.window)
    stats = live.stats(await live.stand(row)) if row else nothing
    return plan_of(live, stats, passes)


async def _known_row(log: EpisodeLog, agent: str, branch: str, name: str) -> Thread | None:
    """Return the row of a thread; None is `main`, which every branch has, before its first word.

    Raises:
        AgentNotFound, BranchNotFound, ThreadNotFound
    """
    await log.head(agent, branch)
    rows = {row.name: row for row in await log.threads(agent) if row.branch == branch}
    if name not in rows and name != MAIN:
        raise ThreadNotFound(agent, branch, name, tuple({MAIN: None, **rows}))
    return rows.get(name)


def plan_of(live: LiveThread, stats: EpisodeStats, passes: int | None) -> SleepPlan:
    """Return whether a sleep would do something, and whether the policy wishes it too."""
    defaults = live.parts.defaults
    reason = None if stats.open_tool_calls else defaults.policy.decide(stats)
    would_sleep = stats.n_tokens >= defaults.min_tokens
    if not would_sleep:
        why = f"{stats.n_tokens} tokens are fewer than {defaults.min_tokens}"
    elif reason is None:
        why = "only because it was asked to"
    else:
        why = f"its policy wishes it too: {reason}"
    return SleepPlan(
        agent=live.lease.agent,
        branch=live.branch,
        thread=live.name,
        would_sleep=would_sleep,
        reason=reason or SleepReason.ASKED,
        why=why,
        n_tokens=stats.n_tokens,
        n_turns=stats.n_turns,
        passes=at_least_one("passes", defaults.passes if passes is None else passes),
    )
