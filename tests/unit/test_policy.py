from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.errors import ConfigError
from sleepmem.policy import Idle, Policy, TaskBoundary, TokenBudget
from sleepmem.types import EpisodeStats, SleepReason

STATS = st.builds(
    EpisodeStats,
    n_tokens=st.integers(0, 600),
    n_turns=st.integers(0, 9),
    window=st.just(512),
    idle_s=st.floats(0, 100),
    task_ended=st.booleans(),
    open_tool_calls=st.integers(0, 1),
)
SIMPLE = st.one_of(
    st.builds(TokenBudget, st.one_of(st.integers(1, 600), st.floats(0.01, 1.0))),
    st.builds(Idle, st.floats(0.1, 100)),
    st.builds(TaskBoundary),
)
POLICIES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a | b, inner, inner), st.builds(lambda a, b: a & b, inner, inner)
    ),
    max_leaves=5,
)


@given(POLICIES, POLICIES, STATS)
def test_either_and_both(a: Policy, b: Policy, stats: EpisodeStats) -> None:
    one, other = a.decide(stats), b.decide(stats)
    assert (a | b).decide(stats) == (one or other)
    assert (a & b).decide(stats) == (one if one and other else None)


@given(POLICIES, STATS)
def test_policy_waits_while_a_tool_call_is_open(policy: Policy, stats: EpisodeStats) -> None:
    waiting = stats.model_copy(update={"open_tool_calls": 1})
    assert policy.decide(waiting) is None


@given(POLICIES, STATS)
def test_empty_episode_is_not_slept_on(policy: Policy, stats: EpisodeStats) -> None:
    assert policy.decide(stats.model_copy(update={"n_tokens": 0})) is None


@given(POLICIES, STATS, st.floats(0.01, 50))
def test_decision_changes_no_sooner_than_it_says(
    policy: Policy, stats: EpisodeStats, left_s: float
) -> None:
    """Between now and `wait_s`, time alone changes nothing."""
    stats = stats.model_copy(update={"task_ended": False})
    wait_s = policy.wait_s(stats)
    later_s = left_s if wait_s is None else min(left_s, 0.99 * wait_s)
    later = stats.model_copy(update={"idle_s": stats.idle_s + later_s})
    assert policy.decide(later) == policy.decide(stats)


@given(STATS)
def test_share_of_the_window_equals_its_count(stats: EpisodeStats) -> None:
    assert TokenBudget(0.75).decide(stats) == TokenBudget(384).decide(stats)


def test_reasons() -> None:
    stats = EpisodeStats(n_tokens=400, n_turns=1, window=512, idle_s=5, task_ended=True)
    assert TokenBudget(400).decide(stats) is SleepReason.TOKEN_BUDGET
    assert TokenBudget(401).decide(stats) is None
    assert Idle(5).decide(stats) is SleepReason.IDLE
    assert Idle(6).wait_s(stats) == 1
    assert TaskBoundary().decide(stats) is SleepReason.TASK_BOUNDARY
    assert (TaskBoundary() | TokenBudget(1)).decide(stats) is SleepReason.TASK_BOUNDARY


@pytest.mark.parametrize("n_tokens", [0, -1, 1.5, 0.0, float("nan"), True, "384"])
def test_budget_that_can_never_work_is_refused_in_one_line(n_tokens: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenBudget(n_tokens)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), "30"])
def test_idle_time_that_can_never_work_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigError):
        Idle(seconds)


class Curious:
    """A policy of somebody else's."""

    def decide(self, stats: EpisodeStats) -> SleepReason | None:
        return SleepReason.ASKED if stats.n_turns else None

    def wait_s(self, stats: EpisodeStats) -> float | None:
        return 7.0


def test_policy_without_our_base_composes() -> None:
    quiet = EpisodeStats(n_tokens=400, n_turns=0, window=512, idle_s=1)
    talked = quiet.model_copy(update={"n_turns": 1})
    for either in (Curious() | TaskBoundary(), TaskBoundary() | Curious()):
        assert either.decide(talked) is SleepReason.ASKED
        assert either.decide(quiet) is None
    for both in (Curious() & TokenBudget(400), TokenBudget(400) & Curious()):
        assert both.decide(talked) is not None
        assert both.decide(quiet) is None
    assert (Curious() | Idle(5)).wait_s(quiet) == 4
