"""The agreed JSON shapes, and the words in which people read the same."""

from __future__ import annotations

from typing import Any

from sleepmem.history import LogEntry, ReplayedEpisode
from sleepmem.types import (
    AgentSummary,
    Outcome,
    Reply,
    SleepPlan,
    SleepReport,
)

EXIT_CODES = {
    Outcome.SLEPT: 0,
    Outcome.NOTHING_TO_DO: 0,
    Outcome.FAILED: 1,
    Outcome.REJECTED: 3,
    Outcome.SUPERSEDED: 4,
}


def sleep_document(report: SleepReport) -> dict[str, Any]:
    """Return what one sleep came to; when it was recorded, if the log tells it."""
    unset = set() if report.recorded_at else {"recorded_at"}
    document = report.model_dump(mode="json", exclude={"snapshot", *unset})
    return document | {
        "retention": report.retention,
        "ceiling": report.ceiling,
        "snapshot": report.snapshot.digest if report.snapshot else None,
        "n_bytes": report.snapshot.n_bytes if report.snapshot else None,
    }


def reply_document(reply: Reply) -> dict[str, Any]:
    """Return the shape of `say --json`."""
    return {
        "agent": reply.agent,
        "reply": reply.text,
        "finish_reason": reply.finish_reason.value,
        "n_tokens": reply.n_tokens,
        "slept": reply.slept,
        "thread": reply.thread,
        "node_id": reply.node_id,
        "n_window": reply.n_window,
        "sleeps": [sleep_document(report) for report in reply.sleeps],
    }


def episode_document(replayed: ReplayedEpisode) -> dict[str, Any]:
    """Return one entry of `replay --json`."""
    episode = replayed.episode
    return {
        "index": episode.index,
        "ended_by": episode.reason.value,
        "outcome": Outcome.SLEPT.value,
        "n_tokens": episode.n_tokens,
        "passes": episode.passes,
        "retention": episode.measures.retention if episode.measures else None,
        "ceiling": episode.measures.ceiling if episode.measures else None,
        "snapshot": episode.snapshot.digest,
        "n_bytes": episode.snapshot.n_bytes,
        "episode": episode.id,
        "parent": episode.parent,
        "thread": episode.thread,
        "closed_at": episode.closed_at.isoformat(),
        "verified": replayed.verified,
        "pinned": episode.pinned,
        "dropped_at": at.isoformat() if (at := episode.snapshot.dropped_at) else None,
    }


def agent_document(summary: AgentSummary) -> dict[str, Any]:
    """Return one entry of `agents --json`."""
    return summary.model_dump(mode="json")


def entry_document(entry: LogEntry) -> dict[str, Any]:
    """Return one entry of `log --json`."""
    return entry.model_dump(mode="json")


def sleep_line(report: SleepReport) -> str:
    """Return one line on a sleep, for people."""
    why, tokens = f"({_words(report.reason)})", _tokens(report.n_tokens)
    if report.outcome is Outcome.SLEPT and report.snapshot:
        return (
            f"slept {why}: {tokens}, {report.passes} passes, "
            f"retention {share(report.retention)} of {share(report.ceiling)} nats per token, "
            f"snapshot {report.snapshot.digest[:12]} of {size(report.snapshot.n_bytes)}"
        )
    line = f"{_words(report.outcome)} {why}: {tokens}"
    return f"{line}; {report.problem}" if report.problem else line


def plan_line(plan: SleepPlan) -> str:
    """Return one line on what a sleep would do, for people."""
    what = "would sleep" if plan.would_sleep else "would not sleep"
    cost = f"{_tokens(plan.n_tokens)}, {plan.passes} passes"
    return f"{what} ({_words(plan.reason)}): {cost}; {plan.why}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _tokens(n_tokens: int) -> str:
    return f"{n_tokens} token{'' if n_tokens == 1 else 's'}"


def share(value: float | None) -> str:
    """Return a measure for people: 0.93, or a dash if there is none."""
    return "-" if value is None else f"{value:.2f}"


def size(n_bytes: int) -> str:
    """Return a size for people, in powers of 1000."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
