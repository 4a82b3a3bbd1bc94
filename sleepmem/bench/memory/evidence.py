"""The records that lie beside a shipped checkpoint: how it was trained, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepmem.bench import Row
from sleepmem.bench.memory.study import RECORD
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import fingerprint, read_weights
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.loop import Progress
from sleepmem.train.runs import read_record
from sleepmem.train.settings import TrainSettings

WAKE = "wake.json"
PICTURES = {
    "age.svg": "What is answered by the number of sleeps since it was told",
    "load.svg": "What is answered by the number of facts held at once",
    "kinds.svg": "What is answered by kind of memory",
}  # that the benchmark draws beside its record


@dataclass(frozen=True, slots=True)
class Measured:
    """What a benchmark found on the checkpoint.

    Attributes:
        record: all that it wrote.
        rows: of the record, by name.
    """

    record: Mapping[str, Any]
    rows: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A shipped checkpoint with its records.

    Attributes:
        name: as `--model` takes it.
        trained_in: machine, versions and commit of the training.
        pictures: that lie beside it, of `PICTURES`.
        memory, wake: of `sleepmem bench memory` and `sleepmem bench wake`.
    """

    name: str
    fingerprint: str
    lm: SleepForCausalLM
    settings: TrainSettings
    progress: Progress
    trained_in: Mapping[str, Any]
    pictures: Sequence[str]
    memory: Measured
    wake: Measured


def read_evidence(folder: Path) -> Evidence:
    """Return the checkpoint in a folder with its records.

    Raises:
        CheckpointInvalid: it cannot be read.
        ConfigError: a record is missing, cannot be read, or is of another checkpoint.
    """
    settings, progress, trained_in = read_record(folder)
    digest = fingerprint(folder)
    return Evidence(
        name=f"sleepmem/{folder.resolve().name}",
        fingerprint=digest,
        lm=read_weights(folder),
        settings=settings,
        progress=progress,
        trained_in=trained_in,
        pictures=[name for name in PICTURES if (folder / name).is_file()],
        memory=_measured(folder / RECORD, digest, f"sleepmem bench memory --out {folder}"),
        wake=_measured(folder / WAKE, digest, f"sleepmem bench wake --json > {folder / WAKE}"),
    )


def _measured(path: Path, digest: str, command: str) -> Measured:
    hint = f"Measure it with: {command}"
    try:
        record = json.loads(path.read_text("utf-8"))
        rows = {row["name"]: Row(**row) for row in record["rows"]}
        found = record["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ConfigError(f"{path} holds no readable record: {problem}", hint=hint) from problem
    if found != digest:
        raise ConfigError(
            f"{path} is of checkpoint {found[:12]}, and here lies {digest[:12]}", hint=hint
        )
    return Measured(record, rows)
