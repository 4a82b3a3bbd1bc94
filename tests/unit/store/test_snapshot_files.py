from __future__ import annotations

import asyncio
import errno
import gc
import os
import stat
import threading
import tracemalloc
from collections.abc import Awaitable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from watched_disk import WatchedDisk

from sleepmem.errors import ConfigError, SnapshotCorrupt, StoreError, StoreUnavailable
from sleepmem.protocols import SnapshotBytes
from sleepmem.store import SnapshotFiles
from sleepmem.store.disk import Disk
from sleepmem.store.files import folder_name
from sleepmem.store.reading import LITTLE, MUCH

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255)


class Fault:
    """Makes the `at`-th call of a disk fail; a `close` that fails has closed."""

    def __init__(self, error: OSError, at: int) -> None:
        self.error, self._n_left = error, at

    @property
    def has_come(self) -> bool:
        return self._n_left <= 0

    def __call__(self, name: str, when: str) -> None:
        if when == ("after" if name == "close" else "before"):
            self._n_left -= 1
            if self._n_left == 0:
                raise self.error


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@given(names, names)
def test_folder_names_are_safe_and_apart(one: str, other: str) -> None:
    folder = folder_name(one)
    assert 0 < len(folder) <= 200
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_%.")
    assert not folder.startswith(".")
    # apart also where the file system folds case
    assert (folder.lower() == folder_name(other).lower()) == (one == other)


def test_folder_name_of_a_shortened_name_is_no_other_agents() -> None:
    short = folder_name("x" * 255)
    assert folder_name("x" * 254 + "y") != short
    assert folder_name(short) != short


async def test_layout_and_permissions(tmp_path: Path) -> None:
    data = tmp_path / "data"
    snapshot = await SnapshotFiles(data).put("ana", b"weights")
    assert tree(tmp_path) == ["data", "data/ana", f"data/ana/{snapshot.digest}"]
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in tree(tmp_path)]
    assert modes == [0o700, 0o700, 0o600]


