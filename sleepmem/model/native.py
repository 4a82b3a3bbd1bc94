"""The native hybrid behind the `SleepLM` seam: ids and opaque states in, ids and bytes out.

One torch thread per call, so that the bytes of a snapshot do not depend on the machine's load or
on how many cores it has. Holds nothing per agent.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.errors import ConfigError, NonFiniteWeights
from sleepmem.model.chat_tokens import ByteDetokenizer, ChatTokens
from sleepmem.model.machine import processor
from sleepmem.model.network import LayerState, SleepForCausalLM
from sleepmem.model.sampling import sample
from sleepmem.model.sleep import n_layer_passes, sleep_steps
from sleepmem.model.snapshot_bytes import SnapshotFormat
from sleepmem.model.together import step_together
from sleepmem.protocols import SleepStep, SnapshotBytes
from sleepmem.types import Message, Sampling

FastWeights = tuple[Tensor, ...]  # (1, heads, d_k, d_v) float32 for each recurrent layer

BLOCK = 64  # tokens of a step of a sleep; it takes about as long as to decode a token or two

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class WakeState:
    """A window being lived: layer states, how many tokens they span, what they predict.

    Layer states are replaced, never written into, so a copy shares them.
    """

    layers: list[LayerState]
    n_tokens: int
    logits: Tensor | None  # (vocab,) after the last token; None at the start


def _on_one_thread(
    method: Callable[Concatenate[NativeSleepLM, P], R],
) -> Callable[Concatenate[NativeSleepLM, P], R]:
    """Run without gradients on one torch thread, and put the number of threads back."""

    @wraps(method)
    def wrapped(self: NativeSleepLM, /, *args: P.args, **kwargs: P.kwargs) -> R:
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                return method(self, *args, **kwargs)
        finally:
            torch.set_num_threads(n_threads)

    return wrapped


class NativeSleepLM:
    """A checkpoint of the native model. See `sleepmem.protocols.SleepLM` for the contract."""

    def __init__(self, lm: SleepForCausalLM, chat: ChatTokens, fingerprint: str) -> None:
        self._lm = lm.eval().float()
        self._chat = chat
        self.fingerprint = fingerprint
        self.window: int = lm.config.window
        self.vocabulary_size: int = lm.config.vocab_size
        self.stop_ids = frozenset({chat.end})
        self.retention_floor: float | None = lm.config.retention_floor
        self._format = SnapshotFormat(fingerprint, self.blank())

    @property
    def numerics(self) -> Mapping[str, str]:
        return {
            "torch": torch.__version__,
            "sleepmem": version("sleepmem"),
            "device": "cpu",
            "dtype": "float32",
            "threads": "1",
            "block": str(BLOCK),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "machine": platform.machine(),
            "processor": processor(),
        }

    def encode(
        self, message: Message, *, tools: Sequence[dict[str, Any]] | None = None
    ) -> list[int]:
        return self._chat.encode(message, tools=tools)

    def reply_prefix(self) -> list[int]:
        return self._chat.reply_prefix()

    def detokenizer(self) -> ByteDetokenizer:
        return self._chat.detokenizer()

    def blank(self) -> FastWeights:
        return tuple(self._lm.model.blank(1))

    def dump(self, weights: FastWeights) -> bytes:
        return self._format.dump(weights)

    def load(self, data: SnapshotBytes) -> FastWeights:
        return self._format.load(data)

    def wake(self, weights: FastWeights) -> WakeState:
        return WakeState(self._lm.model.window_start(weights), 0, None)

    def copy(self, state: WakeState) -> WakeState:
        return WakeState(list(state.layers), state.n_tokens, state.logits)

    @_on_one_thread
    def read(self, state: WakeState, token_ids: Sequence[int]) -> None:
        if token_ids:
            state.logits = self._forward(state, token_ids)[-1]

    @_on_one_thread
    def next(self, states: Sequence[WakeState], sampling: Sequence[Sampling]) -> list[int]:
        chosen = []
        for state, how in zip(states, sampling, strict=True):
            self._check_length(state.n_tokens + 1)
            if state.logits is None:
                raise ConfigError(
                    "nothing was read, so there is nothing to continue",
                    hint="Read at least the reply prefix first.",
                )
            chosen.append(sample(state.logits, how, position=state.n_tokens))
        if len(states) == 1:
            [state] = states
            state.logits = self._forward(state, chosen)[-1]
            return chosen
        logits, layers = step_together(self._lm, [state.layers for state in states], chosen)
        for state, after, row in zip(states, layers, logits, strict=True):
            state.layers, state.logits = after, row.clone()
            state.n_tokens += 1
        return chosen

    def sleep(
        self, weights: FastWeights, token_ids: Sequence[int], passes: int
    ) -> Iterator[SleepStep]:
        if passes < 1:
            raise ConfigError(f"passes is {passes}", hint="Sleep with at least one pass.")
        self._check_length(len(token_ids))
        if not token_ids:
            raise ConfigError("an empty window cannot be slept on")
        return self._sleep(weights, token_ids, passes)

    def _sleep(
        self, weights: FastWeights, token_ids: Sequence[int], passes: int
    ) -> Iterator[SleepStep]:
        ids = torch.tensor([list(token_ids)])
        steps = sleep_steps(self._lm, weights, ids, passes, block=BLOCK)
        n_steps = n_layer_passes(self._lm, passes) * math.ceil(len(token_ids) / BLOCK)
        for index in range(n_steps):
            new = self._step(steps)
            if new is not None:
                _check_finite(new)
            yield SleepStep(index, n_steps, new)

    @_on_one_thread
    def _step(self, steps: Iterator[FastWeights | None]) -> FastWeights | None:
        return next(steps)

    @_on_one_thread
    def loss(self, state: WakeState, token_ids: Sequence[int]) -> list[float]:
        if not token_ids:
            return []
        before = state.logits
        logits = self._forward(state, token_ids)
        state.logits = logits[-1]
        targets = torch.tensor(list(token_ids))
        first = math.nan
        if before is not None:
            first = float(F.cross_entropy(before, targets[0]))
        return [first, *F.cross_entropy(logits[:-1], targets[1:], reduction="none").tolist()]

    def _forward(self, state: WakeState, token_ids: Sequence[int]) -> Tensor:
        """Read ids into `state`; return the logits (tokens, vocab) after each of them."""
        self._check_length(state.n_tokens + len(token_ids))
        h = self._lm.embed(torch.tensor([list(token_ids)]))
        h, state.layers = self._lm.model(h, state.layers)
        state.n_tokens += len(token_ids)
        return self._lm.logits(h[0])

    def _check_length(self, n_tokens: int) -> None:
        if n_tokens > self.window:
            raise ConfigError(
                f"{n_tokens} tokens do not fit the window of {self.window}",
                hint="Sleep first, or read less.",
            )


def _check_finite(weights: FastWeights) -> None:
    for layer, tensor in enumerate(weights):
        if not bool(torch.isfinite(tensor).all()):
            raise NonFiniteWeights(layer)
