"""Copy finished runs beside the package, in half precision: how the shipped checkpoints came there.

    python -m sleepmem.bench.paper.ship runs/paper/laptop depo elastic

All seeds of a study are taken, as they are.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from sleepmem.bench.paper.arms import STUDIES
from sleepmem.bench.paper.study import SHIPPED
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import CONFIG, WEIGHTS
from sleepmem.train.run import CHECKPOINT
from sleepmem.train.runs import RECORD, read_record

MOST_BYTES = 2 << 20


def ship(runs: Path, study: str, target: Path = SHIPPED) -> list[Path]:
    """Copy the finished runs of a study's arms and return their new folders.

    Raises:
        ConfigError: a run is not what its arm says.
    """
    shipped = []
    found = [
        (arm, folder)
        for arm in STUDIES[study]()
        for folder in sorted((runs / study).glob(f"{arm.name}-s[0-9]*"))
    ]
    for arm, source in found:
        settings, progress, _ = read_record(source)
        if settings != arm.seeded(settings.seed):
            raise ConfigError(f"{source} holds a run with other settings than {arm.name} has now")
        if progress.step < settings.steps:
            continue
        folder = target / study / source.name
        (folder / CHECKPOINT).mkdir(parents=True, exist_ok=True)
        shutil.copy(source / RECORD, folder / RECORD)
        shutil.copy(source / CHECKPOINT / CONFIG, folder / CHECKPOINT / CONFIG)
        tensors = load_file(source / CHECKPOINT / WEIGHTS)
        weights = folder / CHECKPOINT / WEIGHTS
        save_file({name: t.half() for name, t in tensors.items()}, weights, {"format": "pt"})
        assert weights.stat().st_size <= MOST_BYTES, weights
        shipped.append(folder)
    return shipped


if __name__ == "__main__":
    for name in sys.argv[2:]:
        for path in ship(Path(sys.argv[1]), name):
            print(path)