async def test_flipped_bit_cut_and_longer_file_are_refused(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    data = bytes(range(256))
    digest = (await store.put("ana", data)).digest
    loaded: list[SnapshotBytes] = []
    for bad in (b"", data[:-1], data + b"\0", b"\1" + data[1:]):
        (tmp_path / "ana" / digest).write_bytes(bad)
        with pytest.raises(SnapshotCorrupt) as caught:
            await store.get("ana", digest)
        assert caught.value.digest == digest
        with pytest.raises(SnapshotCorrupt):
            await store.restore("ana", digest, loaded.append)
    assert loaded == []
    assert (await store.put("ana", data)).digest == digest
    assert await store.get("ana", digest) == data


@pytest.mark.parametrize("n_bytes", [0, 1, LITTLE, LITTLE + 1, MUCH - 1, MUCH, 3 * MUCH + 7])
async def test_file_of_any_size_is_read_and_checked_whole(tmp_path: Path, n_bytes: int) -> None:
    store, data = SnapshotFiles(tmp_path), os.urandom(n_bytes)
    digest = (await store.put("ana", data)).digest
    assert await store.get("ana", digest) == data
    if n_bytes:
        (tmp_path / "ana" / digest).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(SnapshotCorrupt):
            await store.get("ana", digest)


@pytest.mark.parametrize("n_bytes", [7, MUCH])
async def test_file_that_changes_its_length_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    store, data = SnapshotFiles(tmp_path), os.urandom(n_bytes)
    digest = (await store.put("ana", data)).digest
    path, real_fstat = tmp_path / "ana" / digest, os.fstat

    def read_after(before: bytes, after: bytes) -> Awaitable[SnapshotBytes]:
        def fstat(descriptor: int) -> os.stat_result:
            path.write_bytes(before)
            found = real_fstat(descriptor)
            path.write_bytes(after)
            return found

        monkeypatch.setattr(os, "fstat", fstat)
        return store.get("ana", digest)

    for after, problem in {
        data + b"\0": f"longer than its {n_bytes} bytes",
        data + data: f"longer than its {n_bytes} bytes",
        data[:-1]: "another digest",
        b"": "another digest",
    }.items():
        with pytest.raises(SnapshotCorrupt, match=problem):
            await read_after(data, after)
    found = await read_after(data + b"\0", data)
    assert (len(found), found) == (n_bytes, data)


async def test_few_threads_read_and_end_with_the_store(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", bytes(LITTLE + 1))).digest

    def ident(_data: SnapshotBytes) -> int:
        return threading.get_ident()

    restored = await asyncio.gather(*(store.restore("ana", digest, ident) for _ in range(16)))
    readers = [t for t in threading.enumerate() if t.ident in restored]
    assert 1 <= len(readers) <= 2
    del store
    gc.collect()
    for reader in readers:
        await asyncio.to_thread(reader.join, 10)
    assert not any(reader.is_alive() for reader in readers)


async def test_bytes_are_the_callers_to_write_and_read_into_place_once(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", bytes(MUCH))).digest
    await store.get("ana", digest)  # what is made only once
    tracemalloc.start()
    try:
        data = await store.get("ana", digest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    data[0] = 1
    assert data.nbytes == MUCH
    assert peak < 1.1 * MUCH


async def test_link_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    await store.put("ana", b"x")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    digest = blake3(b"secret").hexdigest()
    path = tmp_path / "ana" / digest
    for make, unmake in (
        (lambda: path.symlink_to(secret), path.unlink),
        (path.mkdir, path.rmdir),
        (lambda: os.mkfifo(path), path.unlink),
    ):
        make()
        with pytest.raises(SnapshotCorrupt):
            await store.get("ana", digest)
        unmake()


async def test_limit_holds_both_ways(tmp_path: Path) -> None:
    digest = (await SnapshotFiles(tmp_path).put("ana", b"12345")).digest
    small = SnapshotFiles(tmp_path, max_bytes=4)
    with pytest.raises(ConfigError):
        await small.put("ana", b"54321")
    with pytest.raises(SnapshotCorrupt, match="limit"):
        await small.get("ana", digest)
    assert tree(tmp_path) == ["ana", f"ana/{digest}"]


async def test_foreign_files_are_not_listed(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", b"x")).digest
    for name in (".abc.tmp", digest.upper(), digest[:-1], "README"):
        (tmp_path / "ana" / name).write_bytes(b"")
    assert await store.digests("ana") == [digest]


async def test_put_flushes_file_then_renames_then_flushes_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    paths: dict[int, str] = {}
    real_open, real_fsync, real_rename = os.open, os.fsync, os.rename

    def opened(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        paths[descriptor] = str(Path(path).relative_to(tmp_path.parent))
        return descriptor

    def fsync(descriptor: int) -> None:
        name = paths[descriptor]
        seen.append("flush file" if name.endswith(".tmp") else f"flush {name}")
        real_fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        seen.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    store = SnapshotFiles(tmp_path / "data")
    here = tmp_path.name
    await store.put("ana", b"one")
    assert seen == [
        f"flush {here}",
        f"flush {here}/data",
        "flush file",
        "rename",
        f"flush {here}/data/ana",
    ]
    seen.clear()
    await store.put("ana", b"two")
    assert seen == ["flush file", "rename", f"flush {here}/data/ana"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, StoreUnavailable), (errno.EIO, StoreUnavailable), (errno.EACCES, StoreError)],
)
async def test_any_failing_call_of_a_put_is_told_and_the_next_put_is_whole(
    tmp_path: Path, code: int, expected: type[StoreError]
) -> None:
    n_failed = 0
    while True:
        fault = Fault(OSError(code, os.strerror(code)), at=n_failed + 1)
        store = SnapshotFiles(tmp_path / str(n_failed) / "data", disk=WatchedDisk(fault))
        (tmp_path / str(n_failed)).mkdir()
        [result] = await asyncio.gather(store.put("ana", b"weights"), return_exceptions=True)
        if not fault.has_come:
            break
        assert type(result) is expected
        assert result.__cause__ is fault.error
        assert await store.leftovers("ana") == []
        snapshot = await store.put("ana", b"weights")
        assert await store.get("ana", snapshot.digest) == b"weights"
        n_failed += 1
    assert n_failed == 16


async def test_bytes_are_written_to_the_last_if_the_disk_takes_few_at_a_time(
    tmp_path: Path,
) -> None:
    class Slow(Disk):
        def write(self, descriptor: int, data: memoryview) -> int:
            return super().write(descriptor, data[:3])

    store = SnapshotFiles(tmp_path, disk=Slow())
    snapshot = await store.put("ana", bytes(range(100)))
    assert await store.get("ana", snapshot.digest) == bytes(range(100))


async def test_folder_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path / "data")
    snapshot = await store.put("ana", b"x")
    (tmp_path / "data" / "ana" / snapshot.digest).unlink()
    (tmp_path / "data" / "ana").rmdir()
    assert await store.put("ana", b"x") == snapshot
    assert await store.get("ana", snapshot.digest) == b"x"


async def test_write_whose_temporary_name_is_swept_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, n_swept = SnapshotFiles(tmp_path), 0
    real_rename = os.rename

    def rename(source: Path, target: Path) -> None:
        nonlocal n_swept
        if n_swept < n_sweeps:
            source.unlink()
            n_swept += 1
        real_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    n_sweeps = 2
    snapshot = await store.put("ana", b"x")
    assert await store.get("ana", snapshot.digest) == b"x"
    n_sweeps = 99
    with pytest.raises(StoreError):
        await store.put("ana", b"y")
    assert tree(tmp_path) == ["ana", f"ana/{snapshot.digest}"]


async def test_leftovers_are_those_of_our_writes(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", b"x")).digest
    for name in (f".{'0' * 16}.tmp", f".{'a' * 16}.tmp", ".other.tmp", "README"):
        (tmp_path / "ana" / name).write_bytes(b"half")
    assert await store.sizes("ana") == {digest: 1}
    assert await store.leftovers("ana") == [4, 4]
    assert await store.leftovers("ana", remove=True) == [4, 4]
    assert tree(tmp_path / "ana") == [".other.tmp", digest, "README"]
    assert await store.leftovers("ana", remove=True) == []
    assert await store.leftovers("nobody") == []


async def test_only_a_file_is_a_snapshot(tmp_path: Path) -> None:
    store, digest = SnapshotFiles(tmp_path), "0" * 64
    assert not await store.has("ana", digest)
    (tmp_path / "ana" / digest).mkdir(parents=True)
    assert not await store.has("ana", digest)


async def test_file_in_the_way_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    store = SnapshotFiles(tmp_path / "data")
    for attempt in (store.put("ana", b"x"), store.get("ana", "0" * 64), store.digests("ana")):
        with pytest.raises(StoreError):
            await attempt


async def test_name_that_another_has_not_flushed_is_flushed_by_who_finds_it(tmp_path: Path) -> None:
    digest, seen = (await SnapshotFiles(tmp_path).put("ana", b"x")).digest, list[str]()

    def watch(name: str, when: str) -> None:
        seen.append(name)
        if len(seen) > 6 and name == "flush":
            raise OSError(errno.EIO, "broken")

    store = SnapshotFiles(tmp_path, disk=WatchedDisk(watch))
    assert not await store.has("ana", "0" * 64)
    assert seen == []
    assert await store.has("ana", digest)
    assert seen[::2] == ["open_folder", "flush", "close"]
    with pytest.raises(StoreError):
        await store.has("ana", digest)


async def test_what_load_refuses_names_file_and_agent(tmp_path: Path) -> None:
    def refuse(data: SnapshotBytes) -> None:
        raise SnapshotCorrupt("of 4 bytes", "a value is not finite")

    store = SnapshotFiles(tmp_path)
    snapshot = await store.put("ana", b"same")
    with pytest.raises(SnapshotCorrupt, match=f"{snapshot.digest} .* not finite") as caught:
        await store.restore("ana", snapshot.digest, refuse)
    assert str(tmp_path / "ana" / snapshot.digest) in caught.value.hint
    assert "--agent ana" in caught.value.hint


async def test_a_cancelled_restore_ends_after_its_load(tmp_path: Path) -> None:
    began, may_end, ended = (threading.Event() for _ in range(3))

    def slow(data: SnapshotBytes) -> None:
        began.set()
        may_end.wait(timeout=60)
        ended.set()

    store = SnapshotFiles(tmp_path)
    snapshot = await store.put("ana", bytes(LITTLE + 1))
    task = asyncio.create_task(store.restore("ana", snapshot.digest, slow))
    await asyncio.to_thread(began.wait)
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
