"""Every command, run as a person runs it, over a database on disk and a model without torch."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cli_shell import LONG, Shell

from sleepmem.policy import TaskBoundary, TokenBudget
from sleepmem.settings import database_url
from sleepmem.store import open_log
from sleepmem.testing import FakeClock
from sleepmem.testing.fake_model import FakeSleepLM


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(str(tmp_path / "agents.db"))


@pytest.fixture
def ana(shell: Shell) -> Shell:
    """Give a shell whose agent ana has slept twice."""
    for text in ("colour=blue " + LONG, "town=Oslo " + LONG):
        shell.run("say", "--agent", "ana", text)
        shell.run("sleep", "--agent", "ana")
    return shell


# say, chat, import


class Hasty(FakeClock):
    """A clock that whoever waits moves on."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


def claim_elsewhere(shell: Shell, clock: FakeClock) -> None:
    """Let a process of another machine hold ana, and never come back to it."""

    async def claim() -> None:
        log = await open_log(database_url(shell.db))
        fingerprint = FakeSleepLM().fingerprint
        await log.claim(
            "ana", fingerprint=fingerprint, holder="elsewhere", create=True, now=clock.now()
        )
        await log.aclose()

    asyncio.run(claim())


def test_agent_that_is_held_is_waited_for_and_told_of(shell: Shell) -> None:
    clock = shell.memory["clock"] = Hasty()
    claim_elsewhere(shell, clock)
    result = shell.run("say", "--agent", "ana", "x=1 x?")
    assert (result.stdout, result.stderr) == ("1\n", "waiting for elsewhere, which holds ana ...\n")
    assert shell.run("sleep", "--agent", "ana").stderr == "", "it was given back"


@pytest.mark.parametrize(
    "command", [("say", "hello"), ("chat",), ("import", "-"), ("sleep", "--force")]
)
def test_agent_that_is_held_is_taken_over_if_that_is_asked_for(
    shell: Shell, command: tuple[str, ...]
) -> None:
    clock = shell.memory["clock"] = FakeClock()  # nobody moves it: to wait would be to hang
    claim_elsewhere(shell, clock)
    told = '{"role": "user", "content": "x"}'
    result = shell.run(*command, "--agent", "ana", "--take-over", stdin=told)
    assert "waiting" not in result.stderr


def test_say_prints_the_reply_alone(shell: Shell) -> None:
    shell.run("say", "--agent", "ana", "colour=blue")
    result = shell.run("say", "--agent", "ana", "What colour?")
    assert (result.stdout, result.stderr) == ("blue\n", "")


def test_say_has_the_agreed_shape(shell: Shell) -> None:
    document = shell.json("say", "--agent", "ana", "colour=blue; colour?")
    agreed = {
        "agent": "ana",
        "reply": "blue",
        "finish_reason": "stop",
        "n_tokens": 5,
        "slept": False,
    }
    assert {key: document[key] for key in agreed} == agreed
    assert document["thread"] == "main"


def test_say_reads_stdin(shell: Shell) -> None:
    assert shell.run("say", "--agent", "ana", "-", stdin="x=1\nx?\n").stdout == "1\n"


def test_say_knows_after_sleep_and_restart(ana: Shell) -> None:
    assert ana.run("say", "--agent", "ana", "What colour?").stdout == "blue\n"
    assert ana.run("say", "--agent", "ana", "--thread", "x", "town?").stdout == "Oslo\n"
    assert ana.run("say", "--agent", "bob", "town?").stdout == "unknown\n"


def test_say_stops_at_max_tokens(shell: Shell) -> None:
    document = shell.json("say", "--agent", "ana", "--max-tokens", "2", "colour=blue colour?")
    assert (document["reply"], document["finish_reason"]) == ("bl", "length")


def test_say_with_a_known_request_id_is_lived_once(shell: Shell) -> None:
    said = ("say", "--agent", "ana", "--request-id", "r1", "colour=blue colour?")
    assert shell.json(*said)["node_id"] == shell.json(*said)["node_id"]
    assert len(shell.json("log", "--agent", "ana")["messages"]) == 2


def test_say_tells_of_a_sleep_on_stderr(shell: Shell) -> None:
    shell.memory = {"policy": TokenBudget(20)}
    result = shell.run("say", "--agent", "ana", LONG)
    assert result.stderr.startswith("slept (token budget): ")
    assert "slept" not in result.stdout
    assert shell.json("say", "--agent", "ana", LONG)["slept"] is True


