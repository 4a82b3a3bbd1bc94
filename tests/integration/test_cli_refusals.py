"""Bad input and bad luck: one line, what to do next, a non-zero exit, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cli_shell import LONG, Shell
from click.testing import CliRunner

from sleepmem.cli import COMMANDS, main
from sleepmem.errors import NonFiniteWeights
from sleepmem.protocols import SleepStep
from sleepmem.testing.fake_model import FakeSleepLM, FakeWeights

HERE = Path(__file__).parent


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(str(tmp_path / "agents.db"))


@pytest.fixture
def ana(shell: Shell) -> Shell:
    """Give a shell whose agent ana has slept once."""
    shell.run("say", "--agent", "ana", f"colour=blue {LONG}")
    shell.run("sleep", "--agent", "ana")
    return shell


@pytest.mark.parametrize("command", ["log", "sleep", "replay"])
def test_unknown_agent(ana: Shell, command: str) -> None:
    assert "no agent 'eva'" in ana.error(command, "--agent", "eva")
    assert [row["agent"] for row in ana.json("agents")["agents"]] == ["ana"]


@pytest.mark.parametrize("command", ["say", "sleep", "replay"])
def test_unknown_branch(ana: Shell, command: str) -> None:
    text = ["x"] if command == "say" else []
    assert "no branch 'other'" in ana.error(command, "--agent", "ana/other", *text)


@pytest.mark.parametrize("plan", [(), ("--plan",), ("--take-over",)])
def test_unknown_thread_is_not_made_by_a_sleep(ana: Shell, plan: tuple[str, ...]) -> None:
    ana.run("say", "--agent", "ana", "--thread", "work", "hello")
    connection = sqlite3.connect(ana.db)
    [(epoch,)] = connection.execute("SELECT epoch FROM sleepmem_agent").fetchall()
    connection.close()
    line = ana.error("sleep", "--agent", "ana", "--thread", "wrok", *plan)
    assert "no thread 'wrok'" in line
    assert "main, work" in line
    connection = sqlite3.connect(ana.db)
    [(after,)] = connection.execute("SELECT epoch FROM sleepmem_agent").fetchall()
    assert after == epoch  # nor is the agent taken from anybody
    names = connection.execute("SELECT name FROM sleepmem_thread ORDER BY id").fetchall()
    connection.close()
    assert names == [("main",), ("work",)]


def test_unknown_episode(ana: Shell) -> None:
    assert "no episode '7'" in ana.error("replay", "--agent", "ana@7")


def test_error_is_a_document_with_json(ana: Shell) -> None:
    error = ana.json("log", "--agent", "eva", code=1)["error"]
    assert set(error) == {"type", "message", "hint"}
    assert error["type"] == "AgentNotFound"
    assert all(error.values())


def test_import_file_that_cannot_be_read_names_its_line(ana: Shell, tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    good = json.dumps({"role": "user", "content": "colour=red"})
    file.write_text(f'{good}\n{good}\n{{"role": "user"\n')
    line = ana.error("import", "--agent", "ana", str(file))
    assert f"{file}, line 3: not JSON" in line
    assert ana.json("log", "--agent", "ana", "--search", "red")["messages"] == []


def test_corrupt_snapshot_is_named_and_the_log_is_kept(ana: Shell) -> None:
    [file] = ana.snapshots()
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    line = ana.error("say", "--agent", "ana", "colour?")
    assert f"snapshot {file.name} is corrupt" in line
    assert f"Delete {file}, then" in line
    assert line.endswith("sleepmem replay --agent ana --verify")
    assert file.name in ana.error("replay", "--agent", "ana", "--verify")
    assert len(ana.json("log", "--agent", "ana")["messages"]) >= 2


def test_missing_snapshot_is_named(ana: Shell) -> None:
    [file] = ana.snapshots()
    file.unlink()
    assert f"snapshot {file.name}" in ana.error("say", "--agent", "ana", "colour?")


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("UPDATE sleepmem_schema_version SET version_num = '9999'", "newer sleepmem"),
        ("DELETE FROM sleepmem_schema_version", "sleepmem db upgrade"),
    ],
    ids=["newer", "older"],
)
@pytest.mark.parametrize("command", ["agents", "db check"])
def test_database_of_another_age(ana: Shell, statement: str, hint: str, command: str) -> None:
    connection = sqlite3.connect(ana.db)
    with connection:
        connection.execute(statement)
    connection.close()
    line = ana.error(*command.split())
    assert "revision" in line
    assert hint in line


def test_database_that_is_none(shell: Shell, tmp_path: Path) -> None:
    Path(shell.db).write_text("this is a diary, dear reader\n" * 100)
    before = Path(shell.db).read_bytes()
    shell.error("agents")
    assert Path(shell.db).read_bytes() == before
    shell.db = "oracle://x"
    shell.error("agents")


def test_agent_of_another_model(ana: Shell) -> None:
    ana.lm = lambda: FakeSleepLM(name="other")
    assert "fingerprint" in ana.error("say", "--agent", "ana", "colour?")
    line = ana.error("replay", "--agent", "ana", "--verify")
    assert line.startswith("error: cannot verify agent 'ana'")
    assert "fingerprint" in line
    assert "diverge" not in line
    assert len(ana.json("replay", "--agent", "ana")["episodes"]) == 1


def test_checkpoint_that_is_missing_is_missed_only_where_it_is_needed(ana: Shell) -> None:
    terminal = ["--db", ana.db, "--model", "/nowhere"]
    for command in ("agents", "log --agent ana", "replay --agent ana"):
        assert CliRunner().invoke(main, [*command.split(), *terminal]).exit_code == 0
    missing = "no checkpoint '/nowhere'"
    for command, problem in (
        ("say hello --agent ana", missing),
        ("replay --verify --agent ana", f"cannot verify agent 'ana': {missing}"),
    ):
        result = CliRunner().invoke(main, [*command.split(), *terminal])
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: {problem}")


class Diverging(FakeSleepLM):
    def sleep(
        self, weights: FakeWeights, token_ids: Sequence[int], passes: int
    ) -> Iterator[SleepStep]:
        raise NonFiniteWeights(1)


def test_failed_sleep_says_why_and_keeps_what_was_lived(ana: Shell) -> None:
    ana.run("say", "--agent", "ana", f"town=Oslo {LONG}")
    ana.lm = Diverging
    report = ana.json("sleep", "--agent", "ana", code=1)
    assert report["outcome"] == "failed"
    assert "layer 1" in report["problem"]
    assert ana.run("say", "--agent", "ana", "town?").stdout == "Oslo\n"


@pytest.mark.parametrize("text", ["", "  ", "\0"])
def test_message_that_cannot_be_lived(ana: Shell, text: str) -> None:
    ana.error("say", "--agent", "ana", text)
    ana.error("say", "--agent", "ana", "-", stdin=text)
    assert len(ana.json("log", "--agent", "ana")["messages"]) == 2


def test_window_that_the_system_prompt_fills(ana: Shell) -> None:
    line = ana.error("say", "--agent", "ana", "--thread", "t", "--system", "x" * 600, "hello")
    assert "window of 512" in line


def test_reply_that_fills_the_window(ana: Shell) -> None:
    assert "max_tokens" in ana.error("say", "--agent", "ana", "--max-tokens", "600", "hello")


def test_full_memory_is_said_and_force_makes_room(shell: Shell) -> None:
    shell.memory, shell.lm = {"retention_floor": 1.1}, lambda: FakeSleepLM(224)
    shell.run("say", "--agent", "ana", LONG)
    assert "sleep --agent ana --thread main --force" in shell.error("say", "--agent", "ana", LONG)
    shell.run("sleep", "--agent", "ana", "--force")
    shell.run("say", "--agent", "ana", "hello")


def test_bad_config_file(ana: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.toml").write_text('modell = "x"')
    monkeypatch.setenv("SLEEPMEM_CONFIG", str(tmp_path / "c.toml"))
    assert "unknown setting 'modell'" in ana.error("agents")


def test_verbose_adds_causes(ana: Shell) -> None:
    result = ana.run("log", "--agent", "eva", "-v", code=1)
    assert "Traceback" in result.stderr
    assert "AgentNotFound" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("say", "--agent", "ana"),
        ("say", "hello"),
        ("say", "--agent", "ana@3", "hello"),
        ("say", "--agent", "ana", "--max-tokens", "0", "hello"),
        ("replay", "--agent", "ana", "--untill", "3"),
        ("import", "--agent", "ana", "no such file"),
        ("dance",),
        ("--dance", "agents"),
    ],
)
def test_usage_error_exits_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell.run(*arguments, code=2)
    assert result.stdout == ""
    error = shell.json(*arguments, code=2)["error"]
    assert set(error) == {"type", "message", "hint"}


def test_json_before_the_command_is_a_usage_error_with_a_document(shell: Shell) -> None:
    assert "--json" in json.loads(shell.run("--json", "agents", code=2).stdout)["error"]["message"]


def test_stdin_that_is_not_utf_8(ana: Shell) -> None:
    assert "not UTF-8" in ana.error("say", "--agent", "ana", "-", stdin=b"caf\xe9")
    assert "line 2: not UTF-8" in ana.error("import", "--agent", "ana", "-", stdin=b"{}\n\xe9")


def test_number_that_no_message_holds(ana: Shell) -> None:
    long = '{"role": "user", "content": ' + "1" * 5000 + "}"
    for text in (long, f"[{long}]"):
        assert "too many digits" in ana.error("import", "--agent", "ana", "-", stdin=text)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(shell: Shell, name: str) -> None:
    if name in ("demo", "bench"):
        pytest.importorskip(f"sleepmem.cli.{name}")
    assert "Example:" in shell.run(name, "--help").stdout


# a process that is ended from outside

SLOW = """
import signal, sys, time
sys.path.insert(0, {here!r})
from cli_shell import Shell
from sleepmem.cli import main
from sleepmem.cli.terminal import Terminal
from sleepmem.testing.fake_model import FakeSleepLM

