"""What a snapshot costs beside a file of its size, and beside reading its life once more."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from statistics import median

import torch

from sleepmem.bench import Report, Row
from sleepmem.bench.runtime.decode_rows import lived
from sleepmem.bench.runtime.measured import Setting, at_least, at_most, in_turns
from sleepmem.model import SleepConfig, SleepForCausalLM
from sleepmem.model.snapshot_bytes import SnapshotFormat
from sleepmem.runtime.engine import Engine
from sleepmem.store import SnapshotFiles
from sleepmem.types import Snapshot

RESTORED = {"restore_over_raw_read_1mib": 8, "restore_over_raw_read_16mib": 3}  # goals
PUBLISHED, REREAD = 1.5, 20  # goals
AGENT = "bench"
HEADS, D = 4, 128  # of fast weights of a given size: 256 KiB a layer


async def snapshot_rows(setting: Setting, report: Report) -> list[Row]:
    """Return what restoring and publishing cost, ours by way of the store."""
    rows: list[Row] = []
    for (name, goal), mib in zip(RESTORED.items(), setting.size.mib, strict=True):
        ours, raw = await _restored(setting, report, mib)
        rows.append(at_most(name, ours, raw, "ms", goal))
    rows.append(await _published(setting, report))
    rows.append(await _reread(setting, report))
    return rows


async def _restored(setting: Setting, report: Report, mib: float) -> tuple[float, float]:
    """Return the milliseconds of a restore, and of reading the file into a buffer that is ready."""
    form, weights = _of_size(setting, mib)
    store = SnapshotFiles(setting.folder)
    snapshot = await store.put(AGENT, form.dump(weights))
    path, buffer = setting.folder / AGENT / snapshot.digest, bytearray(snapshot.n_bytes)

    async def restore() -> None:
        await store.restore(AGENT, snapshot.digest, form.load)

    async def read() -> None:
        _read(path, buffer)

    what = f"restoring {mib:g} MiB"
    ours, raw = await in_turns(what, report, 2 * setting.size.n_rounds, [restore, read])
    return 1000 * median(ours), 1000 * median(raw)


async def _published(setting: Setting, report: Report) -> Row:
    """Compare a new snapshot of the model with write, flush, rename and flush of the folder."""
    lm, store = setting.lm, SnapshotFiles(setting.folder)
    data = lm.dump(lm.blank())
    folder = setting.folder / AGENT
    put: list[Snapshot] = []

    async def publish() -> None:
        # a name that is new each time, as that of a new snapshot is
        put.append(await store.put(AGENT, len(put).to_bytes(8, "big") + data[8:]))

    async def raw() -> None:
        _write(folder, f"raw-{len(put)}", data)

    times = await in_turns("publishing", report, setting.size.n_rounds, [publish, raw])
    ours, theirs = (1000 * median(samples) for samples in times)
    return at_most("publish_over_raw", ours, theirs, "ms", PUBLISHED)


async def _reread(setting: Setting, report: Report) -> Row:
    """Compare reading tokens again, window by window, with restoring what they became."""
    lm, store, n_tokens = setting.lm, SnapshotFiles(setting.folder), setting.size.n_reread
    snapshot = await store.put(AGENT, lm.dump(lived(setting, n_tokens, report)))

    def silent(_what: str, _share: float) -> None:
        """Leave telling to the rounds."""

    async def reread() -> None:
        await engine.run(lived, setting, n_tokens, silent)

    async def restore() -> None:
        await store.restore(AGENT, snapshot.digest, lm.load)

    async with aclosing(Engine()) as engine:
        times = await in_turns("rereading", report, setting.size.n_sleeps, [reread, restore])
    again, ours = (1000 * median(samples) for samples in times)
    return at_least("reread_4096_over_restore", again, ours, "ms", REREAD)


def _of_size(setting: Setting, mib: float) -> tuple[SnapshotFormat, list[torch.Tensor]]:
    """Return the format of a network with fast weights of so many MiB, and some such weights."""
    n_values = int(mib * (1 << 18))
    n_layers = max(1, n_values // (HEADS * D * D))
    config = SleepConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_attention_heads=1,
        layer_types=["linear_attention"] * n_layers, linear_num_heads=HEADS,
        linear_key_head_dim=D, linear_value_head_dim=n_values // (n_layers * HEADS * D),
    )  # fmt: skip
    blank = SleepForCausalLM(config).model.blank()
    generator = torch.Generator().manual_seed(setting.seed)
    weights = [torch.randn(tensor.shape, generator=generator) for tensor in blank]
    return SnapshotFormat(setting.lm.fingerprint, blank), weights


def _read(path: Path, buffer: bytearray) -> None:
    with path.open("rb", buffering=0) as file:
        file.readinto(buffer)


def _write(folder: Path, name: str, data: bytes) -> None:
    temporary = folder / "raw.tmp"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(temporary, folder / name)
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
