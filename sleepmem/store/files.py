"""Snapshots as files: `<data>/<agent>/<digest>`, immutable, named by the BLAKE3-256 of their bytes.

A file is there whole or not at all: bytes go to a temporary name in the same folder, are flushed,
renamed, and the folder is flushed. After a flush that failed, what was made is thrown away and the
next try makes it anew: the kernel may have dropped it, and would report success to a second flush.
A write whose temporary name is swept away begins again.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from sleepmem.errors import (
    ConfigError,
    SnapshotCorrupt,
    SnapshotNotFound,
    StoreError,
    StoreUnavailable,
)
from sleepmem.protocols import SnapshotBytes
from sleepmem.store.commits import ended
from sleepmem.store.disk import Disk
from sleepmem.store.reading import AlwaysMight, MightWait, hashed, read_snapshot
from sleepmem.types import Snapshot, checked_name

MAX_BYTES = 1 << 30  # 1 GiB, more than ten times the fast weights of the largest model tried

T = TypeVar("T")

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp", re.ASCII)
_READERS = 2  # each reads into memory of its own: with few it is still in the caches
_TRIES = 3  # of a write whose temporary name goes away
_NOT_PLAIN = re.compile(rb"[^a-z0-9_-]")
_MAX_FOLDER = 200  # bytes; file systems allow 255
_FOR_NOW = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
}


class SnapshotFiles:
    """`SnapshotStore` in a folder, which is made when the first snapshot is put.

    Args:
        data: the folder, of one database alone: gc removes what its log does not name. No other
            program writes there.
        max_bytes: larger snapshots are neither written nor read.
        disk: makes all changes; None is this machine's.
    """

    def __init__(self, data: Path, *, max_bytes: int = MAX_BYTES, disk: Disk | None = None) -> None:
        self._data = data
        self._max_bytes = max_bytes
        self._disk = disk or Disk()
        self._reads_at_once = True  # until the file system says that it cannot
        self._flushed: set[Path] = set()  # folders whose own names are known to be durable
        # its threads end with it
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sleepmem-snapshots")

    async def put(self, agent: str, data: bytes) -> Snapshot:
        folder = self._folder(agent)
        check_size(data, self._max_bytes)
        return await asyncio.to_thread(self._put, folder, data)

    async def get(self, agent: str, digest: str) -> memoryview:
        return await self.restore(agent, digest, memoryview)

    async def restore(self, agent: str, digest: str, load: Callable[[SnapshotBytes], T]) -> T:
        path = os.path.join(self._data, folder_name(agent), checked_digest(digest))
        if self._reads_at_once:
            try:
                restored = self._load(agent, digest, path, load, may_wait=False)
            except AlwaysMight:
                self._reads_at_once = False
            except MightWait:
                pass
            else:
                await asyncio.sleep(0)  # who restores many lets others run in between
                return restored
        loop = asyncio.get_running_loop()
        # there and back once: each change of threads costs a third of hashing a MiB
        loading = loop.run_in_executor(self._readers, self._load, agent, digest, path, load)
        return await ended(loading)  # what `load` belongs to is closed after its callers ended

    async def digests(self, agent: str) -> list[str]:
        return await asyncio.to_thread(_digests, self._folder(agent))

    async def sizes(self, agent: str) -> dict[str, int]:
        found = await asyncio.to_thread(_listed, self._folder(agent))
        return {name: n_bytes for name, n_bytes in found.items() if _DIGEST.fullmatch(name)}

    async def has(self, agent: str, digest: str) -> bool:
        return await asyncio.to_thread(self._has, self._folder(agent) / checked_digest(digest))

    async def leftovers(self, agent: str, *, remove: bool = False) -> list[int]:
        folder = self._folder(agent)
        found = await asyncio.to_thread(_listed, folder)
        names = [name for name in found if _TEMPORARY.fullmatch(name)]
        for name in names if remove else ():
            await asyncio.to_thread(self._delete, folder / name)
        return [found[name] for name in names]

    async def delete(self, agent: str, digest: str) -> None:
        await asyncio.to_thread(self._delete, self._folder(agent) / checked_digest(digest))

    def _folder(self, agent: str) -> Path:
        return self._data / folder_name(agent)

    def _put(self, folder: Path, data: bytes) -> Snapshot:
        digest = hashed(data).hexdigest()
        with _translated(f"snapshot {digest}", "written"):
            for n_left in reversed(range(_TRIES)):
                try:
                    self._publish(folder, digest, data)
                    break
                except FileNotFoundError:
                    # the temporary name was swept, or the folder removed
                    if not n_left:
                        raise
            self._flush_folder(folder)
        return Snapshot(digest=digest, n_bytes=len(data))

    def _publish(self, folder: Path, digest: str, data: bytes) -> None:
        temporary = folder / f".{secrets.token_hex(8)}.tmp"
        try:
            self._make(folder)
            self._write(temporary, data)
            self._disk.rename(temporary, folder / digest)
        except BaseException:
            self._flushed.clear()  # somebody may have removed the folder
            with suppress(OSError):
                self._disk.unlink(temporary)
            raise

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = self._disk.create(path)
        try:
            left = memoryview(data)
            while left:
                left = left[self._disk.write(descriptor, left) :]
            self._disk.flush(descriptor)
        finally:
            self._disk.close(descriptor)

    def _make(self, folder: Path) -> None:
        """Make a folder and its missing parents, each name durable in its own parent."""
        if folder in self._flushed:
            return
        if folder.parent == self._data or not folder.parent.is_dir():
            self._make(folder.parent)
        try:
            self._disk.make_folder(folder)
        except FileExistsError:
            # another process may have made it a moment ago and not flushed it yet; what lies
            # above the data may be closed to us
            with suppress(PermissionError):
                self._flush_folder(folder.parent)
        else:
            try:
                self._flush_folder(folder.parent)
            except OSError:
                with suppress(OSError):
                    self._disk.remove_folder(folder)
                raise
        self._flushed.add(folder)

    def _flush_folder(self, folder: Path) -> None:
        if os.name == "nt":  # Windows opens no folders; its renames are journalled
            return
        descriptor = self._disk.open_folder(folder)
        try:
            self._disk.flush(descriptor)
        finally:
            self._disk.close(descriptor)

    def _delete(self, path: Path) -> None:
        with _translated(f"snapshot {path.name}", "deleted"), suppress(FileNotFoundError):
            with suppress(FileNotFoundError):
                self._disk.unlink(path)
            # also of a file that is gone: who took it may not have come as far as this
            self._flush_folder(path.parent)

    def _has(self, path: Path) -> bool:
        with _translated(f"snapshot {path.name}", "looked for"):
            try:
                found = stat.S_ISREG(os.lstat(path).st_mode)
                if found:
                    self._flush_folder(path.parent)  # who put it may not have come as far as this
            except FileNotFoundError:
                return False
            return found

    def _load(
        self,
        agent: str,
        digest: str,
        path: str,
        load: Callable[[SnapshotBytes], T],
        *,
        may_wait: bool = True,
    ) -> T:
        corrupt = partial(_corrupt, agent, path, digest)
        with _translated(f"snapshot {digest}", "read"):
            try:
                data, found = read_snapshot(path, self._max_bytes, corrupt, may_wait=may_wait)
            except FileNotFoundError as exc:
                raise SnapshotNotFound(agent, digest) from exc
        return loaded(data, found, digest, load, corrupt)


def loaded(
    data: SnapshotBytes,
    found: blake3,
    digest: str,
    load: Callable[[SnapshotBytes], T],
    corrupt: Callable[[str], SnapshotCorrupt],
) -> T:
    """Return `load` of bytes if `found`, their hash, is the digest.

    `corrupt` makes the error of a problem.
    """
    if not hmac.compare_digest(found.digest(), bytes.fromhex(digest)):
        raise corrupt("its bytes have another digest")
    try:
        return load(data)
    except SnapshotCorrupt as refused:
        raise corrupt(refused.problem) from refused


def check_size(data: bytes, max_bytes: int) -> None:
    """Raise ConfigError if `data` is too large to be put."""
    if len(data) > max_bytes:
        raise ConfigError(
            f"a snapshot of {len(data)} bytes is larger than the limit of {max_bytes}",
            hint="Raise max_bytes of the snapshot store.",
        )


def checked_digest(digest: str) -> str:
    """Return `digest` if it is 64 lower-case hex digits, and so a safe file name.

    Raises:
        SnapshotCorrupt: it is something else.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise SnapshotCorrupt(f"{str(digest)[:80]!a}", "its name is not a BLAKE3-256 digest")
    return digest


