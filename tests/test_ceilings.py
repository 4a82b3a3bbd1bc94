"""Files under 400 lines, functions under 60, and nothing that runs what it reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(
    path
    for folder in ("sleepmem", "adapters", "migrations")
    for path in (ROOT / folder).rglob("*.py")
)
ALL = SHIPPED + sorted(
    path for folder in ("tests", "examples") for path in (ROOT / folder).rglob("*.py")
)
MAX_FILE, MAX_FUNCTION = 400, 60  # lines
BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
BANNED_CALLS = {"eval", "exec", "torch.load", "torch.save"}
BANNED_NAMES = {"utils", "helper", "helpers", "manager", "handler", "common"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def offences(tree: ast.AST) -> Iterator[str]:
    """Yield what a tree does that no file of the package may do."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            modules = []
        for module in modules:
            if module.split(".")[0] in BANNED_MODULES:
                yield f"line {node.lineno}: imports {module}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and ast.unparse(node.func) in BANNED_CALLS:
            yield f"line {node.lineno}: calls {ast.unparse(node.func)}"
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            yield f"line {node.lineno}: names trust_remote_code"


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_file_is_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_FILE, f"{len(lines)} lines: the file holds two ideas"


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_nothing_runs_what_it_reads(path: Path) -> None:
    assert list(offences(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_file_is_named_for_what_it_holds(path: Path) -> None:
    assert path.stem not in BANNED_NAMES


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "eval('1')",
        "model(trust_remote_code=True)",
    ],
)
def test_offences_are_seen(code: str) -> None:
    assert list(offences(ast.parse(code)))
