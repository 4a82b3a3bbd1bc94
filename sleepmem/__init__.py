"""Memory for agents that lives in weights, not in prompts.

Importing this package loads neither torch nor langchain; the names below load what they need
on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sleepmem.errors import SleepmemError
from sleepmem.policy import Idle, TaskBoundary, TokenBudget
from sleepmem.types import (
    Episode,
    Message,
    Outcome,
    Reply,
    Role,
    Sampling,
    SleepReason,
    SleepReport,
    Snapshot,
)

if TYPE_CHECKING:
    from sleepmem.chat import SleepChatModel
    from sleepmem.memory import SleepMemory
    from sleepmem.runtime.agent import Agent, AgentThread

__version__ = version("sleepmem")

_ON_FIRST_USE = {
    "Agent": "sleepmem.runtime.agent",
    "AgentThread": "sleepmem.runtime.agent",
    "SleepChatModel": "sleepmem.chat",
    "SleepMemory": "sleepmem.memory",
}

__all__ = [
    "Agent",
    "AgentThread",
    "Episode",
    "Idle",
    "Message",
    "Outcome",
    "Reply",
    "Role",
    "Sampling",
    "SleepChatModel",
    "SleepMemory",
    "SleepReason",
    "SleepReport",
    "SleepmemError",
    "Snapshot",
    "TaskBoundary",
    "TokenBudget",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return getattr(import_module(_ON_FIRST_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
