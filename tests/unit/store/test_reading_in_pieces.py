"""A snapshot is read and hashed by turns, whatever the file system gives at a time, and at once
where nothing has to be waited for."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import io
import os
import threading
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.errors import SnapshotCorrupt, StoreUnavailable
from sleepmem.protocols import SnapshotBytes
from sleepmem.store import SnapshotFiles, reading
from sleepmem.store.reading import LITTLE, _read_and_hashed


@given(st.binary(max_size=64), st.lists(st.integers(1, 9)), st.integers(0, 64))
def test_pieces_of_any_length_are_read_and_hashed_as_one(
    data: bytes, pieces: list[int], said: int
) -> None:
    file, lengths = io.BytesIO(data), chain(pieces, repeat(64))

    def read_into(descriptor: int, into: memoryview, offset: int) -> int:
        assert (descriptor, offset) == (7, file.tell())
        return file.readinto(into[: next(lengths)])

    read, found = _read_and_hashed(7, said, read_into)
    assert read == data[: said + 1]
    assert found.digest() == blake3(data[: said + 1]).digest()


@pytest.mark.parametrize("n_bytes", [1, 100, LITTLE, LITTLE + 1])
async def test_what_is_read_begins_on_a_cache_line(tmp_path: Path, n_bytes: int) -> None:
    store = SnapshotFiles(tmp_path)
    data = await store.get("ana", (await store.put("ana", bytes(n_bytes))).digest)
    assert len(data) == n_bytes
    assert ctypes.addressof(ctypes.c_char.from_buffer(data)) % 64 == 0


async def test_file_that_is_not_ready_is_no_corrupt_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotReady(io.FileIO):
        def readinto(self, _into: Any) -> None:
            """Give nothing, as a file system that does not wait."""

    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", bytes(LITTLE + 1))).digest
    monkeypatch.setattr(io, "FileIO", NotReady)
    with pytest.raises(StoreUnavailable):
        await store.get("ana", digest)


needs_preadv = pytest.mark.skipif(
    not hasattr(os, "RWF_NOWAIT"), reason="needs reads that do not wait"
)


def ident(_data: SnapshotBytes) -> int:
    return threading.get_ident()


@needs_preadv
async def test_little_that_is_cached_is_read_without_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotFiles(tmp_path)
    digest, largest, larger = [
        (await store.put("ana", bytes(n))).digest for n in (7, LITTLE, LITTLE + 1)
    ]
    asked = _preadv(monkeypatch, lambda *what: os.pread(what[0], len(what[1][0]), what[2]))
    assert await store.restore("ana", digest, ident) == threading.get_ident()
    assert await store.get("ana", largest) == bytes(LITTLE)
    assert await store.restore("ana", larger, ident) != threading.get_ident()
    assert set(asked) == {os.RWF_NOWAIT}
    (tmp_path / "ana" / digest).write_bytes(b"changed")
    with pytest.raises(SnapshotCorrupt, match="another digest"):
        await store.restore("ana", digest, ident)


@needs_preadv
@pytest.mark.parametrize("n_first", [0, 3])
@pytest.mark.parametrize(
    ("problem", "is_asked_again"),
    [
        *((errno.EAGAIN, True), (errno.EIO, True), (None, True)),
        *((errno.EOPNOTSUPP, False), (errno.EINVAL, False), (errno.ENOSYS, False)),
        (errno.EPERM, False),
    ],
)
async def test_what_is_not_cached_whole_is_waited_for_in_another_thread(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    problem: int | None,
    n_first: int,
    is_asked_again: bool,
) -> None:
    def partly(descriptor: int, _into: Sequence[memoryview], offset: int) -> bytes:
        if offset < n_first:
            return os.pread(descriptor, n_first, offset)
        if problem is None:  # as Linux 5.9 and 5.10 do
            return b""
        raise OSError(problem, os.strerror(problem))

    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", b"weights")).digest
    asked = _preadv(monkeypatch, partly)
    assert await store.restore("ana", digest, ident) != threading.get_ident()
    n_asked = len(asked)
    assert await store.get("ana", digest) == b"weights"
    assert (len(asked) > n_asked) is is_asked_again


async def test_a_system_that_always_waits_is_asked_in_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", 0)
    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", b"weights")).digest
    for _ in range(2):
        assert await store.restore("ana", digest, ident) != threading.get_ident()


@needs_preadv
async def test_who_restores_many_lets_others_run_in_between(tmp_path: Path) -> None:
    store, n_restored = SnapshotFiles(tmp_path), 0
    digest = (await store.put("ana", b"weights")).digest

    async def restore_many() -> None:
        nonlocal n_restored
        for n_restored in range(50):  # noqa: B007
            await store.get("ana", digest)

    task = asyncio.create_task(restore_many())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert n_restored < 5
    await task


def _preadv(monkeypatch: pytest.MonkeyPatch, read: Any) -> list[int]:
    """Let `read` give what is read without waiting; return the flags that it is asked with."""
    asked: list[int] = []

    def preadv(descriptor: int, into: Sequence[memoryview], offset: int, flags: int) -> int:
        asked.append(flags)
        data = read(descriptor, into, offset)
        into[0][: len(data)] = data
        return len(data)

    monkeypatch.setattr(os, "preadv", preadv)
    return asked
