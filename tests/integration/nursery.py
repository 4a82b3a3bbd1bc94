"""Processes that SIGKILL ends, from within at a point of their life or from outside."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

START_S = 300.0  # seconds; a process that needs longer to get on has hung


class Death:
    """Kills this process when the `at`-th of the points that count is passed.

    Args:
        counts: says of a point's name whether it counts.
    """

    def __init__(self, at: int, counts: Callable[[str], bool], there: Connection) -> None:
        self._n_left, self._counts, self._there = at, counts, there

    def passes(self, name: str, when: str) -> None:
        point = f"{when} {name}"
        if self._counts(point):
            self._n_left -= 1
            if not self._n_left:
                self._there.send(("killed", point))
                os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A store whose calls are points: `before stage`, `after stage` ..."""

    def __init__(self, inner: Any, death: Death) -> None:
        self._inner, self._death = inner, death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._death.passes(name, "before")
            value = await found(*args, **kwargs)
            self._death.passes(name, "after")
            return value

        return call


@dataclass
class Life:
    """What a process has told.

    Attributes:
        killed: the point at which it died, "from outside", or "" if it lived to its end.
        acknowledged: by name.
    """

    killed: str = ""
    acknowledged: dict[str, Any] = field(default_factory=dict)


class Nursery:
    """Where processes are born quickly, with everything imported and nothing open."""

    def __init__(self, *modules: str) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(modules))

    def life(self, live: Callable[..., None], *args: Any, at_most: int | None = None) -> Life:
        """Return what `live(*args, there)` told, killed from here after `at_most` words of it."""
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(target=live, args=(*args, there))
        process.start()
        there.close()
        life = Life()
        try:
            while at_most is None or len(life.acknowledged) < at_most:
                assert here.poll(START_S), "it hangs"
                name, value = here.recv()
                if name == "killed":
                    life.killed = value
                else:
                    life.acknowledged[name] = value
            life.killed = "from outside"
            process.kill()
        except EOFError:
            process.join(START_S)
            assert process.exitcode == (-signal.SIGKILL if life.killed else 0), life
        finally:
            process.kill()
            process.join(START_S)
            process.close()
            here.close()
        return life
