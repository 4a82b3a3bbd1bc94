"""The soak: it holds for a life as it should be, and sees each promise that is broken."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soaked_lives
from click.testing import CliRunner

from sleepmem.bench import Row
from sleepmem.bench.soak import life, phases
from sleepmem.bench.soak.judge import Acknowledged, judged
from sleepmem.bench.soak.life import Plan
from sleepmem.bench.soak.phases import KILLS, QUIET, Phase, soaked
from sleepmem.bench.soak.script import ASKED_EVERY, Script
from sleepmem.cli import main
from sleepmem.memory import SleepMemory

SCRIPT = Script("soak", seed=3, n_agents=1, n_messages=36)


def silent(what: str, share: float) -> None:
    assert 0 <= share <= 1


def plan_in(folder: Path, script: Script = SCRIPT) -> Plan:
    url = f"sqlite:///{folder / 'agents.db'}"
    return Plan(script, url, None, tuple(0 for _ in script.conversations))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Acknowledged]:
    """Return the folder of a whole life and what was acknowledged of it."""
    folder, acknowledged = tmp_path_factory.mktemp("lived"), Acknowledged.of(SCRIPT)

    def note(told: dict[str, Any]) -> None:
        acknowledged.add(told["conversation"], told["n"], told["reply"])

    asyncio.run(life.Life(plan_in(folder), note).run())
    return folder, acknowledged


Tamper = Callable[[SleepMemory, Acknowledged, Path], Any]


async def verdict_of(
    lived: tuple[Path, Acknowledged], folder: Path, tamper: Tamper | None = None
) -> dict[str, int]:
    """Return what is wrong with a copy of the life, something having been done to it."""
    shutil.copytree(lived[0], folder, dirs_exist_ok=True)
    known = lived[1]
    acknowledged = replace(known, replies=[list(replies) for replies in known.replies])
    async with plan_in(folder).memory() as memory:
        if tamper:
            done = tamper(memory, acknowledged, folder)
            if asyncio.iscoroutine(done):
                await done
        verdict = await judged(memory, acknowledged, can_recall=True, report=silent)
    return {name: count for name, count in verdict.counts().items() if count}


async def test_a_life_as_it_should_be_holds(
    lived: tuple[Path, Acknowledged], tmp_path: Path
) -> None:
    assert lived[1].n_lines == SCRIPT.n_messages
    assert await verdict_of(lived, tmp_path) == {}


def lose(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    acknowledged.replies[1].append("this was never in the log")


def alter(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    acknowledged.replies[0][1] += "!"


def answer_otherwise(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    acknowledged.add(0, 1, "something else")


async def repeat(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    await (await memory.agent("soak-000")).say(SCRIPT.line(0, 0))


def replace_snapshots(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    paths = list((folder / "agents.db.snapshots" / "soak-000").iterdir())
    assert paths
    for path in paths:
        path.write_bytes(b"something else")


def change(folder: Path, what: str, where: str) -> None:
    with sqlite3.connect(folder / "agents.db") as connection:
        assert connection.execute(f"UPDATE sleepmem_{what} WHERE {where}").rowcount == 1
    connection.close()


def message(request_id: str, n: int = 0) -> str:
    """Return the condition for a message of the turn of a request."""
    turn = f"SELECT agent_id, seq FROM sleepmem_turn WHERE request_id = '{request_id}'"
    return f"n = {n} AND (agent_id, seq) IN ({turn})"


def swap_lines(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    replies = acknowledged.replies[0]
    for n, text in ((1, SCRIPT.line(0, 2)), (2, SCRIPT.line(0, 1))):
        change(folder, f"message SET content = '{text}'", message(f"0.{n}"))
    replies[1], replies[2] = replies[2], replies[1]


def forget(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    n = ASKED_EVERY - 1
    change(folder, "message SET content = 'unknown'", message(f"0.{n}", 1))
    acknowledged.replies[0][n] = "unknown"


def change_a_token(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    altered = "CAST(X'01000000' || substr(token_ids, 5) AS BLOB)"
    change(folder, f"message SET token_ids = {altered}", message("1.0"))


def sleep_twice(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    change(folder, "episode SET start = start - 1", "n = 3")


def sleep_on_less(memory: SleepMemory, acknowledged: Acknowledged, folder: Path) -> None:
    change(folder, "episode SET start = start + 2", "n = 3")


@pytest.mark.parametrize(
    ("tamper", "seen"),
    [
        (lose, {"lost"}),
        (alter, {"altered"}),
        (answer_otherwise, {"altered"}),
        (repeat, {"read_twice"}),
        (replace_snapshots, {"unverified", "broken_heads"}),
        (swap_lines, {"out_of_order"}),
        (forget, {"forgotten"}),
        (change_a_token, {"unverified"}),
        (sleep_twice, {"read_twice", "unverified"}),
        (sleep_on_less, {"unread", "unverified"}),
    ],
)
async def test_what_is_broken_is_seen(
    lived: tuple[Path, Acknowledged], tmp_path: Path, tamper: Tamper, seen: set[str]
) -> None:
    assert set(await verdict_of(lived, tmp_path, tamper)) == seen


def phase_in(folder: Path, kind: str, n_messages: int) -> Phase:
    url = f"sqlite:///{folder / 'agents.db'}"
    return Phase(kind=kind, db=url, model=None, n_agents=2, n_messages=n_messages, seed=0)


def broken(rows: list[Row]) -> set[str]:
    return {row.name.partition(".")[2] for row in rows if row.holds is False}


def value(rows: list[Row], name: str) -> float:
    return next(row.value for row in rows if row.name.endswith(f".{name}"))


def test_a_soak_with_kills_loses_nothing_and_leaves_nobody_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "MIN_LIFE", 7)
    rows = soaked(phase_in(tmp_path, KILLS, 32), silent)
    assert broken(rows) == set()
    assert value(rows, "kills") >= 2
    assert value(rows, "messages") == 32
    assert value(rows, "episodes") > 2
    with sqlite3.connect(tmp_path / "agents.db") as connection:
        assert connection.execute("SELECT count(*) FROM sleepmem_agent").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    ("life", "seen"),
    [
        (soaked_lives.ends_by_itself, {"failed", "unanswered", "lost"}),
        (soaked_lives.grows, {"resident_growth"}),
        # last: by now whoever is born need not wait for imports
        (soaked_lives.hangs, {"failed", "unanswered", "lost"}),
    ],
)
def test_a_process_that_fails_or_grows_breaks_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life: Any, seen: set[str]
) -> None:
    monkeypatch.setattr(phases, "live", life)
    if life is soaked_lives.hangs:
        monkeypatch.setattr(phases, "HANG_S", 3.0)
    rows = soaked(phase_in(tmp_path, QUIET, 6), silent)
    assert broken(rows) == seen


def test_command_soaks_in_a_database_of_its_own_and_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = ["bench", "soak", "--phase", "quiet", "--messages", "6", "--agents", "1", "--json"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["bench"], document["model"], document["kept"]) == ("soak", "fake", None)
    assert {row["holds"] for row in document["rows"]} == {True, None}
    assert list(tmp_path.glob("sleepmem-soak-*")) == []


def test_command_keeps_what_broke_a_promise_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lost = Row("kills.lost", 1, "messages", goal=0, holds=False)
    monkeypatch.setattr("sleepmem.bench.soak.study.soaked", lambda phase, report: [lost])
    done = CliRunner().invoke(main, ["bench", "soak", "--phase", "kills"])
    assert done.exit_code == 1
    [kept] = tmp_path.glob("sleepmem-soak-*")
    assert f"kept in sqlite:///{kept}" in done.stderr
