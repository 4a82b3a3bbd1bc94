from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sleepmem


def test_public_names_are_sorted() -> None:
    assert sleepmem.__all__ == sorted(sleepmem.__all__)
    assert dir(sleepmem) == sleepmem.__all__


@pytest.mark.parametrize("name", sleepmem.__all__)
def test_public_name_exists_and_is_explained(name: str) -> None:
    value = getattr(sleepmem, name)
    if name != "__version__":
        assert value.__doc__, f"{name} has no docstring"
        assert value.__module__.startswith("sleepmem.")


def test_every_name_that_is_imported_is_public() -> None:
    tree = ast.parse(Path(sleepmem.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sleepmem")
        for alias in node.names
    }
    assert imported == set(sleepmem.__all__) - {"__version__"}


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = sleepmem.Nothing
