from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("sleepmem", "adapters", "migrations", "examples", "tests")


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def ruff(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the rules against what runs the bytes that it reads; `noqa` silences none of them."""
    command = [str(Path(sys.executable).with_name("ruff")), "check", "--no-cache", "--ignore-noqa"]
    rules = ["--select", "TID251,S102,S301,S302,S307", "--output-format", "concise"]
    return subprocess.run(
        [*command, *rules, *arguments],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_nothing_runs_the_bytes_that_it_reads() -> None:
    done = ruff(*FOLDERS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", ["sleepmem", "tests"])
@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import dill as d",
        "import shelve",
        "import marshal",
        "import cPickle",
        "import torch\ntorch.load('x')  # noqa",
        "import torch as t\nt.load('x')",
        "from torch import load",
        "import torch\nread = torch.load",
        "import numpy as np\nnp.load('x')",
        "eval('1')",
    ],
)
def test_the_lint_rule_sees(folder: str, code: str) -> None:
    done = ruff("--stdin-filename", f"{folder}/x.py", "-", code=code + "\n")
    assert done.returncode == 1
    assert f"{folder}/x.py:" in done.stdout


def test_no_file_names_a_module_to_import_by_its_text() -> None:
    """What ruff cannot see: `import_module("pickle")`."""
    for name in FOLDERS[:-1]:
        for path in (ROOT / name).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"""["'](_?c?[pP]ickle|dill|shelve|marshal)["']""", text), path
            assert "torch.load(" not in text, path
