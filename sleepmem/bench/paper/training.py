"""Train the arms of a study, several at once, each in a process with one thread of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from sleepmem.bench import Report
from sleepmem.bench.paper.arms import Arm
from sleepmem.errors import ConfigError, SleepmemError
from sleepmem.model.checkpoint import WEIGHTS
from sleepmem.train.loop import Progress, TrainingDiverged
from sleepmem.train.run import CHECKPOINT, run
from sleepmem.train.runs import RECORD, read_record
from sleepmem.train.settings import TrainSettings

LOOK_EVERY_S = 0.5
TELL_EVERY = 20  # steps between reports of a run
_TOLD: list[Any] = []  # in a process of the pool: the queue of its reports


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


class RunFailed(SleepmemError):
    """One of several runs ended before its last step; the others were stopped, and can go on."""


def train_arms(
    arms: Sequence[Arm], seeds: Sequence[int], out: Path, n_jobs: int | None, report: Report
) -> None:
    """Train what is not finished yet; a run that was cut short goes on where it was.

    Args:
        n_jobs: runs at a time; None for one a core, and one alone on a GPU.

    Raises:
        ConfigError: a folder holds a run with other settings.
        RunFailed: a run diverged, or its process was killed.
    """
    jobs = [
        Job(f"{arm.study} {arm.name} seed {seed}", arm.seeded(seed), arm.folder(out, seed))
        for seed in seeds
        for arm in arms
    ]
    waiting = [job for job in jobs if not is_finished(job)]
    if not waiting:
        return
    if n_jobs is None:
        is_on_gpu = any(job.settings.device == "cuda" for job in waiting)
        n_jobs = 1 if is_on_gpu else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    with ProcessPoolExecutor(n_jobs, context, initializer=_remember, initargs=(told,)) as pool:
        running = {pool.submit(_train, job): job for job in waiting}
        try:
            _follow(running, told, report)
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
    if not (job.folder / RECORD).exists():
        return False
    found, progress, _ = read_record(job.folder)
    if found != job.settings:
        raise ConfigError(
            f"{job.folder} holds a run with other settings than {job.name} has now",
            hint="Move it away, or give another --out.",
        )
    is_exported = (job.folder / CHECKPOINT / WEIGHTS).exists()
    return is_exported and progress.step >= job.settings.steps


def _remember(told: Any) -> None:
    """Keep the queue that a process of the pool is started with."""
    _TOLD.append(told)


def _train(job: Job) -> None:
    (told,) = _TOLD
    starter = multiprocessing.parent_process()

    def tell(progress: Progress, loss: float) -> None:
        if progress.step % TELL_EVERY:
            return
        if starter is not None and not starter.is_alive():
            os._exit(1)  # it was killed, and may be started again: nobody trains beside that
        told.put((job.name, progress.step))

    run(job.settings, job.folder, tell)
    told.put((job.name, job.settings.steps))


def _follow(running: dict[Future[None], Job], told: Any, report: Report) -> None:
    """Report how far all runs are until the last one ends, or one of them fails."""
    jobs = list(running.values())
    steps = dict.fromkeys((job.name for job in jobs), 0)
    whole = sum(job.work for job in jobs)
    waiting = set(running)
    while waiting:
        done, waiting = wait(waiting, LOOK_EVERY_S, FIRST_COMPLETED)
        for future in done:
            try:
                future.result()
            except TrainingDiverged as problem:
                raise RunFailed(
                    f"{running[future].name}: {problem}",
                    hint="It would again: what its arm is trained with must change.",
                ) from problem
            except BrokenProcessPool as problem:
                raise RunFailed(
                    "a run was killed, as happens where memory is short",
                    hint="The same command goes on from the last saves; try fewer --jobs.",
                ) from problem
        name = ""
        with suppress(Empty):
            while True:
                name, steps[name] = told.get_nowait()
        if name:
            share = sum(job.work * steps[job.name] / job.settings.steps for job in jobs)
            report(f"training {name}", share / whole)
