"""A sleep-capable language model without torch: deterministic, fast, and readable.

It reads bytes. Awake it answers `colour?` with what stands behind `colour=` in its window or,
failing that, in its fast weights; to everything else it answers a word that depends on every id
it has read and on its fast weights, so a state that is not what it should be shows in the reply.

Its fast weights have a fixed size: a trace of all that was slept, a table of trigrams (what is in
it costs less loss), and the last pairs `key=value`. More passes write more trigrams.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from sleepmem.errors import ConfigError, FingerprintMismatch, SnapshotCorrupt
from sleepmem.protocols import Detokenizer, SleepStep, SnapshotBytes
from sleepmem.types import JsonObject, Message, Role, Sampling

ROLES = {Role.SYSTEM: 256, Role.USER: 257, Role.ASSISTANT: 258, Role.TOOL: 259}
CALL, CLOSE = 260, 261
N_IDS = 262
LAYERS = 2  # steps per pass
SLOTS, PAIRS, MAX_TEXT = 1024, 32, 32  # slots of the table; pairs, and bytes of a key or value
UNKNOWN, SLEPT, READ = 5.0, 0.5, 0.1  # nats of a trigram that is new, slept on, in the window
MAGIC = b"FAKE-FAST-WEIGHTS-1\n"

Trigram = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FakeWeights:
    """Fast weights; immutable."""

    trace: bytes = bytes(32)
    table: bytes = bytes(SLOTS)
    pairs: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class FakeWakeState:
    """Fast weights and, for a KV cache, the ids themselves."""

    weights: FakeWeights
    ids: list[int] = field(default_factory=list)


class FakeSleepLM:
    """A `SleepLM` for tests.

    Args:
        window: the most tokens a wake state or a sleep may span.
        name: goes into the fingerprint, so that two fakes can be strangers.
    """

    def __init__(self, window: int = 512, *, name: str = "fake") -> None:
        self._window = window
        self._fingerprint = blake3(f"{name}/{window}".encode()).hexdigest()
        self.retention_floor: float | None = None
        self.numerics_profile: dict[str, str] = {"model": "fake", "dtype": "bytes"}

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def window(self) -> int:
        return self._window

    @property
    def stop_ids(self) -> frozenset[int]:
        return frozenset({CLOSE})

    @property
    def numerics(self) -> Mapping[str, str]:
        return self.numerics_profile

    def encode(self, message: Message, *, tools: Sequence[JsonObject] | None = None) -> list[int]:
        ids = [ROLES[message.role], *message.content.encode()]
        if message.role is Role.SYSTEM and tools:
            ids += json.dumps(list(tools), sort_keys=True).encode()
        for call in message.tool_calls:
            ids += [CALL, *call.model_dump_json().encode()]
        return [*ids, CLOSE]

    def reply_prefix(self) -> list[int]:
        return [ROLES[Role.ASSISTANT]]

    def detokenizer(self) -> Detokenizer:
        return _Bytes()

    def blank(self) -> FakeWeights:
        return FakeWeights()

    def dump(self, weights: FakeWeights) -> bytes:
        pairs = b"".join(
            bytes([len(key)]) + key + bytes([len(value)]) + value for key, value in weights.pairs
        )
        body = weights.trace + weights.table + bytes([len(weights.pairs)]) + pairs
        data = MAGIC + bytes.fromhex(self.fingerprint) + body
        return data + blake3(data).digest()

    def load(self, data: SnapshotBytes) -> FakeWeights:
        digest = blake3(data).hexdigest()
        data, checksum = bytes(data[:-32]), data[-32:]
        if not data.startswith(MAGIC):
            raise SnapshotCorrupt(digest, "not fast weights of the fake model")
        if blake3(data).digest() != checksum:
            raise SnapshotCorrupt(digest, "its checksum does not fit")
        reader = _Reader(data, len(MAGIC), digest)
        owner = reader.take(32).hex()
        if owner != self.fingerprint:
            raise FingerprintMismatch(f"snapshot {digest}", owner, self.fingerprint)
        trace, table = reader.take(32), reader.take(SLOTS)
        n_pairs = reader.take(1)[0]
        pairs = tuple((reader.text(), reader.text()) for _ in range(n_pairs))
        if n_pairs > PAIRS or reader.at != len(data):
            raise SnapshotCorrupt(digest, "more than the fake model writes")
        return FakeWeights(trace, table, pairs)

    def wake(self, weights: FakeWeights) -> FakeWakeState:
        return FakeWakeState(weights)

    def copy(self, state: FakeWakeState) -> FakeWakeState:
        return FakeWakeState(state.weights, list(state.ids))

    def read(self, state: FakeWakeState, token_ids: Sequence[int]) -> None:
        self._check(token_ids, len(state.ids))
        state.ids.extend(token_ids)

    def next(self, states: Sequence[FakeWakeState], sampling: Sequence[Sampling]) -> list[int]:
        for state in states:
            self._check([], len(state.ids) + 1)
        found = [_choose(state, how) for state, how in zip(states, sampling, strict=True)]
        for state, token_id in zip(states, found, strict=True):
            self.read(state, [token_id])
        return found

    def sleep(
        self, weights: FakeWeights, token_ids: Sequence[int], passes: int
    ) -> Iterator[SleepStep]:
        if passes < 1:
            raise ConfigError(f"a sleep takes at least one pass, not {passes}")
        ids = list(token_ids)
        self._check(ids, 0)
        n_steps = passes * LAYERS
        for index in range(n_steps - 1):
            yield SleepStep(index, n_steps)
        yield SleepStep(n_steps - 1, n_steps, _slept(weights, ids, passes))

    def loss(self, state: FakeWakeState, token_ids: Sequence[int]) -> list[float]:
        self._check(token_ids, len(state.ids))
        n_read = len(state.ids)
        ids = [*state.ids, *token_ids]
        seen = set(_trigrams(state.ids))
        losses = []
        for i in range(n_read, len(ids)):
            trigram = _trigram(ids, i)
            held = _holds(state.weights.table, trigram)
            losses.append(READ if trigram in seen else SLEPT if held else UNKNOWN)
            seen.add(trigram)
        if losses and not n_read:
            losses[0] = float("nan")
        state.ids = ids
        return losses

    def _check(self, token_ids: Sequence[int], n_read: int) -> None:
        if n_read + len(token_ids) > self.window:
            raise ConfigError(
                f"{n_read + len(token_ids)} tokens do not fit the window of {self.window}"
            )
        if any(not 0 <= token_id < N_IDS for token_id in token_ids):
            raise ConfigError(f"a token id lies outside [0, {N_IDS})")


class _Bytes:
    """Bytes to text, whole characters at a time."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(bytes([token_id])) if token_id < 256 else ""

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


