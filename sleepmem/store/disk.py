"""Changes to folders and files, one system call each; what is stored durably is, with these."""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """The disks of this machine.

    No change is durable before it is flushed: what was written with the file's descriptor, a name
    that was made, moved or taken away with that of its folder.
    """

    def make_folder(self, path: Path) -> None:
        os.mkdir(path, 0o700)

    def remove_folder(self, path: Path) -> None:
        os.rmdir(path)

    def create(self, path: Path) -> int:
        """Return a descriptor of a new file, which the caller closes."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Return how many bytes were written, which may be fewer than there are."""
        return os.write(descriptor, data)

    def open_folder(self, path: Path) -> int:
        """Return a descriptor to flush, which the caller closes."""
        return os.open(path, os.O_RDONLY)

    def flush(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)