# whoever runs the tests in the background has interrupts ignored, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(FakeSleepLM):
    def next(self, states, sampling):
        time.sleep(0.1)
        return super().next(states, sampling)

shell = Shell({db!r}, lm=Slow)
main(sys.argv[1:], obj=Terminal(opener=shell.opener, db=shell.db))
"""


def started(shell: Shell, *arguments: str) -> subprocess.Popen[str]:
    code = SLOW.format(here=str(HERE), db=shell.db)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_interrupted_say_loses_nothing(ana: Shell) -> None:
    process = started(ana, "say", "--agent", "ana", "a long story")
    assert process.stdout is not None
    assert process.stdout.read(1)  # it speaks
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    lived = ana.json("log", "--agent", "ana")["messages"]
    assert [m["state"] for m in lived] == ["done", "done", "staged"]
    assert ana.run("say", "--agent", "ana", "colour?").stdout == "blue\n"
    states = [m["state"] for m in ana.json("log", "--agent", "ana")["messages"]]
    assert states == ["done", "done", "abandoned", "done", "done"]


def test_interrupted_chat_ends_while_it_waits_for_a_line(ana: Shell) -> None:
    process = started(ana, "chat", "--agent", "ana")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("colour?\n")
    process.stdin.flush()
    assert process.stdout.readline() == "blue\n"
    time.sleep(0.2)  # it waits for the next line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")


def shut(ana: Shell, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a standard stream that is closed or full."""
    code = SLOW.format(here=str(HERE), db=ana.db)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("flag", [[], ["--json"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_stdout_is_one_line(ana: Shell, flag: list[str]) -> None:
    ended = shut(ana, "> /dev/full", "log", "--agent", "ana", *flag)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: No space left on device · ")
    assert ended.stderr.count("\n") == 1


def test_closed_stdin_is_one_line(ana: Shell) -> None:
    assert "stdin is closed" in shut(ana, "<&-", "say", "--agent", "ana", "-").stderr
    assert shut(ana, "<&-", "chat", "--agent", "ana").returncode == 0


def test_interrupted_command_gives_a_document(ana: Shell) -> None:
    process = started(ana, "say", "--agent", "ana", "a long story", "--json")
    assert process.stderr is not None
    assert process.stderr.read(1)  # it speaks
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["error"]["message"] == "interrupted"


def test_broken_pipe_is_no_traceback(ana: Shell) -> None:
    process = started(ana, "say", "--agent", "ana", "a long story")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(1)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    assert process.wait(20) != 0
    process.stderr.close()
    process.stdin.close()  # type: ignore[union-attr]
