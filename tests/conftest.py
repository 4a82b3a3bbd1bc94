"""What holds for every test: no network, no home folder, no settings from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

# read when the libraries are imported, so before any fixture
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

KEPT = ("SLEEPMEM_TEST_",)  # choose which tests run, not what the library does


def pytest_runtest_setup() -> None:
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one home for the whole run; a test that writes to it brings its own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _closed_house(empty_home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("SLEEPMEM_") and not name.startswith(KEPT):
                patch.delenv(name)
        patch.setenv("HOME", str(empty_home))
        for kind in ("DATA", "CONFIG", "CACHE", "STATE"):
            patch.setenv(f"XDG_{kind}_HOME", str(empty_home / kind.lower()))
        yield
