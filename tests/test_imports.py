"""What a start costs: the package and its help load none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "tokenizers", "langchain_core", "sqlalchemy", "rich")


def loaded_after(code: str) -> list[str]:
    """Return the heavy modules that a fresh interpreter holds after running `code`."""
    report = f"import sys; print(*(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def run(arguments: str) -> str:
    return (
        "import sleepmem.cli\n"
        f"try: sleepmem.cli.main({arguments.split()!r})\n"
        "except SystemExit as end: assert not end.code, end.code"
    )


@pytest.mark.parametrize(
    "code",
    ["import sleepmem", run("--help"), run("--version"), run("say --help"), run("replay --help")],
    ids=["import", "help", "version", "say help", "replay help"],
)
def test_start_loads_nothing_heavy(code: str) -> None:
    assert loaded_after(code) == []


def test_public_names_load_on_first_use() -> None:
    assert "langchain_core" in loaded_after("from sleepmem import SleepChatModel")
    assert loaded_after("from sleepmem import Message, SleepmemError, TokenBudget") == []
