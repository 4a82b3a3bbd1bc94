"""Copy finished runs beside the package: how the shipped checkpoints came there.

    python -m sleepmem.bench.memory.ship runs/tiny-2 sleepmem/pretrained/tiny-2 0.05
    python -m sleepmem.bench.memory.ship runs/passes1 sleepmem/pretrained/memory/passes1_steps

The first with its tokenizer, to live with, and the floor under which its sleeps are rejected;
opponents in half precision, to be compared with.
What is then measured of the first goes into its card and README by `card`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from sleepmem.bench.memory.checkpoints import FOLDER
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import CONFIG, FLOOR, WEIGHTS
from sleepmem.train.run import CHECKPOINT
from sleepmem.train.runs import RECORD, read_record

MOST_BYTES = 16 << 20


def ship(run: Path, folder: Path, floor: float | None = None) -> None:
    """Copy the checkpoint and the record of a finished run.

    Args:
        floor: of the retention of its sleeps; see `SleepConfig`.

    Raises:
        ConfigError: there is no such run, or it has steps to go.
    """
    settings, progress, _ = read_record(run)
    if progress.step < settings.steps or not (run / CHECKPOINT / CONFIG).is_file():
        raise ConfigError(
            f"{run} is at step {progress.step} of {settings.steps}",
            hint="Let it end first: give the command that began it once more.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / RECORD, folder / RECORD)
    if folder.resolve().parent == FOLDER.resolve():
        tensors = load_file(run / CHECKPOINT / WEIGHTS)
        save_file({n: t.half() for n, t in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
        shutil.copy(run / CHECKPOINT / CONFIG, folder / CONFIG)
    else:
        shutil.copytree(run / CHECKPOINT, folder, dirs_exist_ok=True)
        config = json.loads((folder / CONFIG).read_text()) | {FLOOR: floor}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    n_bytes = sum(file.stat().st_size for file in folder.iterdir())
    if n_bytes > MOST_BYTES:
        raise ConfigError(f"{folder} has {n_bytes} bytes, more than the {MOST_BYTES} that fit")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:4]))
