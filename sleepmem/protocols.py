"""The seams of the house on one page. Implemented in `model`, `store`, `policy` and `testing`.

The runtime handles token ids and opaque values (`FastWeights`, `WakeState`), never logits and
never tensors. A model holds nothing per agent: state is an argument and a result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

from sleepmem.history import Histories, LogEntry
from sleepmem.leases import Leases
from sleepmem.types import (
    AgentSummary,
    Episode,
    EpisodeStats,
    FinishReason,
    Head,
    JsonObject,
    LoggedMessage,
    Message,
    OpenEpisode,
    Role,
    Sampling,
    SleepReason,
    SleepReport,
    Snapshot,
    Thread,
    Turn,
)

FastWeights = Any  # opaque outside the model that made it; immutable
SnapshotBytes = bytes | bytearray | memoryview
WakeState = Any  # opaque; advanced in place by `read`, `next` and `loss` alone
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SleepStep:
    """A part of one layer of one pass of a sleep; only the last one has the new fast weights."""

    index: int
    n_steps: int
    weights: FastWeights | None = None


class Detokenizer(Protocol):
    """Turns ids into text as they come, whole UTF-8 characters at a time."""

    def push(self, token_id: int) -> str:
        """Return the text that became certain with this id, often empty. Special ids add none."""
        ...

    def flush(self) -> str:
        """Return what is left, with U+FFFD for bytes that never became a character."""
        ...


@runtime_checkable
class SleepLM(Protocol):
    """A language model that can sleep. Calls come from one thread at a time, but for `load`.

    Attributes:
        fingerprint: BLAKE3-256 in hex over config, slow weights, tokenizer and chat template.
        window: the most tokens a wake state or one sleep pass may span.
        stop_ids: ids that close an assistant message.
        retention_floor: sleeps that retain less are rejected unless the caller wants it otherwise;
            None accepts any.
        numerics: what the bytes of a snapshot depend on besides the log (versions, dtype,
            threads, processor features); recorded with every sleep.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def stop_ids(self) -> frozenset[int]: ...
    @property
    def retention_floor(self) -> float | None: ...
    @property
    def numerics(self) -> Mapping[str, str]: ...

    def encode(self, message: Message, *, tools: Sequence[JsonObject] | None = None) -> list[int]:
        """Return the ids of one message, borders included; a list is the concatenation.

        An assistant message is `reply_prefix()` + content + a closing id.
        """
        ...

    def reply_prefix(self) -> list[int]:
        """Return the ids that open an assistant message."""
        ...

    def detokenizer(self) -> Detokenizer: ...

    def blank(self) -> FastWeights:
        """Return a newborn's fast weights."""
        ...

    def dump(self, weights: FastWeights) -> bytes:
        """Return canonical bytes: equal weights give equal bytes."""
        ...

    def load(self, data: SnapshotBytes) -> FastWeights:
        """Return the weights that `dump` wrote, which may lie in `data`; trusts nothing.

        Depends on its argument alone: it is called where that was read, beside any other call,
        and in the event loop where that is little.

        Raises:
            SnapshotCorrupt: a name, shape, dtype, size or value does not fit.
            FingerprintMismatch: written for another model.
        """
        ...

    def wake(self, weights: FastWeights) -> WakeState:
        """Return a state with an empty KV cache on top of `weights`, which stay unchanged."""
        ...

    def copy(self, state: WakeState) -> WakeState: ...

    def read(self, state: WakeState, token_ids: Sequence[int]) -> None:
        """Advance `state` in place. After an exception the state must be thrown away."""
        ...

    def next(self, states: Sequence[WakeState], sampling: Sequence[Sampling]) -> list[int]:
        """Return one token for each state, sampled and already read by it.

        States of any length and of different agents go together, and none sees another. If one
        of them cannot go on, none was advanced. Decoded together or alone, a state's logits
        differ by rounding at most.
        """
        ...

    def sleep(
        self, weights: FastWeights, token_ids: Sequence[int], passes: int
    ) -> Iterator[SleepStep]:
        """Write at most a window of ids into a copy of `weights`, in `passes` >= 1 passes.

        Depends on nothing but its arguments. Cost grows with the ids times `passes`.

        Raises:
            NonFiniteWeights: an update diverged.
        """
        ...

    def loss(self, state: WakeState, token_ids: Sequence[int]) -> list[float]:
        """Read ids as `read` does; return nats per token, the first nan if nothing was read yet."""
        ...


