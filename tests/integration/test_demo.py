"""The demo shows what it claims, on seeds that training never used, and looks nothing up."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sleepmem.cli.demo import OWN
from sleepmem.memory import SleepMemory
from sleepmem.train.dialogues.demo import N_EPISODES, N_FACTS, bare

SEED = 20_261
REMEMBERED = 0.6  # of its own life at least; seeds 100 to 119 gave .71 to 1, the goal is .85 of all
NOT_TOLD = 0.15  # of what was told to another, at most


def sleepmem(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "sleepmem", *arguments, "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        timeout=110,
    )
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Run the demo once; return its database and its JSON document."""
    db = tmp_path_factory.mktemp("demo") / "demo.db"
    code, document = sleepmem("demo", "--seed", str(SEED), "--db", str(db))
    assert code == 0, document
    return db, document


def test_own_fast_weights_answer_and_others_do_not(shown: tuple[Path, dict[str, Any]]) -> None:
    _, document = shown
    assert document["seed"] == SEED
    assert len(document["questions"]) == N_FACTS >= 24
    assert document["accuracy"]["own"] >= REMEMBERED
    assert document["accuracy"]["blank"] <= NOT_TOLD
    assert document["accuracy"]["other"] <= NOT_TOLD


def test_document_agrees_with_itself(shown: tuple[Path, dict[str, Any]]) -> None:
    _, document = shown
    rows = document["questions"]
    assert {row["sleep_age"] for row in rows} == set(range(1, N_EPISODES + 1))
    for row in rows:
        assert row["right"] == (bare(row["answer"]) == bare(row["expected"]))
        assert row["other_was_told"] != row["expected"]
        assert bare(row["expected"]) in row["told"].casefold()
    right = sum(row["right"] for row in rows)
    assert document["accuracy"]["own"] == pytest.approx(right / len(rows))


def test_replay_derives_every_snapshot_again(shown: tuple[Path, dict[str, Any]]) -> None:
    db, _ = shown
    code, document = sleepmem("replay", "--agent", OWN, "--verify", "--db", str(db))
    assert code == 0
    assert document["verified"] is True
    assert len(document["episodes"]) == N_EPISODES
    assert {e["ended_by"] for e in document["episodes"]} == {"task_boundary"}
    assert all(len(e["snapshot"]) == 64 for e in document["episodes"])


def test_answers_stay_when_every_text_and_token_is_deleted(
    shown: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    db, document = shown
    emptied = tmp_path / "emptied.db"
    with sqlite3.connect(db) as source, sqlite3.connect(emptied) as target:
        source.backup(target)
        target.execute("UPDATE sleepmem_message SET content = '', token_ids = x''")
        assert target.execute("SELECT max(length(content)) FROM sleepmem_message").fetchone() == (
            0,
        )
    source.close()
    target.close()
    shutil.copytree(f"{db}.snapshots", f"{emptied}.snapshots")

    async def answers() -> list[str]:
        async with SleepMemory(str(emptied)) as memory:
            agent = await memory.agent(OWN, create=False)
            replies = []
            for number, row in enumerate(document["questions"]):
                reply = await agent.thread(f"again {number}").say(row["question"], max_tokens=16)
                replies.append(reply.text)
            return replies

    assert asyncio.run(answers()) == [row["answer"] for row in document["questions"]]