def test_chat_is_lived_line_by_line(shell: Shell) -> None:
    lines = f"colour=blue {LONG}\n\n/sleep\nWhat colour?\n/dance\n/task\n/quit\nunheard\n"
    result = shell.run("chat", "--agent", "ana", stdin=lines)
    assert result.stdout.splitlines()[-1] == "blue"
    assert "slept (asked)" in result.stderr
    assert "no command /dance" in result.stderr
    contents = [m["content"] for m in shell.json("log", "--agent", "ana")["messages"]]
    assert "unheard" not in contents


def test_chat_ends_with_stdin(shell: Shell) -> None:
    document = shell.json("chat", "--agent", "ana", stdin="x=1 x?\n/task\ny=2 y?")
    assert document["agent"] == "ana"
    assert [turn.get("reply") for turn in document["turns"]] == ["1", None, "2"]


def test_chat_without_a_line_is_no_error(shell: Shell) -> None:
    assert shell.run("chat", "--agent", "ana", stdin="").stdout == ""


def test_import_is_lived_as_it_stands(shell: Shell, tmp_path: Path) -> None:
    told = [
        {"role": "user", "content": "colour=blue " + LONG},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "town=Oslo"},
    ]
    file = tmp_path / "talk.jsonl"
    file.write_text("\n".join(map(json.dumps, told)))
    document = shell.json("import", "--agent", "ana", "--end-task", str(file))
    assert (document["n_messages"], document["n_turns"]) == (3, 2)
    assert [sleep["reason"] for sleep in document["sleeps"]] == ["task_boundary"]
    lived = shell.json("log", "--agent", "ana")["messages"]
    assert [(m["role"], m["content"]) for m in lived] == [tuple(m.values()) for m in told]
    assert shell.run("say", "--agent", "ana", "colour?").stdout == "blue\n"


def test_import_reads_stdin(shell: Shell) -> None:
    told = json.dumps([{"role": "user", "content": "x=1"}])
    result = shell.run("import", "--agent", "ana", "-", stdin=told)
    assert result.stdout == "ana lived through 1 messages\n"


def test_import_longer_than_the_window_is_slept_in_pieces(shell: Shell) -> None:
    shell.lm = lambda: FakeSleepLM(64)
    told = "\n".join(json.dumps({"role": "user", "content": LONG}) for _ in range(5))
    document = shell.json("import", "--agent", "ana", "-", stdin=told)
    assert {sleep["reason"] for sleep in document["sleeps"]} <= {"window", "token_budget"}
    assert len(document["sleeps"]) >= 4


# agents, log, sleep, replay


def test_agents_lists_none_and_some(shell: Shell) -> None:
    assert shell.json("agents") == {"agents": []}
    assert "no agent yet" in shell.run("agents").stderr
    shell.run("say", "--agent", "ana", "hello")
    [row] = shell.json("agents")["agents"]
    assert (row["agent"], row["n_turns"], row["branches"]) == ("ana", 1, ["main"])
    assert "ana" in shell.run("agents").stdout


def test_log_finds_and_cuts(ana: Shell) -> None:
    assert len(ana.json("log", "--agent", "ana")["messages"]) == 4
    [found] = ana.json("log", "--agent", "ana", "--search", "oslo")["messages"]
    assert found["content"].startswith("town=Oslo")
    [last] = ana.json("log", "--agent", "ana", "-n", "1")["messages"]
    assert last["role"] == "assistant"
    assert f"main user: colour=blue {LONG}" in ana.run("log", "--agent", "ana").stdout


def test_sleep_reports_what_happened(shell: Shell) -> None:
    shell.run("say", "--agent", "ana", LONG)
    plan = shell.json("sleep", "--agent", "ana", "--plan")
    assert plan["would_sleep"] is True
    assert shell.run("sleep", "--agent", "ana", "--plan").stdout.startswith("would sleep (asked): ")
    document = shell.json("sleep", "--agent", "ana", "--passes", "2")
    assert (document["outcome"], document["passes"]) == ("slept", 2)
    assert document["n_bytes"] == shell.snapshots()[0].stat().st_size
    assert shell.run("sleep", "--agent", "ana").stdout.startswith("nothing to do (asked)")


def test_rejected_sleep_has_its_exit_code_and_force_accepts(shell: Shell) -> None:
    shell.memory = {"retention_floor": 1.1, "policy": TaskBoundary()}
    shell.run("say", "--agent", "ana", LONG)
    assert shell.json("sleep", "--agent", "ana", code=3)["outcome"] == "rejected"
    assert shell.json("sleep", "--agent", "ana", "--force")["outcome"] == "slept"


