"""Every error that sleepmem raises, as one family.

    SleepmemError                           .hint: what to do next, printed by the command line
    ├─ ConfigError (ValueError)             a setting or argument that can never work
    │  ├─ InvalidMessage                    empty, unknown role, not text
    │  ├─ ImportFileError                   a line of an import file that cannot be read
    │  └─ WindowExceeded                    system prompt and reply alone fill the window
    ├─ NotFound (LookupError)
    │  ├─ AgentNotFound · BranchNotFound · ThreadNotFound · EpisodeNotFound
    │  ├─ SnapshotNotFound · CheckpointNotFound
    ├─ Conflict                             the world moved on: read again, decide again
    │  ├─ HeadMoved · AgentHeld · LeaseLost · ThreadBusy
    ├─ MisuseError (RuntimeError)           the caller's bug, never caught
    │  └─ NotOpen
    ├─ ModelError
    │  ├─ FingerprintMismatch · NonFiniteWeights · CheckpointInvalid
    ├─ MemoryFull                           the window is full and its sleep was rejected
    ├─ StoreError                           the driver's error is kept as __cause__
    │  ├─ StoreUnavailable                  the only class worth retrying
    │  ├─ SchemaMismatch                    database older or newer than the code
    │  └─ SnapshotCorrupt                   refused by digest, header or allow-list
    ├─ CannotVerify                         the model that an agent lived with is not at hand
    ├─ ReplayDiverged                       a snapshot derived again has other bytes
    └─ MissingExtra (ImportError)

A message says what happened and to which thing; `hint` says what to do next. Ids are attributes
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self


class SleepmemError(Exception):
    """Base of the family.

    Attributes:
        hint: what the reader can do next, one sentence, possibly empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error leave the process that it was raised in, whatever it was made of."""
        return self._restored, (str(self), self.__dict__)

    @classmethod
    def _restored(cls, message: str, attributes: dict[str, Any]) -> Self:
        error = cls.__new__(cls, message)
        error.__dict__.update(attributes)
        return error


class ConfigError(SleepmemError, ValueError):
    """A setting or argument that can never work."""


class InvalidMessage(ConfigError):
    """A message that cannot be lived: empty, of an unknown role, or not text."""


class ImportFileError(ConfigError):
    """A line of an import file that cannot be read."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(
            f"{path}, line {line}: {problem}",
            hint='Nothing was imported. Each line is one object {"role": ..., "content": ...}; '
            "or the file is one JSON array of them.",
        )
        self.path, self.line = path, line


class WindowExceeded(ConfigError):
    """System prompt, tools and the room for a reply leave no room for a message in the window."""

    def __init__(self, n_tokens: int, window: int) -> None:
        super().__init__(
            f"the system prompt and the room for a reply need {n_tokens} tokens and leave none of "
            f"the window of {window} for a message",
            hint="Shorten the system prompt or lower max_tokens.",
        )
        self.n_tokens, self.window = n_tokens, window


class NotFound(SleepmemError, LookupError):
    """Something was named that does not exist."""


class AgentNotFound(NotFound):
    """No agent of that name is in the database."""

    def __init__(self, agent: str) -> None:
        super().__init__(
            f"no agent {agent!r} in this database",
            hint="List the agents with: sleepmem agents",
        )
        self.agent = agent


class BranchNotFound(NotFound):
    """The agent has no branch of that name."""

    def __init__(self, agent: str, branch: str) -> None:
        super().__init__(
            f"agent {agent!r} has no branch {branch!r}",
            hint="The branch that every agent has is `main`.",
        )
        self.agent, self.branch = agent, branch


class ThreadNotFound(NotFound):
    """Nobody ever spoke with the agent in a thread of that name."""

    def __init__(self, agent: str, branch: str, thread: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"agent {agent!r} has no thread {thread!r} on branch {branch!r}",
            hint=f"Its threads there are: {', '.join(known)}.",
        )
        self.agent, self.branch, self.thread, self.known = agent, branch, thread, known


