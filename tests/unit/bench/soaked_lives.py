"""Processes that a soak watches and that do not do what they should."""

from __future__ import annotations

import json
import sys
import threading
from multiprocessing.connection import Connection

from sleepmem.bench.soak.life import Plan, live

MIB = 1 << 20


def tell(watcher: Connection, **told: object) -> None:
    watcher.send_bytes(json.dumps(told).encode())


def ends_by_itself(plan: Plan, watcher: Connection) -> None:
    tell(watcher, conversation=0, n=0, reply="I go")
    sys.exit(1)


def hangs(plan: Plan, watcher: Connection) -> None:
    tell(watcher, conversation=0, n=0, reply="I stay")
    threading.Event().wait()


def grows(plan: Plan, watcher: Connection) -> None:
    live(plan, watcher)
    tell(watcher, resident_bytes=1000 * MIB)