def test_replay_shows_what_became_of_every_attempt(shell: Shell) -> None:
    shell.memory = {"retention_floor": 1.1, "policy": TaskBoundary()}
    shell.run("say", "--agent", "ana", LONG)
    shell.run("sleep", "--agent", "ana", code=3)
    shell.run("sleep", "--agent", "ana", "--force")
    rejected, slept = shell.json("replay", "--agent", "ana", "--attempts")["sleeps"]
    assert (rejected["outcome"], rejected["snapshot"]) == ("rejected", None)
    assert "under the floor of 1.10" in rejected["problem"]
    assert rejected["recorded_at"] < slept["recorded_at"]
    assert slept["snapshot"] == shell.snapshots()[0].name
    shown = shell.run("replay", "--agent", "ana", "--attempts").stdout.splitlines()
    assert ["rejected" in line for line in shown] == [False, True, False]
    assert shown[1].endswith("is under the floor of 1.10")
    shell.run("replay", "--agent", "ana", "--attempts", "--verify", code=2)


def test_replay_has_the_agreed_shape(ana: Shell) -> None:
    document = ana.json("replay", "--agent", "ana", "--verify")
    assert (document["agent"], document["verified"]) == ("ana", True)
    assert [episode["index"] for episode in document["episodes"]] == [1, 2]
    first = document["episodes"][0]
    assert (first["ended_by"], first["outcome"], first["passes"]) == ("asked", "slept", 4)
    names = {path.name for path in ana.snapshots()}
    assert {episode["snapshot"] for episode in document["episodes"]} == names
    assert first["n_bytes"] == ana.snapshots()[0].stat().st_size
    assert ana.json("replay", "--agent", "ana")["verified"] is None


@pytest.mark.parametrize("until", [("ana", "--until", "1"), ("ana@1",), ("ana/main@1",)])
def test_replay_goes_until_an_episode(ana: Shell, until: tuple[str, ...]) -> None:
    assert len(ana.json("replay", "--agent", *until)["episodes"]) == 1


def test_replay_goes_on_since_an_episode(ana: Shell) -> None:
    document = ana.json("replay", "--agent", "ana", "--since", "1", "--verify")
    assert document["verified"] is True
    assert [episode["index"] for episode in document["episodes"]] == [2]
    assert ana.json("replay", "--agent", "ana", "--since", "2", "--verify")["episodes"] == []


def test_replay_of_an_agent_that_has_not_slept(shell: Shell) -> None:
    shell.run("say", "--agent", "ana", "hello")
    assert shell.json("replay", "--agent", "ana", "--verify")["episodes"] == []
    assert "not slept yet" in shell.run("replay", "--agent", "ana").stderr


def test_replay_shows_a_row_for_each_episode(ana: Shell) -> None:
    shown = ana.run("replay", "--agent", "ana", "--verify").stdout.splitlines()
    assert shown[0].split()[-1] == "verified"
    assert [line.split()[-1] for line in shown[1:]] == ["yes", "yes"]


def test_replay_that_diverges_says_where_and_exits_1(ana: Shell) -> None:
    def other() -> FakeSleepLM:
        lm = FakeSleepLM()
        slept = lm.sleep
        lm.sleep = lambda weights, ids, passes: slept(weights, ids, passes + 1)  # type: ignore[method-assign]
        return lm

    ana.lm = other
    document = ana.json("replay", "--agent", "ana", "--verify", code=1)
    assert document["verified"] is False
    assert [episode["verified"] for episode in document["episodes"]] == [False, None]
    assert document["error"]["type"] == "ReplayDiverged"
    result = ana.run("replay", "--agent", "ana", "--verify", code=1)
    assert "no" in result.stdout.splitlines()[1].split()
    assert result.stderr.startswith("error: episode ")


# the database


def test_db_upgrade_check_current(shell: Shell) -> None:
    assert shell.json("db", "current")["revision"] is None
    assert not Path(shell.db).exists()
    assert "sleepmem db upgrade" in shell.error("db", "check")
    upgraded = shell.json("db", "upgrade")
    assert upgraded["revision"] == upgraded["needed"]
    assert shell.json("db", "check") == upgraded
    assert shell.json("db", "current") == upgraded
    assert upgraded["needed"] in shell.run("db", "current").stdout


# checkpoints


def test_model_list_names_folders_that_exist(shell: Shell) -> None:
    for row in shell.json("model", "list")["models"]:
        assert set(row) == {"model", "folder", "n_bytes"}
        assert Path(row["folder"]).is_dir()
    shell.run("model", "list")


def test_model_show_misses_what_is_not_there(shell: Shell) -> None:
    assert "no checkpoint '/nowhere'" in shell.error("model", "show", "/nowhere")