@dataclass
class _Reader:
    data: bytes
    at: int
    digest: str

    def take(self, n_bytes: int) -> bytes:
        found = self.data[self.at : self.at + n_bytes]
        if len(found) < n_bytes:
            raise SnapshotCorrupt(self.digest, "cut short")
        self.at += n_bytes
        return found

    def text(self) -> bytes:
        return self.take(self.take(1)[0])


def _trigram(ids: Sequence[int], i: int) -> Trigram:
    return (ids[i - 2] if i > 1 else -1, ids[i - 1] if i else -1, ids[i])


def _trigrams(ids: Sequence[int]) -> Iterator[Trigram]:
    return (_trigram(ids, i) for i in range(len(ids)))


def _place(trigram: Trigram) -> tuple[int, int, int]:
    """Return slot, tag and the pass from which on a trigram is written (1 to 8)."""
    found = blake3(repr(trigram).encode()).digest()
    return int.from_bytes(found[:2], "big") % SLOTS, found[2] or 1, found[3] % 8 + 1


def _holds(table: bytes, trigram: Trigram) -> bool:
    slot, tag, _ = _place(trigram)
    return table[slot] == tag


def _slept(weights: FakeWeights, ids: list[int], passes: int) -> FakeWeights:
    table = bytearray(weights.table)
    for slot, tag, since in map(_place, _trigrams(ids)):
        if since <= passes:
            table[slot] = tag
    trace = blake3(weights.trace + _packed(ids) + passes.to_bytes(4, "big")).digest()
    pairs = dict(weights.pairs)
    for key, value in _pairs(ids):
        pairs.pop(key, None)
        pairs[key] = value
    return FakeWeights(trace, bytes(table), tuple(pairs.items())[-PAIRS:])


def _pairs(ids: Sequence[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield `key=value` pairs, oldest first; a border ends a word."""
    text = bytes(i if i < 256 else 0 for i in ids)
    for key, value in re.findall(rb"(\w+)=(\w+)", text):
        yield key[:MAX_TEXT], value[:MAX_TEXT]


def _packed(ids: Sequence[int]) -> bytes:
    return b"".join(i.to_bytes(2, "big") for i in ids)


def _choose(state: FakeWakeState, sampling: Sampling) -> int:
    chosen = _wanted(state)
    if sampling.temperature > 0 and chosen != CLOSE:
        chosen = ord("a") + _random(state, sampling.seed) % 26
    if sampling.allowed_ids is not None and chosen not in sampling.allowed_ids:
        allowed = sorted(sampling.allowed_ids)
        chosen = allowed[_random(state, sampling.seed) % len(allowed)]
    return chosen


def _random(state: FakeWakeState, seed: int) -> int:
    key = blake3(f"{seed}/{len(state.ids)}".encode() + state.weights.trace).digest()
    return int.from_bytes(key[:4], "big")


def _wanted(state: FakeWakeState) -> int:
    """Return the next id of the answer that the state has to give."""
    start = len(state.ids) - 1
    while start >= 0 and state.ids[start] < 256:
        start -= 1
    if start < 0 or state.ids[start] != ROLES[Role.ASSISTANT]:
        return CLOSE
    answer, n_given = _answer(state.weights, state.ids[:start]), len(state.ids) - start - 1
    return answer[n_given] if n_given < len(answer) else CLOSE


def _answer(weights: FakeWeights, ids: list[int]) -> bytes:
    text = bytes(i if i < 256 else 0 for i in ids)
    asked = re.findall(rb"(\w+)\?\W*$", text)
    if asked:
        known = {**dict(weights.pairs), **dict(_pairs(ids))}
        return known.get(asked[-1][:MAX_TEXT], b"unknown")
    return blake3(weights.trace + _packed(ids)).hexdigest()[:6].encode()
