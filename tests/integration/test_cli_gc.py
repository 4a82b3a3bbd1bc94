"""`sleepmem gc` and `sleepmem pin`, run as a person runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_shell import LONG, Shell

from sleepmem.types import MAIN

NOTHING = ("--keep-last", "0", "--keep-within", "0d")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell whose agent ana has slept three times, and where a write was killed."""
    shell = Shell(str(tmp_path / "agents.db"))
    for text in ("colour=blue ", "town=Oslo ", "pet=rex "):
        shell.run("say", "--agent", "ana", text + LONG)
        shell.run("sleep", "--agent", "ana")
    (shell.snapshots()[0].parent / f".{'0' * 16}.tmp").write_bytes(b"half")
    return shell


def test_dry_run_says_what_gc_then_does(shell: Shell) -> None:
    before = shell.snapshots()
    result = shell.run("gc", *NOTHING, "--dry-run")
    assert shell.snapshots() == before
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["agent", "why", "snapshots", "size"]
    assert any("no rule keeps it" in line and " 2 " in line for line in lines)
    assert any("write cut short" in line and "4 B" in line for line in lines)
    assert lines[-1].startswith("would free ")
    assert lines[-1].endswith("; kept 1 head, 0 pinned, 0 last, 0 young")
    planned = shell.json("gc", *NOTHING, "--dry-run")
    assert (planned["dry_run"], planned["agents"], len(planned["removed"])) == (True, ["ana"], 3)
    done = shell.json("gc", *NOTHING)
    assert done == planned | {"dry_run": False}
    assert len(shell.snapshots()) == 1
    assert shell.run("gc", *NOTHING).stdout.startswith("freed 0 B; kept 1 head")


def test_defaults_keep_what_is_young(shell: Shell) -> None:
    document = shell.json("gc", "--agent", "ana")
    assert [removed["why"] for removed in document["removed"]] == ["cut_short"]
    assert document["n_kept"] == {"head": 1, "last": 2}
    assert len(shell.snapshots()) == 3


def test_agent_lives_on_and_replay_brings_everything_back(shell: Shell) -> None:
    shell.run("gc", *NOTHING)
    assert "dropped" in shell.run("replay", "--agent", "ana").stdout
    assert shell.run("say", "--agent", "ana", "town?").stdout == "Oslo\n"
    assert shell.json("replay", "--agent", "ana", "--verify")["verified"] is True
    assert len(shell.snapshots()) == 3
    assert "dropped" not in shell.run("replay", "--agent", "ana").stdout


def test_pin_keeps_an_episode(shell: Shell) -> None:
    assert shell.run("pin", "--agent", "ana@1").stdout == "episode 1 of ana is pinned\n"
    document = shell.json("pin", "--agent", f"ana/{MAIN}@2")
    assert (document["index"], document["pinned"]) == (2, True)
    shell.run("pin", "--agent", "ana@2", "--remove")
    assert shell.json("gc", *NOTHING)["n_kept"] == {"head": 1, "pinned": 1}
    life = shell.json("replay", "--agent", "ana")["episodes"]
    assert [episode["pinned"] for episode in life] == [True, False, False]
    assert [bool(episode["dropped_at"]) for episode in life] == [False, True, False]
    assert " pinned " in shell.run("replay", "--agent", "ana").stdout
    assert "replay --agent ana --verify" in shell.run("pin", "--agent", "ana@2").stderr


def test_missing_head_is_told(shell: Shell) -> None:
    head = shell.json("replay", "--agent", "ana")["episodes"][-1]["snapshot"]
    [path] = [path for path in shell.snapshots() if path.name == head]
    path.unlink()
    assert "replay --agent NAME --verify" in shell.run("gc").stderr


def test_what_cannot_be_is_refused(shell: Shell) -> None:
    assert "no agent 'nobody'" in shell.error("gc", "--agent", "nobody")
    assert "no episode '9'" in shell.error("pin", "--agent", "ana@9")
    for arguments in (
        ("gc", "--keep-last", "-1"),
        ("gc", "--keep-within", "3 days"),
        ("gc", "--keep-within", "-1d"),
        ("pin", "--agent", "ana"),
    ):
        shell.run(*arguments, code=2)
    assert len(shell.snapshots()) == 4