class EpisodeLog(Leases, Histories, Protocol):
    """The truth. One method is one transaction; every write is conditional on `epoch`.

    Writes raise `LeaseLost` when `epoch` is no longer the agent's. All methods raise
    `StoreUnavailable` when the database is locked, full or gone.

    A thread's token stream is the concatenation of the ids of its turns; stream positions are
    gap-free. `Turn.start`/`stop` and `Episode.start`/`stop` are positions in it.
    """

    async def agents(self) -> list[AgentSummary]: ...

    async def delete_agent(self, agent: str, *, now: datetime) -> None:
        """Delete an agent with all its rows, whoever holds it, and note that for `deleted`.

        Its snapshots are not touched.

        Raises:
            AgentNotFound
        """
        ...

    async def summary(self, agent: str) -> AgentSummary:
        """Return one agent's row without claiming it. Raises AgentNotFound."""
        ...

    async def thread(
        self, agent: str, epoch: int, *, branch: str, name: str, system: str | None
    ) -> Thread:
        """Return the thread, created if new. `system` not None replaces the stored prompt.

        Raises:
            BranchNotFound: the agent has no such branch.
        """
        ...

    async def threads(self, agent: str) -> list[Thread]:
        """Return the agent's threads in order of creation. Raises AgentNotFound."""
        ...

    async def head(self, agent: str, branch: str) -> Head:
        """Raises BranchNotFound."""
        ...

    async def open_episode(self, thread: Thread) -> OpenEpisode:
        """Return what the thread lived through since its last closed episode, and the head.

        Both are of one moment: a sleep that is committed meanwhile is in both or in neither.
        """
        ...

    async def turn_of_request(self, agent: str, request_id: str) -> Turn | None:
        """Return the staged or done turn of a request; abandoned ones do not count."""
        ...

    async def stage(
        self,
        thread: Thread,
        epoch: int,
        messages: Sequence[LoggedMessage],
        *,
        request_id: str | None,
        done: bool,
        now: datetime,
    ) -> Turn:
        """Append a turn: staged, or already done when it wants no reply.

        Staged turns of the thread are abandoned by it: such a turn then spans only what
        was slept of it. A `request_id` is unique in the agent; a known one raises Conflict.
        That of an abandoned turn is free again, so that the caller can ask once more.
        """
        ...

    async def finish(
        self, turn: Turn, epoch: int, reply: LoggedMessage, finish_reason: FinishReason
    ) -> Turn:
        """Append the reply and mark the staged turn done. Raises Conflict if it is not staged."""
        ...

    async def commit_sleep(
        self,
        thread: Thread,
        epoch: int,
        report: SleepReport,
        *,
        start: int,
        stop: int,
        expected: Head,
        woke_from: str | None,
        now: datetime,
        ensure_stored: Callable[[], Awaitable[None]],
    ) -> None:
        """Record the snapshot, the sleep and the closed episode, and move the head; all or nothing.

        `report.outcome` is `slept`; `report.episode` and `report.snapshot` are set. The episode
        may end inside the staged turn: a message longer than the window is slept in pieces.
        `ensure_stored` is awaited while no `sweep` of the agent can run: it puts the bytes again
        if one took them since they were put.

        Raises:
            HeadMoved: the branch's head is not `expected`.
            Conflict: `[start, stop)` does not begin the thread's open stream.
        """
        ...

    async def record_attempt(
        self,
        thread: Thread,
        epoch: int,
        report: SleepReport,
        *,
        start: int,
        stop: int,
        now: datetime,
    ) -> None:
        """Record a sleep that did not close its episode, whatever the outcome."""
        ...

    async def sleeps(self, agent: str, branch: str) -> list[SleepReport]:
        """Return all sleeps that were committed or recorded, whatever the outcome, oldest first.

        Raises:
            AgentNotFound, BranchNotFound
        """
        ...

    async def lineage(
        self, agent: str, branch: str, *, until: str | None = None, at_most: int | None = None
    ) -> list[Episode]:
        """Return the closed episodes from birth to the head, or to the episode `until`.

        With `at_most`, which knows no `until`: no more than so many, evenly spaced, the first
        and the last among them. That costs as many rows, unless the agent has branched.

        Raises:
            AgentNotFound, BranchNotFound, EpisodeNotFound
        """
        ...

    async def tokens(self, thread_id: int, start: int, stop: int) -> list[int]:
        """Return the ids of `[start, stop)` of a thread's stream; exactly `stop - start` of them.

        Raises:
            StoreError: the log does not hold them.
        """
        ...

    async def ids_between(
        self, thread_id: int, start: int, stop: int, roles: frozenset[Role]
    ) -> list[tuple[int, ...]]:
        """Return the ids of those of `messages_between` that have one of these roles."""
        ...

    async def messages_between(self, thread_id: int, start: int, stop: int) -> list[LoggedMessage]:
        """Return the messages that lie wholly in `[start, stop)`, oldest first."""
        ...

    def entries(self, agent: str, *, search: str | None = None) -> AsyncIterator[LogEntry]:
        """Yield the agent's messages, oldest first, those containing `search` if given."""
        ...

    async def aclose(self) -> None: ...


