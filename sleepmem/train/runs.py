"""A run's folder: checkpoint to resume from, record of what was done, finished checkpoint.

    run.json             settings, machine, commit, progress with its curve
    model.safetensors    slow weights at the last save
    optimizer.safetensors
    lock                 held by the process that trains

All files of a save are written to temporary names before the first of them is renamed. A kill
before that leaves the last save as it is; the next load finishes one that was cut between renames.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from sleepmem.errors import ConfigError
from sleepmem.model.machine import processor
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.loop import Progress
from sleepmem.train.optimizers import Optimizers
from sleepmem.train.settings import TrainSettings

if sys.platform != "win32":
    import fcntl

RECORD = "run.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
LOCK = "lock"
LOOP = "model.loop_layers."


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder alone; a process that dies lets go of it. Not on Windows.

    Raises:
        ConfigError: another process trains into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise ConfigError(
                f"{folder} is being trained into by another process",
                hint="Wait for it to end, or give another --out.",
            ) from problem
        yield


def save_run(
    folder: Path,
    settings: TrainSettings,
    lm: SleepForCausalLM,
    optimizers: Optimizers,
    progress: Progress,
) -> None:
    """Save all that `load_run` needs; the record comes last and names the step of the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    step = {"step": str(progress.step)}
    _write(_temporary(folder, OPTIMIZER), save(optimizers.tensors(), step))
    here = environment(*(folder / name for name in (MODEL, OPTIMIZER, RECORD)))
    save_ended(folder, settings, lm, progress, here)


def save_ended(
    folder: Path,
    settings: TrainSettings,
    lm: SleepForCausalLM,
    progress: Progress,
    trained_in: Mapping[str, Any],
) -> None:
    """Save a run that no optimiser goes on with.

    Args:
        trained_in: machine, versions and commit, as of `environment`.
    """
    step = {"step": str(progress.step)}
    _write(_temporary(folder, MODEL), save(_named_weights(lm), step))
    record = {
        "settings": settings.model_dump(mode="json"),
        "progress": asdict(progress),
        "environment": dict(trained_in),
    }
    _write(_temporary(folder, RECORD), json.dumps(record, indent=1).encode())
    _rename(folder)


def load_run(
    folder: Path,
    settings: TrainSettings,
    lm: SleepForCausalLM,
    optimizers: Optimizers,
) -> Progress:
    """Fill model and optimiser from the last save; a fresh `Progress` if there is none.

    Raises:
        ConfigError: the folder holds a run with other settings, or one that cannot be read.
    """
    if not (folder / RECORD).exists():
        return Progress()
    if not any(path.exists() for path in (folder / OPTIMIZER, _temporary(folder, RECORD))):
        raise ConfigError(
            f"{folder} holds a run without its optimiser",
            hint="Go on from it by --branch, with another --out.",
        )
    found, progress = _last_save(folder)
    if found.model_copy(update={"steps": settings.steps}) != settings:
        different = _different(found, settings)
        raise ConfigError(
            f"{folder} holds a run with other settings: {', '.join(different)}",
            hint="Give the same settings to resume it, or another --out to start anew.",
        )
    if progress.step > settings.steps:
        raise ConfigError(
            f"{folder} holds a run of {progress.step} steps, more than {settings.steps}",
            hint="Give as many --steps or more, or another --out to start anew.",
        )
    _fill(folder, lm, optimizers)
    return progress


def branch_run(
    folder: Path,
    settings: TrainSettings,
    lm: SleepForCausalLM,
    optimizers: Optimizers,
) -> Progress:
    """Fill model and optimiser from the last save of a run that goes on with other settings.

    A checkpoint beside the record of its run does too; its optimiser starts anew.

    Returns:
        Where that run stood, with what was other until then at the end of `branched`, and the
        shares if it was a mean.

    Raises:
        ConfigError: the folder holds no run, one of another model, or one that cannot be read.
    """
    found, progress = read_run(folder, lm, optimizers, may_grow=True)
    before = found.model_dump(mode="json")
    other = {name: before[name] for name in _different(found, settings)}
    mean = {"averaged": progress.averaged} if progress.averaged else {}
    progress.branched.append({"step": progress.step, **other, **mean})
    progress.averaged = []
    return progress


def read_run(
    folder: Path,
    lm: SleepForCausalLM,
    optimizers: Optimizers | None = None,
    *,
    may_grow: bool = False,
) -> tuple[TrainSettings, Progress]:
    """Fill a model, and the optimiser if one is given and was saved, from the last save of a run.

    Or from a checkpoint beside the record of its run.

    Args:
        may_grow: whether loop layers may be fresh where the run has none; so is the optimiser then.

    Raises:
        ConfigError: the folder holds no run, one of another model, or one that cannot be read.
    """
    found, progress, _ = read_record(folder)
    if (folder / OPTIMIZER).exists() or _temporary(folder, RECORD).exists():
        found, progress = _last_save(folder)
    else:
        optimizers = None
        _check_step(folder, progress.step)
    if may_grow and not found.loop_layers and lm.model.loop_layers:
        _fill(folder, lm, kept=LOOP)
    else:
        _fill(folder, lm, optimizers)
    return found, progress


