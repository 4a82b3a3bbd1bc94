from __future__ import annotations

from pathlib import Path

import pytest

from sleepmem.errors import ConfigError
from sleepmem.settings import (
    Settings,
    config_file,
    data_folder,
    database_url,
    snapshot_folder,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def config(home: Path) -> Path:
    config_file().parent.mkdir(parents=True)
    return config_file()


def test_default_database_lies_in_the_data_folder_and_reading_makes_none(home: Path) -> None:
    settings = Settings()
    assert settings.db == f"sqlite:///{home}/data/sleepmem/sleepmem.db"
    assert (settings.model, settings.data) == ("sleepmem/tiny-2", None)
    assert not data_folder().exists()


def test_default_database_gets_its_folder_on_use(home: Path) -> None:
    assert Settings().database() == Settings().db
    assert data_folder().is_dir()


def test_given_database_gets_no_folder(home: Path) -> None:
    Settings(db=str(home / "elsewhere" / "a.db")).database()
    assert not (home / "elsewhere").exists()
    assert not data_folder().exists()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("agents.db", "sqlite:///agents.db"),
        ("/srv/agents.db", "sqlite:////srv/agents.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql://db/agents", "postgresql://db/agents"),
    ],
)
def test_database_may_be_a_path(text: str, url: str) -> None:
    assert database_url(text) == url


@pytest.mark.parametrize(
    ("snapshots", "db", "are_rows"),
    [
        ("auto", "sqlite:///agents.db", False),
        ("auto", "postgresql://db/agents", True),
        ("auto", "postgres+psycopg://db/agents", True),
        ("files", "postgresql://db/agents", False),
        ("rows", "sqlite:///agents.db", True),
    ],
)
def test_database_decides_where_snapshots_are_kept_unless_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, snapshots: str, db: str, are_rows: bool
) -> None:
    monkeypatch.setenv("SLEEPMEM_SNAPSHOTS", snapshots)
    assert Settings().keeps_rows(db) is are_rows


def test_snapshot_files_lie_beside_a_sqlite_file(home: Path) -> None:
    assert snapshot_folder("sqlite:////srv/a.db?timeout=3") == Path("/srv/a.db.snapshots")
    assert snapshot_folder("postgresql://db/agents") == data_folder() / "snapshots"


def test_order_is_argument_environment_file_default(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('db = "file.db"\nmodel = "file"\ndata = "/file"\n')
    monkeypatch.setenv("SLEEPMEM_DB", "env.db")
    monkeypatch.setenv("SLEEPMEM_MODEL", "env")
    settings = Settings(model="argument")
    assert settings.model == "argument"
    assert settings.db == "sqlite:///env.db"
    assert settings.data == Path("/file")


def test_empty_variable_counts_as_unset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPMEM_MODEL", "")
    assert Settings().model == "sleepmem/tiny-2"


def test_config_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "my.toml"
    named.write_text('model = "mine"')
    monkeypatch.setenv("SLEEPMEM_CONFIG", str(named))
    assert Settings().model == "mine"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('modell = "x"', "unknown setting 'modell'"),
        ("model = 3", "setting 'model': "),
        ('model = ""', "setting 'model': "),
        ('snapshots = "sometimes"', "setting 'snapshots': Input should be 'auto', 'files' or"),
        ("model = ", "config.toml: "),
    ],
)
def test_bad_config_file_is_one_line(config: Path, text: str, problem: str) -> None:
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Settings()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value) + caught.value.hint


def test_named_config_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPMEM_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        Settings()


def test_folder_that_cannot_be_made_is_one_line(home: Path) -> None:
    data_folder().parent.write_text("a file in its place")
    with pytest.raises(ConfigError, match="data folder") as caught:
        Settings().database()
    assert "--db" in caught.value.hint
