from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from sleepmem.cli.documents import (
    EXIT_CODES,
    episode_document,
    reply_document,
    share,
    size,
    sleep_document,
    sleep_line,
)
from sleepmem.history import ReplayedEpisode
from sleepmem.types import (
    Episode,
    FinishReason,
    Measures,
    Outcome,
    Reply,
    SleepReason,
    SleepReport,
    Snapshot,
)

SNAPSHOT = Snapshot(digest="ab" * 32, n_bytes=196_608)
MEASURES = Measures(first=2.0, again=1.1, cached=1.0)


def report(outcome: Outcome = Outcome.SLEPT, **changes: object) -> SleepReport:
    told = {
        "agent": "ana",
        "branch": "main",
        "thread": "main",
        "episode": "ep_1",
        "reason": SleepReason.TASK_BOUNDARY,
        "outcome": outcome,
        "n_tokens": 120,
        "passes": 4,
    }
    return SleepReport.model_validate(told | changes)


def test_every_outcome_has_its_exit_code() -> None:
    assert {outcome.value: code for outcome, code in EXIT_CODES.items()} == {
        "slept": 0,
        "nothing_to_do": 0,
        "failed": 1,
        "rejected": 3,
        "superseded": 4,
    }
    assert set(EXIT_CODES) == set(Outcome)


def test_reply_has_the_agreed_shape() -> None:
    slept = report(snapshot=SNAPSHOT, measures=MEASURES)
    reply = Reply(
        agent="ana",
        thread="main",
        text="Rex",
        finish_reason=FinishReason.STOP,
        n_tokens=2,
        n_window=40,
        node_id="nd_1",
        sleeps=(slept,),
    )
    document = reply_document(reply)
    assert list(document)[:5] == ["agent", "reply", "finish_reason", "n_tokens", "slept"]
    assert (document["reply"], document["finish_reason"]) == ("Rex", "stop")
    assert document["slept"] is True
    assert json.loads(json.dumps(document)) == document


def test_episode_has_the_agreed_shape() -> None:
    episode = Episode(
        id="ep_1",
        index=1,
        agent="ana",
        thread_id=1,
        thread="main",
        start=0,
        stop=120,
        parent=None,
        woke_from=None,
        reason=SleepReason.TOKEN_BUDGET,
        passes=4,
        snapshot=SNAPSHOT,
        measures=MEASURES,
        numerics={},
        closed_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    document = episode_document(ReplayedEpisode(episode=episode, verified=True))
    agreed = {
        "index": 1,
        "ended_by": "token_budget",
        "outcome": "slept",
        "n_tokens": 120,
        "passes": 4,
        "retention": pytest.approx(0.9),
        "ceiling": pytest.approx(1.0),
        "snapshot": SNAPSHOT.digest,
        "n_bytes": SNAPSHOT.n_bytes,
    }
    assert {key: document[key] for key in agreed} == agreed
    assert document["verified"] is True
    assert json.loads(json.dumps(document)) == document


def test_sleep_document_is_flat_and_plain() -> None:
    document = sleep_document(report(snapshot=SNAPSHOT, measures=MEASURES))
    assert document["snapshot"] == SNAPSHOT.digest
    assert document["n_bytes"] == SNAPSHOT.n_bytes
    assert document["retention"] == pytest.approx(0.9)
    assert document["ceiling"] == document["measures"]["ceiling"] == pytest.approx(1.0)
    assert json.loads(json.dumps(document)) == document
    assert sleep_document(report(Outcome.REJECTED))["snapshot"] is None


def test_sleep_line_tells_what_happened() -> None:
    assert sleep_line(report(snapshot=SNAPSHOT, measures=MEASURES)) == (
        "slept (task boundary): 120 tokens, 4 passes, retention 0.90 of 1.00 nats per token, "
        "snapshot abababababab of 196.6 kB"
    )
    assert sleep_line(report(Outcome.NOTHING_TO_DO, n_tokens=1)) == (
        "nothing to do (task boundary): 1 token"
    )
    assert sleep_line(report(Outcome.FAILED, problem="out of luck")).endswith("; out of luck")


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (196_608, "196.6 kB"), (5 * 10**9, "5.0 GB")],
)
def test_size_is_for_people(n_bytes: int, text: str) -> None:
    assert size(n_bytes) == text


def test_share_has_a_dash_for_nothing_to_gain() -> None:
    assert (share(None), share(0.934)) == ("-", "0.93")
