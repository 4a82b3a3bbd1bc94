"""The rows on what makes a message durable, in a small form; the figures are the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepmem.bench.runtime import store_rows, wal

SMALL = 3  # rounds


def silent(what: str, share: float) -> None:
    assert 0 <= share <= 1


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_rows, "N_WRITERS", 8)


async def test_commits_are_counted_as_they_were_made(tmp_path: Path) -> None:
    one = await store_rows.commits_per_message(tmp_path, silent, SMALL)
    assert (one.value, one.goal, one.holds) == (1, 1, True)
    many = await store_rows.messages_per_commit(tmp_path, silent, SMALL)
    assert (many.value, many.goal, many.holds) == (8, 4, True)


async def test_commits_are_told_from_pages_and_rollbacks(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    async with store_rows.writers(database, 2) as (one, other):
        with wal.kept(database):
            before = wal.n_commits(database)
            for writer in (one, other, one):
                await writer.turn()
            assert wal.n_commits(database) - before == 6


@pytest.mark.parametrize(
    "row",
    [
        store_rows.durable_message_minus_flush,
        store_rows.batch64_minus_executemany,
        store_rows.fenced_minus_plain_append,
    ],
)
async def test_differences_have_both_figures(tmp_path: Path, row: object) -> None:
    found = await row(tmp_path, silent, SMALL)  # type: ignore[operator]
    assert found.name == row.__name__  # type: ignore[attr-defined]
    assert found.reference is not None
    assert found.difference == found.value - found.reference
    assert found.holds == (found.difference <= found.goal)
