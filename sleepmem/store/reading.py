"""A snapshot's bytes from a file into memory, hashed on the way; nothing here trusts them.

What lies in the system's cache can be read without a thread of its own: for a MiB the change of
threads there and back takes a third of the time. Its bytes are never waited for then; its name is.
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
_LINE = 64  # bytes of a cache line
_AT_ONCE = getattr(os, "RWF_NOWAIT", 0)  # fail rather than wait; 0 where no system call can
# how a file system, a kernel or a sandbox says that there is no such reading
_UNKNOWN = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM}

# (descriptor, where to, bytes before) -> bytes read, 0 at the end
ReadInto = Callable[[int, memoryview, int], int]


class MightWait(Exception):
    """Reading a file might wait, or take long; what was read of it is dropped."""


class AlwaysMight(MightWait):
    """So might reading any other file of the same file system."""


def read_snapshot(
    path: str,
    max_bytes: int,
    corrupt: Callable[[str], SnapshotCorrupt],
    *,
    may_wait: bool = True,
) -> tuple[memoryview, blake3]:
    """Return the bytes of the file of a snapshot and their hash, which nobody has compared yet.

    Args:
        corrupt: makes the error of a problem.
        may_wait: for a disk; if not, only what is `LITTLE` and in memory is read.

    Raises:
        SnapshotCorrupt: it is no plain file, or longer than it says or than `max_bytes`.
        OSError: it is not there, or cannot be read.
        MightWait: it might although it may not.
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
        if not may_wait and status.st_size > LITTLE:
            raise MightWait
        read_into = _read_waiting if may_wait else _read_cached
        data, found = _read_and_hashed(descriptor, status.st_size, read_into)
        if len(data) > status.st_size:
            raise corrupt(f"it is longer than its {status.st_size} bytes")
        return data, found
    finally:
        os.close(descriptor)


def _read_waiting(descriptor: int, into: memoryview, _offset: int) -> int:
    """Read what comes next, from wherever it lies; BlockingIOError if it is never waited for."""
    with io.FileIO(descriptor, closefd=False) as file:
        n_bytes = file.readinto(into)
    if n_bytes is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return n_bytes


def _read_cached(descriptor: int, into: memoryview, offset: int) -> int:
    """Read what comes next if it lies in memory.

    Raises:
        MightWait: it may not.
    """
    if not _AT_ONCE:
        raise AlwaysMight
    try:
        n_bytes = os.preadv(descriptor, [into], offset, _AT_ONCE)
    except OSError as exc:
        # what else went wrong, a read that may wait finds too, or it has passed by then
        raise (AlwaysMight if exc.errno in _UNKNOWN else MightWait) from exc
    # room for one byte more than there are: Linux 5.9 and 5.10 say the end where others would wait
    if not n_bytes and len(into) > 1:
        raise MightWait
    return n_bytes


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
    data, found, n_read = _room(n_bytes + 1), _hash_of(n_bytes), 0
    while n_new := read_into(descriptor, data[n_read : n_read + _PIECE], n_read):
        found.update(data[n_read : n_read + n_new])
        n_read += n_new
    return data[:n_read], found


def _room(n_bytes: int) -> memoryview:
    """Return room for so many bytes, from a cache line on: reading into it takes a tenth less."""
    buffer = _unfilled(n_bytes + _LINE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % _LINE
    return memoryview(buffer)[start : start + n_bytes]


def _unfilled(n_bytes: int) -> bytearray:
    """Return a bytearray that is not filled with zeros first, as CPython alone can make one."""
    try:
        make = ctypes.pythonapi.PyByteArray_FromStringAndSize
    except AttributeError:
        return bytearray(n_bytes)
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    made: bytearray = make(None, n_bytes)
    return made
