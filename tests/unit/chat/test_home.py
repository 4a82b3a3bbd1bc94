from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sleepmem import SleepChatModel
from sleepmem.chat.home import Key, close_shared
from sleepmem.errors import ConfigError, NotFound


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    yield
    close_shared()


def test_what_is_not_given_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPMEM_DB", "env.db")
    monkeypatch.setenv("SLEEPMEM_MODEL", "env")
    monkeypatch.setenv("SLEEPMEM_DATA", "/data")
    assert SleepChatModel()._key == Key("sqlite:///env.db", Path("/data"), "env", 4)
    given = SleepChatModel(db="a.db", model="m", passes=2)
    assert given._key == Key("sqlite:///a.db", Path("/data"), "m", 2)


def test_making_a_model_touches_nothing(tmp_path: Path) -> None:
    SleepChatModel(db=str(tmp_path / "no" / "a.db"), model="/nowhere", agent_id="ana")
    assert not (tmp_path / "no").exists()


def test_memory_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    model = SleepChatModel(db="oracle://x", agent_id="ana")
    for _ in range(2):
        with pytest.raises(ConfigError):
            model.invoke("hello")


def test_missing_checkpoint_says_so(tmp_path: Path) -> None:
    model = SleepChatModel(db=str(tmp_path / "a.db"), model="/nowhere", agent_id="ana")
    for _ in range(2):
        with pytest.raises(NotFound, match="no checkpoint '/nowhere'"):
            model.invoke("hello")
