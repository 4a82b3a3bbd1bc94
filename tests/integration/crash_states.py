"""What a power loss may leave of recorded changes to files, by the rules of POSIX and no kinder.

Bytes are safe once their file was flushed, names once their folder was: before that any part of the
names may be there, in any combination, and of the bytes none, the first half, all, or as many
zeros. What a failed flush left is never safe again, whatever later flushes report. A commit of the
log is one step, and safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from sleepmem.store.disk import Disk


@dataclass(frozen=True, slots=True)
class Step:
    """A change of name `kind`; `number` names a file, which may have many paths or none."""

    kind: str
    path: Path = Path()
    target: Path = Path()
    number: int = 0
    data: bytes = b""
    value: Any = None  # of a commit or of an acknowledgement


class RecordingDisk(Disk):
    """Makes changes without flushing anything, and writes down what would have been safe.

    Args:
        root: is there already, and nothing above it is changed.
        flush: is called in place of every flush; what it raises has made the flush fail.
    """

    def __init__(self, root: Path, flush: Callable[[], None] = lambda: None) -> None:
        self.root, self.steps = root, list[Step]()
        self._flush, self._open = flush, dict[int, Step]()
        self._n_files = 0

    def tell(self, kind: str, value: Any) -> None:
        self.steps.append(Step(kind, value=value))

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        self.steps.append(Step("make folder", self._at(path)))

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self.steps.append(Step("unlink", self._at(path)))

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._n_files += 1
        self._open[descriptor] = Step("flush file", number=self._n_files)
        self.steps.append(Step("create", self._at(path), number=self._n_files))
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        n_bytes = super().write(descriptor, data)
        number = self._open[descriptor].number
        self.steps.append(Step("write", number=number, data=bytes(data[:n_bytes])))
        return n_bytes

    def open_folder(self, path: Path) -> int:
        descriptor = super().open_folder(path)
        self._open[descriptor] = Step("flush folder", self._at(path))
        return descriptor

    def flush(self, descriptor: int) -> None:
        step = self._open[descriptor]
        try:
            self._flush()
        except OSError:
            self.steps.append(Step(f"fail to {step.kind}", step.path, number=step.number))
            raise
        self.steps.append(step)

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.steps.append(Step("rename", self._at(source), self._at(target)))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.steps.append(Step("unlink", self._at(path)))

    def _at(self, path: Path) -> Path:
        return path.relative_to(self.root)


@dataclass(slots=True)
class Change:
    """A change to the names of a folder or to the bytes of a file; all of it happens or none."""

    what: Any
    is_safe: bool = False
    is_doomed: bool = False  # by a failed flush


@dataclass(slots=True)
class Inode:
    is_folder: bool
    changes: list[Change] = field(default_factory=list)

    def flush(self) -> None:
        for change in self.changes:
            change.is_safe |= not change.is_doomed

    def fail_to_flush(self) -> None:
        for change in self.changes:
            change.is_doomed |= not change.is_safe

    def outcomes(self) -> Iterator[list[Any]]:
        """Yield every combination of its changes that may be left."""
        choices = [(True,) if change.is_safe else (False, True) for change in self.changes]
        for chosen in product(*choices):
            yield [
                change.what for change, is_left in zip(self.changes, chosen, strict=True) if is_left
            ]


Files = dict[Path, bytes | None]  # None is a folder


@dataclass(frozen=True, slots=True)
class State:
    """What is there when the power comes back, and what had been acknowledged before it went.

    Attributes:
        told: the values of all commits and acknowledgements, by kind, oldest first.
    """

    files: Files
    told: dict[str, list[Any]]

    @property
    def key(self) -> tuple[object, ...]:
        return (
            frozenset(self.files.items()),
            tuple(sorted((kind, len(values)) for kind, values in self.told.items())),
        )

    def lay_out(self, folder: Path) -> None:
        for path, data in sorted(self.files.items()):
            if data is None:
                (folder / path).mkdir()
            else:
                (folder / path).write_bytes(data)


def states_after_power_loss(steps: Sequence[Step]) -> Iterator[State]:
    """Yield every state that a power loss at any time may leave, equal ones once."""
    disk, seen = _Disk(), set()
    for n_steps in range(len(steps) + 1):
        if n_steps:
            disk.make(steps[n_steps - 1])
        for files in disk.outcomes():
            state = State(files, {kind: list(values) for kind, values in disk.told.items()})
            if state.key not in seen:
                seen.add(state.key)
                yield state


class _Disk:
    """The changes so far."""

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = {}
        self._root = Inode(is_folder=True)
        self._names: dict[Path, Inode] = {Path(): self._root}  # as a running program sees them
        self._files: dict[int, Inode] = {}

    def make(self, step: Step) -> None:
        names = self._names
        match step.kind:
            case "make folder":
                self._name(step.path, Inode(is_folder=True))
            case "create":
                self._files[step.number] = Inode(is_folder=False)
                self._name(step.path, self._files[step.number])
            case "write":
                self._files[step.number].changes.append(Change(step.data))
            case "rename":
                inode = names.pop(step.path)
                names[step.target] = inode
                both = {step.path.name: None, step.target.name: inode}
                names[step.path.parent].changes.append(Change(both))
            case "unlink":
                del names[step.path]
                names[step.path.parent].changes.append(Change({step.path.name: None}))
            case "flush file":
                self._files[step.number].flush()
            case "fail to flush file":
                self._files[step.number].fail_to_flush()
            case "flush folder":
                names[step.path].flush()
            case "fail to flush folder":
                names[step.path].fail_to_flush()
            case _:
                self.told.setdefault(step.kind, []).append(step.value)

    def _name(self, path: Path, inode: Inode) -> None:
        self._names[path] = inode
        self._names[path.parent].changes.append(Change({path.name: inode}))

    def outcomes(self) -> Iterator[Files]:
        return _outcomes(Path(), self._root)


def _outcomes(path: Path, inode: Inode) -> Iterator[Files]:
    """Yield what may be left at and below a path."""
    if not inode.is_folder:
        whole = b"".join(change.what for change in inode.changes)
        n_safe = sum(len(change.what) for change in inode.changes if change.is_safe)
        torn = {whole[:n] for n in (n_safe, (n_safe + len(whole)) // 2, len(whole))}
        for data in torn | {whole[:n_safe].ljust(len(whole), b"\0")}:
            yield {path: data}
        return
    for changes in inode.outcomes():
        names = {name: there for change in changes for name, there in change.items()}
        below = [list(_outcomes(path / name, there)) for name, there in names.items() if there]
        for combination in product(*below):
            found: Files = {} if path == Path() else {path: None}
            for files in combination:
                found |= files
            yield found
