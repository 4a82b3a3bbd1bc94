"""A disk whose every system call can be watched, and made to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sleepmem.store.disk import Disk

Watch = Callable[[str, str], None]  # (name of the call, "before" or "after")


class WatchedDisk(Disk):
    """Calls `watch` before and after each call; what it raises is what the call came to."""

    def __init__(self, watch: Watch) -> None:
        for name in [name for name in vars(Disk) if not name.startswith("_")]:
            setattr(self, name, _watched(getattr(self, name), name, watch))


def _watched(function: Callable[..., Any], name: str, watch: Watch) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        watch(name, "before")
        value = function(*args)
        watch(name, "after")
        return value

    return call