class SnapshotStore(Protocol):
    """Immutable bytes named by their BLAKE3-256 digest, apart for every agent."""

    async def put(self, agent: str, data: bytes) -> Snapshot:
        """Store durably before returning; storing the same bytes again is harmless."""
        ...

    async def get(self, agent: str, digest: str) -> SnapshotBytes:
        """Return the bytes, their digest checked; they are the caller's.

        Raises:
            SnapshotNotFound, SnapshotCorrupt
        """
        ...

    async def restore(self, agent: str, digest: str, load: Callable[[SnapshotBytes], T]) -> T:
        """Return `load` of what `get` returns, called beside the event loop.

        Up to about a MiB that lies in memory may be loaded in the loop itself, which takes no
        longer than to change threads.

        Raises:
            SnapshotNotFound, SnapshotCorrupt: as `get`, and `load` was not called; or as it does
        """
        ...

    async def digests(self, agent: str) -> list[str]: ...

    async def sizes(self, agent: str) -> dict[str, int]:
        """Return the bytes that each stored snapshot takes, by digest."""
        ...

    async def has(self, agent: str, digest: str) -> bool:
        """Return whether there are bytes, now durable whoever put them; they are not read."""
        ...

    async def leftovers(self, agent: str, *, remove: bool = False) -> list[int]:
        """Return the sizes of what killed writes left behind, and remove it if asked to.

        A write that goes on meanwhile begins again.
        """
        ...

    async def delete(self, agent: str, digest: str) -> None:
        """Remove; removing what is not there is harmless."""
        ...


class SleepPolicy(Protocol):
    """A pure decision: sleep or not, and why. Compose with `|` and `&`."""

    def decide(self, stats: EpisodeStats) -> SleepReason | None: ...

    def wait_s(self, stats: EpisodeStats) -> float | None:
        """Return the seconds after which it may decide otherwise without a new turn, or None."""
        ...


class Clock(Protocol):
    """Time, so that tests need none."""

    def now(self) -> datetime:
        """Return aware UTC; for people, never for safety."""
        ...

    def monotonic_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
