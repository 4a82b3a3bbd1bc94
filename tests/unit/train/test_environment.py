from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sleepmem.train import runs


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a work tree, with the code in it and a record beside that is committed too."""
    for name in ("code/runs.py", "records/[a].json", "records/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as committed")
    for command in (
        "init -q",
        "add .",
        "-c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -q -m all",
    ):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "code" / "runs.py"))
    return tmp_path


def is_dirty(*own: Path) -> bool:
    commit = runs.environment(*own)["commit"]
    assert commit
    return bool(commit.endswith("-dirty"))


def test_record_does_not_make_the_commit_dirty_that_it_names(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tree / "records" / "[a].json"
    assert not is_dirty(record)
    record.write_text("as measured")
    assert is_dirty()
    assert not is_dirty(record, tree.parent / "elsewhere.json")
    monkeypatch.chdir(tree)
    assert not is_dirty(Path("records/[a].json"))
    (tree / "records" / "a.json").write_text("as measured")
    assert is_dirty(record)


def test_code_that_differs_makes_the_commit_dirty(tree: Path) -> None:
    (tree / "code" / "runs.py").write_text("as changed")
    assert is_dirty(tree / "records" / "a.json")


def test_code_outside_of_a_work_tree_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "runs.py"))
    assert runs.environment(tmp_path / "record.json")["commit"] is None
