"""A snapshot is read and hashed by turns, whatever the file system gives at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.store.files import _read_and_hashed


class Slow(io.RawIOBase):
    """A file that gives what it holds in the given numbers of bytes; None is not now."""

    def __init__(self, data: bytes, pieces: Iterable[int | None]) -> None:
        self._rest, self._pieces = io.BytesIO(data), iter(pieces)

    def readinto(self, into: Any) -> int | None:
        n_bytes = next(self._pieces)
        return n_bytes and self._rest.readinto(into[:n_bytes])


@given(st.binary(max_size=64), st.lists(st.integers(1, 9)), st.integers(0, 64))
def test_pieces_of_any_length_are_read_and_hashed_as_one(
    data: bytes, pieces: list[int], said: int
) -> None:
    read, found = _read_and_hashed(Slow(data, chain(pieces, repeat(64))), said)
    assert read == data[: said + 1]
    assert found.digest() == blake3(data[: said + 1]).digest()


def test_file_that_is_not_ready_is_no_corrupt_one() -> None:
    with pytest.raises(BlockingIOError):
        _read_and_hashed(Slow(b"weights", (3, None)), 7)
