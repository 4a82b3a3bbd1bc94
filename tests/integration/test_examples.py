"""Each example runs as it stands and prints what its docstring promises."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


def promised(example: Path) -> list[str]:
    docstring = ast.get_docstring(ast.parse(example.read_text())) or ""
    lines = docstring.partition("Expected output:")[2].splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"SLEEPMEM_DB": str(tmp_path / "unused.db")},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert promised(example)
    assert [line.strip() for line in done.stdout.splitlines()] == promised(example)
