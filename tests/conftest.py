"""What holds for every test: no network, no home folder, no settings from outside."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytest_socket import socket_allow_hosts

# read when the libraries are imported, so before any fixture
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are shared by the workers

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


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder, in memory if there is any: for tests that need no durable disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    """Return the URL of a database that is made for this run and dropped after it."""
    url = os.environ.get("SLEEPMEM_TEST_POSTGRES")
    if not url:
        pytest.skip("SLEEPMEM_TEST_POSTGRES is not set")
    psycopg = pytest.importorskip("psycopg")
    name = f"sleepmem_test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_database: str) -> Iterator[str]:
    """Return the URL of a database that is emptied after the test, tables and all."""
    psycopg = pytest.importorskip("psycopg")
    yield postgres_database
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@pytest.fixture(scope="session")
def native_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return two folders of small native models with random weights, which differ.

    The second has loop layers.
    """
    import torch

    from sleepmem.model import SleepConfig, SleepForCausalLM
    from sleepmem.train.tokenizer import build_tokenizer, save_tokenizer

    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("checkpoint")
        tokenizer = build_tokenizer(["My dog is called Rex.", "What is the dog called?"])
        torch.manual_seed(seed)
        config = SleepConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            intermediate_size=48,
            layer_types=["full_attention", "linear_attention"] * 2,
            window=160,
            linear_key_head_dim=16,
            linear_value_head_dim=8,
            num_loop_layers=seed - 1,
        )
        lm = SleepForCausalLM(config)
        for parameter in lm.model.loop_layers.parameters():  # fresh ones change nothing
            torch.nn.init.normal_(parameter, std=0.1)
        lm.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        folders.append(str(folder))
    return folders