def folder_name(agent: str) -> str:
    """Return the folder of an agent: one name for each agent on every file system.

    Upper case is quoted too, since some file systems fold it; dots are, so `..` and the dot that
    marks a shortened name stay apart from every agent's.
    """
    raw = checked_name("agent name", agent).encode()
    quoted = _NOT_PLAIN.sub(lambda byte: b"%%%02x" % ord(byte[0]), raw).decode()
    if len(quoted) <= _MAX_FOLDER:
        return quoted
    return f"{quoted[: _MAX_FOLDER - 65]}.{blake3(raw).hexdigest()}"


def _corrupt(agent: str, path: str, digest: str, problem: str) -> SnapshotCorrupt:
    return SnapshotCorrupt(digest, problem, agent=agent, remedy=f"Delete {os.path.abspath(path)}")


def _digests(folder: Path) -> list[str]:
    with _translated(f"folder {folder}", "listed"):
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return []
    return sorted(name for name in names if _DIGEST.fullmatch(name))


def _listed(folder: Path) -> dict[str, int]:
    """Return the sizes of what lies in a folder, by name; nothing if there is no such folder."""
    found = {}
    with _translated(f"folder {folder}", "listed"), suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            with suppress(FileNotFoundError):  # gone meanwhile
                found[name] = os.lstat(folder / name).st_size
    return found


@contextmanager
def _translated(what: str, done: str) -> Iterator[None]:
    """Raise StoreUnavailable or StoreError, `from` the system's error."""
    try:
        yield
    except OSError as exc:
        problem = f"{what} could not be {done}: {exc.strerror or exc}"
        if exc.errno in _FOR_NOW:
            raise StoreUnavailable(problem, hint="See that the disk has room, try again.") from exc
        raise StoreError(problem, hint="See that the folder belongs to you.") from exc
