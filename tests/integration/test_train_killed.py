"""A training process that is killed with SIGKILL goes on as if nothing had been, and alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from time import sleep

from sleepmem.errors import ConfigError
from sleepmem.train.run import run
from sleepmem.train.runs import claimed
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


STUDY = """
import sys
from pathlib import Path
from sleepmem.bench.paper.arms import Arm
from sleepmem.bench.paper.training import train_arms
from sleepmem.train.settings import TrainSettings

settings = TrainSettings.model_validate_json(sys.argv[1])
arm = Arm("study", "arm", "an arm", settings, {})
report = lambda what, share: print(what, flush=True)
train_arms([arm], [0], Path(sys.argv[2]), 1, report)
"""


def test_runs_of_a_study_end_when_the_study_is_killed(tmp_path: Path) -> None:
    endless = SETTINGS.model_copy(update={"steps": 10**7})
    with subprocess.Popen(
        [sys.executable, "-c", STUDY, endless.model_dump_json(), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training study arm seed 0\n"
        process.kill()
    for n in count():
        try:
            with claimed(tmp_path / "study/arm-s0"):
                break
        except ConfigError:
            assert n < 300, "it trains on, and the same command would train beside it"
            sleep(0.1)
