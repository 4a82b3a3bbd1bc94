"""Train the arms of a study, several at once, each in a process with one thread of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from sleepmem.bench import Report
from sleepmem.bench.paper.arms import Arm
from sleepmem.errors import ConfigError
from sleepmem.train.loop import Progress
from sleepmem.train.run import CHECKPOINT, run
from sleepmem.train.runs import read_record
from sleepmem.train.settings import TrainSettings

LOOK_EVERY_S = 0.5
TELL_EVERY = 20  # steps between reports of a run


@dataclass(frozen=True, slots=True)
class Job:
    """One run to train."""

    name: str
    settings: TrainSettings
    folder: Path

    @property
    def work(self) -> float:
        """Steps weighted by passes and layers; a guess of its share of the time."""
        passes = sum(self.settings.passes) / len(self.settings.passes)
        return self.settings.steps * (1 + passes) * len(self.settings.layers)


def train_arms(
    arms: Sequence[Arm], seeds: Sequence[int], out: Path, n_jobs: int, report: Report
) -> None:
    """Train what is not finished yet; a run that was cut short goes on where it was.

    Raises:
        ConfigError: a folder holds a run with other settings.
        TrainingDiverged: a run did.
    """
    jobs = [
        Job(f"{arm.study} {arm.name} seed {seed}", arm.seeded(seed), arm.folder(out, seed))
        for seed in seeds
        for arm in arms
    ]
    waiting = [job for job in jobs if not is_finished(job)]
    if not waiting:
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        told = manager.Queue()
        with ProcessPoolExecutor(n_jobs, mp_context=context) as pool:
            running = {pool.submit(_train, job, told) for job in waiting}
            try:
                _follow(running, waiting, told, report)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
                raise


def is_finished(job: Job) -> bool:
    """Return whether the folder holds a checkpoint of the run's last step.

    Raises:
        ConfigError: it holds a run with other settings.
    """
    if not (job.folder / CHECKPOINT / "model.safetensors").exists():
        return False
    found, progress, _ = read_record(job.folder)
    if found != job.settings:
        raise ConfigError(
            f"{job.folder} holds a run with other settings than {job.name} has now",
            hint="Move it away, or give another --out.",
        )
    return progress.step >= job.settings.steps


def _train(job: Job, told: Any) -> None:
    def tell(progress: Progress, loss: float) -> None:
        if progress.step % TELL_EVERY == 0:
            told.put((job.name, progress.step, loss))

    run(job.settings, job.folder, tell)
    told.put((job.name, job.settings.steps, 0.0))


def _follow(running: set[Any], jobs: Sequence[Job], told: Any, report: Report) -> None:
    """Report how far all runs are until the last one ends; raise what one of them raised."""
    by_name = {job.name: job for job in jobs}
    steps = dict.fromkeys(by_name, 0)
    whole = sum(job.work for job in jobs)
    while running:
        done, running = wait(running, LOOK_EVERY_S, FIRST_COMPLETED)
        for future in done:
            future.result()
        name = ""
        with suppress(Empty):
            while True:
                name, steps[name], _ = told.get_nowait()
        if name:
            share = sum(job.work * steps[job.name] / job.settings.steps for job in jobs)
            report(f"training {name}", share / whole)
