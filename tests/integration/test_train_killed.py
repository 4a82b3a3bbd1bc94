"""A training process that is killed with SIGKILL goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from sleepmem.train.run import run
from sleepmem.train.settings import TrainSettings

SETTINGS = TrainSettings(
    task="depo", options={"nodes": 4, "hops": 2}, steps=30, passes=(2,), batch=2, hidden_size=8,
    intermediate_size=8, n_attention_heads=2, d_k=4, d_v=4,
)  # fmt: skip
SCRIPT = """
import sys
from pathlib import Path
from sleepmem.train import run as runs
from sleepmem.train.settings import TrainSettings

runs.SAVE_EVERY_S = 0.0
settings = TrainSettings.model_validate_json(sys.argv[1])
runs.run(settings, Path(sys.argv[2]), lambda progress, loss: print(progress.step, flush=True))
"""


def test_weights_equal_those_of_an_unbroken_run(tmp_path: Path) -> None:
    arguments = [SETTINGS.model_dump_json(), str(tmp_path / "cut")]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 11:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL
    steps = []
    run(SETTINGS, tmp_path / "cut", lambda progress, loss: steps.append(progress.step))
    run(SETTINGS, tmp_path / "whole", lambda *_: None)
    assert 10 <= steps[0] <= 30
    cut, whole = (tmp_path / name / "checkpoint/model.safetensors" for name in ("cut", "whole"))
    assert cut.read_bytes() == whole.read_bytes()
