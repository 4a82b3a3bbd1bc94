"""What is shipped: the packages, the migrations and the checkpoint, and nothing else at the top."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    assert wheel.stat().st_size < 20 << 20
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_top_level_names_are_ours(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert top == {"sleepmem", next(name for name in top if name.endswith(".dist-info"))}


def test_migrations_and_checkpoint_are_in_it(names: list[str]) -> None:
    assert "sleepmem/_migrations/env.py" in names
    assert any(name.startswith("sleepmem/_migrations/versions/0001_") for name in names)
    checkpoint = {n.rsplit("/", 1)[1] for n in names if n.startswith("sleepmem/pretrained/tiny-2/")}
    assert checkpoint >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "README.md",
    }
    assert "sleepmem/py.typed" in names


def test_no_run_folder_or_cache_is_in_it(names: list[str]) -> None:
    assert not [name for name in names if "__pycache__" in name or "/runs/" in name]


def test_adapters_is_no_package() -> None:
    assert not (ROOT / "adapters" / "__init__.py").exists()
