from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError

from sleepmem.errors import StoreError
from sleepmem.history import Garbage, GcReport, Keep, Keeping, KeepRules, Removed
from sleepmem.testing.life import BIRTH, History
from sleepmem.types import Episode, SleepReason, Snapshot

DAY = timedelta(days=1)


def episode(n: int, parent: int | None, *, digest: str = "", pinned: bool = False) -> Episode:
    """Return episode n, closed n days after birth."""
    return Episode(
        id=f"e{n}",
        index=n,
        agent="ana",
        thread_id=1,
        thread="main",
        start=n,
        stop=n + 1,
        parent=None if parent is None else f"e{parent}",
        woke_from=None,
        reason=SleepReason.ASKED,
        passes=1,
        snapshot=Snapshot(digest=digest or f"d{n}", n_bytes=n),
        measures=None,
        numerics={},
        closed_at=BIRTH + n * DAY,
        pinned=pinned,
    )


def line(n: int, **heads: str | None) -> History:
    """Return a life of n episodes in one line, with these heads."""
    return History(heads, [episode(i, i - 1 if i > 1 else None) for i in range(1, n + 1)])


def kept(rules: KeepRules, life: History, now: datetime = BIRTH) -> dict[str, Keep]:
    """Return what the rules keep of a life that they are shown as a log shows it."""
    keeping = Keeping(rules, "ana", life.heads, now)
    for shown in reversed(life.episodes):
        keeping.look(shown)
    keeping.end()
    return keeping.kept


def test_heads_are_kept_by_every_rule() -> None:
    rules = KeepRules(last=0, within=None)
    assert kept(rules, line(5, main="e5", other="e2", newborn=None)) == {
        "d5": Keep.HEAD,
        "d2": Keep.HEAD,
    }
    assert kept(rules, line(0, main=None)) == {}


def test_last_episodes_of_each_branch_are_kept() -> None:
    found = kept(KeepRules(last=2, within=None), line(6, main="e6", other="e3"))
    assert found == {"d6": Keep.HEAD, "d5": Keep.LAST, "d3": Keep.HEAD, "d2": Keep.LAST}
    assert len(kept(KeepRules(last=99, within=None), line(3, main="e3"))) == 3


@pytest.mark.parametrize("gone", [2, 5])
def test_lineage_with_a_hole_is_said_in_one_line(gone: int) -> None:
    whole = line(5, main="e5")
    episodes = [episode for episode in whole.episodes if episode.index != gone]
    damaged = whole._replace(episodes=episodes)
    with pytest.raises(StoreError, match=f"episode e{gone} of agent 'ana'") as caught:
        kept(KeepRules(last=9, within=None), damaged)
    assert "backup" in caught.value.hint


def test_last_follows_parents_and_not_numbers() -> None:
    fork = [episode(1, None), episode(2, 1), episode(3, 2), episode(4, 1, digest="fork")]
    found = kept(KeepRules(last=2, within=None), History({"main": "e3", "fork": "e4"}, fork))
    assert found == {"d3": Keep.HEAD, "fork": Keep.HEAD, "d2": Keep.LAST, "d1": Keep.LAST}


@pytest.mark.parametrize(("days", "expected"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_what_is_younger_is_kept(days: int, expected: int) -> None:
    rules = KeepRules(last=0, within=days * DAY)
    found = kept(rules, line(6, main="e6"), BIRTH + 6 * DAY)
    assert sum(why is Keep.WITHIN for why in found.values()) == expected


def test_clock_that_jumped_keeps_heads_and_the_last() -> None:
    rules, life = KeepRules(last=2, within=DAY), line(6, main="e6")
    assert set(kept(rules, life, BIRTH + 9999 * DAY)) == {"d6", "d5"}
    assert len(kept(rules, life, BIRTH - 9999 * DAY)) == 6


def test_snapshot_of_two_episodes_is_kept_for_either() -> None:
    episodes = [episode(1, None, digest="same"), episode(2, 1), episode(3, 2, digest="same")]
    rules = KeepRules(last=0, within=None)
    assert kept(rules, History({"main": "e3"}, episodes)) == {"same": Keep.HEAD}
    assert kept(rules, History({"fork": "e1"}, episodes)) == {"same": Keep.HEAD}


def test_first_reason_counts() -> None:
    episodes = [episode(1, None, pinned=True), episode(2, 1, pinned=True), episode(3, 2)]
    rules = KeepRules(last=9, within=9999 * DAY)
    assert kept(rules, History({"main": "e2"}, episodes)) == {
        "d2": Keep.HEAD,
        "d1": Keep.PINNED,
        "d3": Keep.WITHIN,
    }


def test_negative_last_is_refused() -> None:
    with pytest.raises(ValidationError):
        KeepRules(last=-1)


def test_report_adds_bytes_up() -> None:
    removed = [
        Removed(agent="ana", digest=digest, n_bytes=7, why=why)
        for digest, why in (("d", Garbage.NOT_KEPT), (None, Garbage.CUT_SHORT))
    ]
    report = GcReport(dry_run=True, agents=("ana",), removed=tuple(removed), n_kept={Keep.HEAD: 1})
    assert report.n_bytes == 14
    assert report.model_dump(mode="json")["n_kept"] == {"head": 1}
