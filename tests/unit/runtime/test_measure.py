from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sleepmem.runtime.measure import scored_ids, spread
from sleepmem.types import Episode, LoggedMessage, Role, SleepReason, Snapshot


def told(role: Role, *ids: int) -> LoggedMessage:
    return LoggedMessage(role=role, content="x", token_ids=ids)


def test_latest_whole_user_and_tool_messages_are_scored() -> None:
    messages = [
        told(Role.USER, 1, 2),
        told(Role.USER, 3, 4, 5),
        told(Role.ASSISTANT, 6),
        told(Role.TOOL, 7, 8),
        told(Role.SYSTEM, 9),
    ]
    assert scored_ids(messages, 99) == [1, 2, 3, 4, 5, 7, 8]
    assert scored_ids(messages, 7) == [1, 2, 3, 4, 5, 7, 8]
    assert scored_ids(messages, 6) == [3, 4, 5, 7, 8]
    assert scored_ids(messages, 4) == [7, 8], "only whole ones, and none behind a gap"
    assert scored_ids(messages, 1) == []


@pytest.mark.parametrize(
    ("n", "expected"), [(0, []), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (10, [0, 3, 6, 9])]
)
def test_earlier_episodes_are_spread_over_the_life(n: int, expected: list[int]) -> None:
    episodes = [episode(index) for index in range(n)]
    assert [found.index for found in spread(episodes, 4)] == expected


def episode(index: int) -> Episode:
    return Episode(
        id=str(index),
        index=index,
        agent="ana",
        thread_id=1,
        thread="main",
        start=index,
        stop=index + 1,
        parent=None,
        woke_from=None,
        reason=SleepReason.ASKED,
        passes=1,
        snapshot=Snapshot(digest="0" * 64, n_bytes=1),
        measures=None,
        numerics={},
        closed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