class EpisodeNotFound(NotFound):
    """The agent has no episode of that id or index."""

    def __init__(self, agent: str, episode: str) -> None:
        super().__init__(
            f"agent {agent!r} has no episode {episode!r}",
            hint=f"List its episodes with: sleepmem replay --agent {agent}",
        )
        self.agent, self.episode = agent, episode


class SnapshotNotFound(NotFound):
    """The log names a snapshot whose bytes are missing."""

    def __init__(self, agent: str, digest: str) -> None:
        super().__init__(
            f"snapshot {digest} of agent {agent!r} is missing from the snapshot store",
            hint=f"Derive it again from the log with: sleepmem replay --agent {agent} --verify",
        )
        self.agent, self.digest = agent, digest


class CheckpointNotFound(NotFound):
    """No checkpoint of that name or path."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(
            f"no checkpoint {name!r}",
            hint="Give the path of a checkpoint folder"
            + (f" or one of: {', '.join(known)}." if known else "."),
        )
        self.name = name


class Conflict(SleepmemError):
    """The world moved on: read again, decide again."""

    def __init__(
        self, message: str, *, hint: str = "Look at what is there, then try again."
    ) -> None:
        super().__init__(message, hint=hint)


class HeadMoved(Conflict):
    """The head of a branch is no longer the one that a sleep was computed on."""

    def __init__(self, agent: str, branch: str, expected: str | None, found: str | None) -> None:
        super().__init__(
            f"the head of {agent}/{branch} is {found}, not {expected}",
            hint="Nothing was changed and the episode is still open; sleep again.",
        )
        self.agent, self.branch, self.expected, self.found = agent, branch, expected, found


class AgentHeld(Conflict):
    """Another process lives with the agent.

    Attributes:
        expires_at: when its lease ends by its own clock, unless it is renewed.
        waited_s: how long this one waited for it.
    """

    def __init__(
        self, agent: str, holder: str, epoch: int, expires_at: datetime, waited_s: float = 0.0
    ) -> None:
        waited = f", also after {waited_s:.0f} s" if waited_s else ""
        super().__init__(
            f"agent {agent!r} is held by {holder}{waited}",
            hint="That begins with machine and process: close the agent there, or take it over "
            "with --take-over (in Python take_over=True).",
        )
        self.agent, self.holder, self.epoch = agent, holder, epoch
        self.expires_at, self.waited_s = expires_at, waited_s


class LeaseLost(Conflict):
    """Another process claimed the agent; this one may no longer write for it."""

    def __init__(self, agent: str, epoch: int) -> None:
        super().__init__(
            f"another process claimed agent {agent!r} after epoch {epoch}",
            hint="Open the agent again to go on when it is free; nothing acknowledged was lost.",
        )
        self.agent, self.epoch = agent, epoch


class ThreadBusy(Conflict):
    """An earlier call on the thread, or another sleep of its branch, takes too long."""

    def __init__(self, what: str, waited_s: float) -> None:
        super().__init__(
            f"{what} is still busy with an earlier call after {waited_s:g} s",
            hint="Read that call's stream to its end or close it, then try again.",
        )
        self.waited_s = waited_s


class MisuseError(SleepmemError, RuntimeError):
    """The caller's bug."""


class NotOpen(MisuseError):
    """A closed, or never opened, memory was used."""

    def __init__(self, what: str = "this SleepMemory") -> None:
        super().__init__(
            f"{what} is not open",
            hint="Use it inside: async with SleepMemory(...) as memory",
        )


class ModelError(SleepmemError):
    """The model cannot do what was asked."""


class FingerprintMismatch(ModelError):
    """Fast weights belong to another model than the one loaded."""

    def __init__(self, what: str, found: str, expected: str) -> None:
        super().__init__(
            f"{what} belongs to the model with fingerprint {found[:12]}, "
            f"the loaded model has {expected[:12]}",
            hint="Load the checkpoint that the agent lived with (--model), or start a new agent.",
        )
        self.found, self.expected = found, expected