def _check_step(folder: Path, step: int) -> None:
    """Refuse a model that says it is of another step; a checkpoint for others does not say."""
    try:
        with safe_open(folder / MODEL, framework="pt") as file:
            said = (file.metadata() or {}).get("step", str(step))
    except (OSError, SafetensorError) as problem:
        raise _not_resumable(folder, problem) from problem
    if said != str(step):
        raise _not_resumable(folder, ValueError(f"{MODEL} is of step {said}, not {step}"))


def _different(found: TrainSettings, settings: TrainSettings) -> list[str]:
    names = (name for name in TrainSettings.model_fields if name != "steps")
    return [name for name in names if getattr(found, name) != getattr(settings, name)]


def _last_save(folder: Path) -> tuple[TrainSettings, Progress]:
    """Return settings and progress of the last save; one that was cut between renames is ended."""
    try:
        if not _is_whole(folder) and _temporary(folder, RECORD).exists():
            _rename(folder)
        if not _is_whole(folder):
            raise ValueError("its last save was cut short")
        found, progress, _ = _parsed(folder)
    except (ValueError, KeyError, TypeError, SafetensorError, FileNotFoundError) as problem:
        raise _not_resumable(folder, problem) from problem
    return found, progress


def _fill(
    folder: Path,
    lm: SleepForCausalLM,
    optimizers: Optimizers | None = None,
    *,
    kept: str | None = None,
) -> None:
    """Fill model, and optimiser if given, from a save; but for what begins with `kept`."""
    try:
        weights = load_file(folder / MODEL)
        names = _named_weights(lm)
        if weights.keys() != {name for name in names if not kept or not name.startswith(kept)}:
            raise ValueError(f"{MODEL} is of another model")
        lm.load_state_dict(weights, strict=False)  # a tied output layer is not in there
        if optimizers:
            optimizers.restore(load_file(folder / OPTIMIZER))
    except (
        *(ValueError, KeyError, IndexError, RuntimeError),
        *(SafetensorError, FileNotFoundError),
    ) as problem:
        raise _not_resumable(folder, problem) from problem


def _not_resumable(folder: Path, problem: Exception) -> ConfigError:
    return ConfigError(
        f"{folder} holds a run that cannot be resumed: {str(problem).splitlines()[0]}",
        hint="Move it away, or give another --out, to start anew.",
    )


def read_record(folder: Path) -> tuple[TrainSettings, Progress, dict[str, Any]]:
    """Return settings, progress and environment of the run in a folder.

    Raises:
        ConfigError: there is none, or its record cannot be read.
    """
    try:
        return _parsed(folder)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ConfigError(
            f"{folder} holds no readable record of a run: {str(problem).splitlines()[0]}",
            hint="Name the folder that was given to sleepmem train --out.",
        ) from problem


def _parsed(folder: Path) -> tuple[TrainSettings, Progress, dict[str, Any]]:
    record = json.loads((folder / RECORD).read_text())
    settings = TrainSettings(**record["settings"])
    return settings, Progress(**record["progress"]), record["environment"]


def environment(*own: Path) -> dict[str, Any]:
    """Return the machine, the versions and the commit that a figure depends on.

    Args:
        own: files that it is written into; that they differ does not make the commit dirty.
    """
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "commit": _commit(own),
    }


def _commit(own: Sequence[Path]) -> str | None:
    """Return the commit of this code, `-dirty` if tracked files but for `own` differ from it."""
    try:
        top = Path(_git("rev-parse", "--show-toplevel")).resolve()
        ours = [path.resolve() for path in own]
        spared = [
            f":(exclude,top,literal){path.relative_to(top).as_posix()}"
            for path in ours
            if path.is_relative_to(top)
        ]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *spared)
        return _git("describe", "--always") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _named_weights(lm: SleepForCausalLM) -> dict[str, Tensor]:
    return {name: p.detach().contiguous() for name, p in lm.named_parameters()}


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as problem:  # a full disk does not say where
        raise OSError(problem.errno, problem.strerror, str(path)) from problem


def _temporary(folder: Path, name: str) -> Path:
    return folder / f"{name}.tmp"


def _rename(folder: Path) -> None:
    """Give the files of a save their names, as far as they do not have them; the record's last."""
    for name in (MODEL, OPTIMIZER, RECORD):
        with suppress(FileNotFoundError):
            os.replace(_temporary(folder, name), folder / name)


def _is_whole(folder: Path) -> bool:
    """Return whether all files of the folder are of one save."""
    steps = {str(json.loads((folder / RECORD).read_text())["progress"]["step"])}
    for name in (MODEL, OPTIMIZER):
        with safe_open(folder / name, framework="pt") as file:
            steps.add((file.metadata() or {}).get("step", ""))
    return len(steps) == 1
