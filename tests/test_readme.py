"""The README is executed: Python as it stands, commands in order, outputs and help compared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETUP = ("python -m venv", "git clone", ".venv/bin/", "pip install")  # what .ci/run does


class Fenced(NamedTuple):
    language: str
    text: str


BLOCKS = [Fenced(*found) for found in re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)]


def output_of(index: int) -> str | None:
    """Return the `text` block that follows a block, which is its output."""
    following = BLOCKS[index + 1 : index + 2]
    return following[0].text if following and following[0].language == "text" else None


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ
        | {"COLUMNS": "100", "SLEEPMEM_DB": str(folder / "readme.db"), "PYTHONWARNINGS": "error"},
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "index", [i for i, block in enumerate(BLOCKS) if block.language == "python"]
)
def test_python_runs_as_it_stands(index: int, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(BLOCKS[index].text)
    printed = run([sys.executable, str(script)], tmp_path)
    assert output_of(index) in (None, printed)


@pytest.mark.parametrize("index", [i for i, block in enumerate(BLOCKS) if block.language == "sh"])
def test_commands_run_in_order(index: int, tmp_path: Path) -> None:
    printed = ""
    for line in BLOCKS[index].text.splitlines():
        command = line.removeprefix("$ ").strip()
        if not command or command.startswith("#") or any(part in command for part in SETUP):
            continue
        name, *arguments = shlex.split(command, comments=True)
        assert name == "sleepmem", f"the README shows a command that is not ours: {command}"
        if not {"train", "bench", "demo"} & {*arguments}:  # minutes; each has a test of its own
            printed += run([sys.executable, "-m", "sleepmem", *arguments], tmp_path)
    assert output_of(index) in (None, printed)


def test_first_screen_has_the_sentence_two_commands_and_at_most_fifteen_lines() -> None:
    first = README.partition("\n## ")[0]
    assert first.startswith("# sleepmem\n")
    commands = [line for line in first.splitlines() if line.strip().startswith("python -m venv")]
    assert len(commands) == 2
    [code] = re.findall(r"```python\n(.*?)```", first, re.DOTALL)
    assert len(code.splitlines()) <= 15


def test_every_path_that_is_named_exists() -> None:
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / path).exists(), path
