"""A snapshot's bytes from a file into memory, hashed on the way; nothing here trusts them.

What lies in the system's cache can be read without a thread of its own: for a MiB the change of
threads there and back takes a third of the time. What may have to wait for a disk never is.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import stat
from collections.abc import Callable

from blake3 import blake3

from sleepmem.errors import SnapshotCorrupt
from sleepmem.protocols import SnapshotBytes

MUCH = 4 << 20  # bytes that take one processor half a millisecond to hash
LITTLE = 5 << 18  # bytes, 1.25 MiB, that are read and hashed in a third of a millisecond

_PIECE = 4 << 20  # bytes that are read and hashed by turns; more leave the caches in between
_AT_ONCE = getattr(os, "RWF_NOWAIT", 0)  # fail rather than wait; 0 where no system call can

# (descriptor, where to, bytes before) -> bytes read, 0 at the end
ReadInto = Callable[[int, memoryview, int], int]


class NotCached(Exception):
    """Reading a file might wait, or take long; nothing was done."""


def read_waiting(descriptor: int, into: memoryview, _offset: int) -> int:
    """Read what comes next, from wherever it lies."""
    with io.FileIO(descriptor, closefd=False) as file:
        n_bytes = file.readinto(into)
    if n_bytes is None:  # a file system that does not wait
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return n_bytes


def read_cached(descriptor: int, into: memoryview, offset: int) -> int:
    """Read what comes next if it is little and lies in memory.

    Raises:
        NotCached: it may not.
    """
    if not _AT_ONCE or offset + len(into) > LITTLE:
        raise NotCached
    try:
        return os.preadv(descriptor, [into], offset, _AT_ONCE)
    except OSError as exc:  # EAGAIN, or a file system that cannot tell
        raise NotCached from exc


def read_snapshot(
    path: str, max_bytes: int, corrupt: Callable[[str], SnapshotCorrupt], read_into: ReadInto
) -> tuple[memoryview, blake3]:
    """Return the bytes of the file of a snapshot and their hash, which nobody has compared yet.

    Args:
        corrupt: makes the error of a problem.

    Raises:
        SnapshotCorrupt: it is no plain file, or longer than it says or than `max_bytes`.
        NotCached: as `read_into`.
    """
    # no links and no waiting on a pipe: only what the store makes is read
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise corrupt("it is a link") from exc
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise corrupt("it is not a file")
        if status.st_size > max_bytes:
            raise corrupt(f"{status.st_size} bytes are more than the limit of {max_bytes}")
        data, found = _read_and_hashed(descriptor, status.st_size, read_into)
        if len(data) > status.st_size:
            raise corrupt(f"it is longer than its {status.st_size} bytes")
        return data, found
    finally:
        os.close(descriptor)


def hashed(data: SnapshotBytes) -> blake3:
    """Return the hash of `data`."""
    return _hash_of(len(data)).update(data)


def _hash_of(n_bytes: int) -> blake3:
    """Return the hash of nothing yet; what is `MUCH` is shared out among all processors."""
    return blake3(max_threads=blake3.AUTO if n_bytes >= MUCH else 1)


def _read_and_hashed(
    descriptor: int, n_bytes: int, read_into: ReadInto
) -> tuple[memoryview, blake3]:
    """Return what a file holds and its hash, taken piece by piece while that is in the caches.

    Args:
        n_bytes: that it is said to hold; one more is read if there is one.
    """
    data, found, n_read = memoryview(_unfilled(n_bytes + 1)), _hash_of(n_bytes), 0
    while n_new := read_into(descriptor, data[n_read : n_read + _PIECE], n_read):
        found.update(data[n_read : n_read + n_new])
        n_read += n_new
    return data[:n_read], found


def _unfilled(n_bytes: int) -> bytearray:
    """Return a bytearray that is not filled with zeros first, as CPython alone can make one."""
    try:
        make = ctypes.pythonapi.PyByteArray_FromStringAndSize
    except AttributeError:
        return bytearray(n_bytes)
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    made: bytearray = make(None, n_bytes)
    return made
