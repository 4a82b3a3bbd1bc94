"""Where sleepmem looks when nothing was given: environment, then config file, then defaults.

    argument > SLEEPMEM_DB, _MODEL, _DATA, _SNAPSHOTS > config.toml > default

The config file is `config.toml` in the platform's config folder, or the file that
SLEEPMEM_CONFIG names. Reading settings touches no folder; `database()` makes the default one.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_config_path, user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sleepmem.errors import ConfigError

_APP = "sleepmem"


def config_file() -> Path:
    """Return the config file that is read if it exists."""
    named = os.environ.get("SLEEPMEM_CONFIG")
    return Path(named) if named else user_config_path(_APP) / "config.toml"


def data_folder() -> Path:
    """Return the platform's data folder, which need not exist."""
    return user_data_path(_APP)


def database_url(text: str) -> str:
    """Return a database URL; anything without `://` is the path of a SQLite file."""
    return text if "://" in text else f"sqlite:///{Path(text).expanduser()}"


def snapshot_folder(db: str) -> Path:
    """Return the folder of snapshot files: beside a SQLite file, else in the data folder."""
    scheme, _, rest = db.partition("://")
    file = rest[1:].partition("?")[0]
    if not scheme.startswith("sqlite") or not file or ":memory:" in file:
        return data_folder() / "snapshots"
    return Path(f"{file}.snapshots")


def _default_db() -> str:
    return database_url(str(data_folder() / "sleepmem.db"))


class Settings(BaseSettings):
    """What can be set from outside.

    Args:
        db: database URL, or the path of a SQLite file.
        model: name of a shipped checkpoint or path of a checkpoint folder.
        data: folder of the snapshot files; None lets the database decide.
        snapshots: where snapshots are kept: in `files`, or as `rows` of the database, so that
            every machine that reaches it can wake its agents; `auto` is rows with Postgres and
            files with SQLite.

    Raises:
        ConfigError: an unknown key in the config file, a value that does not fit, or a file
            that is named and cannot be read.
    """

    model_config = SettingsConfigDict(
        env_prefix="SLEEPMEM_", env_ignore_empty=True, extra="forbid", frozen=True
    )

    db: str = Field(default_factory=_default_db, min_length=1)
    model: str = Field(default="sleepmem/tiny-2", min_length=1)
    data: Path | None = None
    snapshots: Literal["auto", "files", "rows"] = "auto"

    def __init__(self, **given: Any) -> None:
        _check_config_file()
        try:
            super().__init__(**given)
        except ValidationError as problem:
            first = problem.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            unknown = first["type"] == "extra_forbidden"
            raise ConfigError(
                f"unknown setting {key!r}" if unknown else f"setting {key!r}: {first['msg']}",
                hint=f"Settings are {', '.join(sorted(Settings.model_fields))}; they come from "
                f"SLEEPMEM_... variables and {config_file()}.",
            ) from problem

    @field_validator("db")
    @classmethod
    def _url(cls, text: str) -> str:
        return database_url(text)

    def database(self) -> str:
        """Return the database URL, its folder made if it is the default one.

        Raises:
            ConfigError: that folder cannot be made.
        """
        if self.db == _default_db():
            try:
                data_folder().mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise ConfigError(
                    f"data folder {data_folder()}: {problem.strerror}",
                    hint="Choose another database with --db or SLEEPMEM_DB.",
                ) from problem
        return self.db

    def keeps_rows(self, db: str) -> bool:
        """Return whether snapshots of the database at the URL `db` are rows of it."""
        is_postgres = db.partition("://")[0].startswith("postgres")
        return is_postgres if self.snapshots == "auto" else self.snapshots == "rows"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, file


def _check_config_file() -> None:
    """Refuse a config file that cannot be read; a missing one is fine unless it was named."""
    path = config_file()
    if not path.exists() and "SLEEPMEM_CONFIG" not in os.environ:
        return
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        what = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigError(
            f"config file {path}: {what}",
            hint="Mend the file, or point SLEEPMEM_CONFIG elsewhere.",
        ) from problem