class NonFiniteWeights(ModelError):
    """An update of the fast weights diverged."""

    def __init__(self, layer: int) -> None:
        super().__init__(
            f"the fast weights of layer {layer} are not finite",
            hint="The sleep was not committed; sleep with fewer passes.",
        )
        self.layer = layer


class CheckpointInvalid(ModelError):
    """A checkpoint folder lacks a file, or a file does not fit."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"checkpoint {path}: {problem}", hint="Train or copy the checkpoint again."
        )
        self.path = path


class MemoryFull(SleepmemError):
    """The window is full and the sleep that would make room was rejected."""

    def __init__(self, agent: str, thread: str) -> None:
        super().__init__(
            f"the window of agent {agent!r}, thread {thread!r}, is full and its sleep was rejected",
            hint=f"Accept the loss with: sleepmem sleep --agent {agent} --thread {thread} --force",
        )
        self.agent, self.thread = agent, thread


class StoreError(SleepmemError):
    """The database or the snapshot store failed; the driver's error is `__cause__`."""


class StoreUnavailable(StoreError):
    """The store is locked, full or unreachable at present; trying again may help."""


class SchemaMismatch(StoreError):
    """The database was made by an older or a newer sleepmem."""

    def __init__(self, found: str | None, head: str, *, newer: bool) -> None:
        super().__init__(
            f"the database is at revision {found or 'none'}, this sleepmem needs {head}",
            hint="Install a newer sleepmem to read it."
            if newer
            else "Back it up, then run: sleepmem db upgrade",
        )
        self.found, self.head, self.newer = found, head, newer


class SnapshotCorrupt(StoreError):
    """Snapshot bytes refused by digest, header or allow-list.

    Args:
        remedy: does away with them, the place where they lie in it.
    """

    def __init__(
        self, digest: str, problem: str, *, agent: str = "NAME", remedy: str = "Delete it"
    ) -> None:
        super().__init__(
            f"snapshot {digest} is corrupt: {problem}",
            hint=f"The log is untouched. {remedy}, then derive it again with: "
            f"sleepmem replay --agent {agent} --verify",
        )
        self.digest = digest
        self.problem = problem


class CannotVerify(SleepmemError):
    """The model that an agent lived with is not at hand, so nothing can be compared."""

    def __init__(self, agent: str, problem: str) -> None:
        super().__init__(
            f"cannot verify agent {agent!r}: {problem}",
            hint="Nothing was compared. Give the checkpoint that the agent lived with (--model).",
        )
        self.agent = agent


class ReplayDiverged(SleepmemError):
    """A snapshot derived again from the log has other bytes than the stored one.

    Attributes:
        differences: what of the recorded numerics is different here, (recorded, here) by name.
        repeats: whether deriving it once more gives the same bytes again.
        apart: nats per token by which losses awake on the two differ over the episode: rounding
            stays far under 0.01. None if there is nothing stored to wake on.
    """

    def __init__(
        self,
        episode: str,
        expected: str,
        found: str,
        *,
        differences: Mapping[str, tuple[str, str]],
        repeats: bool,
        apart: float | None,
    ) -> None:
        why = [f"{name} was {then}, is {now}" for name, (then, now) in differences.items()]
        if not repeats:
            why.append("derived twice here, it differs too")
        if apart is not None:
            why.append(f"awake, the two differ by {apart:.1g} nats per token")
        hint = "The numerics are those of that sleep: the log was altered, or the checkpoint."
        if not repeats:
            hint = "This machine does not compute the same twice: verify on another."
        elif differences:
            hint = "Verify on the kind of machine and the versions recorded with the sleep."
        super().__init__(
            f"episode {episode}: the log gives snapshot {found[:12]}, stored is {expected[:12]}"
            + (f" ({'; '.join(why)})" if why else ""),
            hint=hint,
        )
        self.episode, self.expected, self.found = episode, expected, found
        self.differences, self.repeats, self.apart = dict(differences), repeats, apart


class MissingExtra(SleepmemError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an extra", hint=f'Install it: pip install "sleepmem[{extra}]"'
        )
        self.extra = extra
