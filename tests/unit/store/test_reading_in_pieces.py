"""A snapshot is read and hashed by turns, whatever the file system gives at a time, and at once
where nothing has to be waited for."""

from __future__ import annotations

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
from sleepmem.store import SnapshotFiles
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


async def test_file_that_is_not_ready_is_no_corrupt_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotReady(io.FileIO):
        def readinto(self, _into: Any) -> None:
            """Give nothing, as a file system that does not wait."""

    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", bytes(LITTLE))).digest
    monkeypatch.setattr(io, "FileIO", NotReady)
    with pytest.raises(StoreUnavailable):
        await store.get("ana", digest)


def ident(_data: SnapshotBytes) -> int:
    return threading.get_ident()


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs reads that do not wait")
async def test_little_that_is_cached_is_read_without_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotFiles(tmp_path)
    digest, largest, larger = [
        (await store.put("ana", bytes(n))).digest for n in (7, LITTLE - 1, LITTLE)
    ]
    asked = _preadv(monkeypatch, lambda *what: os.pread(what[0], len(what[1][0]), what[2]))
    assert await store.restore("ana", digest, ident) == threading.get_ident()
    assert await store.get("ana", largest) == bytes(LITTLE - 1)
    assert await store.restore("ana", larger, ident) != threading.get_ident()
    assert set(asked) == {os.RWF_NOWAIT}
    (tmp_path / "ana" / digest).write_bytes(b"changed")
    with pytest.raises(SnapshotCorrupt, match="another digest"):
        await store.restore("ana", digest, ident)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs reads that do not wait")
@pytest.mark.parametrize("problem", [errno.EAGAIN, errno.EOPNOTSUPP])
@pytest.mark.parametrize("n_first", [0, 3])
async def test_what_is_not_cached_whole_is_waited_for_in_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: int, n_first: int
) -> None:
    def partly(descriptor: int, _into: Sequence[memoryview], offset: int) -> bytes:
        if offset == n_first:
            raise OSError(problem, os.strerror(problem))
        return os.pread(descriptor, n_first, offset)

    store = SnapshotFiles(tmp_path)
    digest = (await store.put("ana", b"weights")).digest
    _preadv(monkeypatch, partly)
    assert await store.restore("ana", digest, ident) != threading.get_ident()
    assert await store.get("ana", digest) == b"weights"


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
