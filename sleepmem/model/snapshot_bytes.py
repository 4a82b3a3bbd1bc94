"""Fast weights to canonical bytes and back; the bytes are trusted in nothing.

A snapshot is a safetensors file. Its header (names, dtypes, shapes, offsets, fingerprint) follows
from the model alone, so loading compares it with the one expected, byte by byte, before a tensor
is made: nothing in the file can choose a name, a shape or a size, and no parser ever reads it.

Values have to be finite and no more. With unit keys, and decay and gate in [0, 1], a token adds at
most |v|^2 to the squared norm of a layer; how many tokens were lived through is not in the file, so
a bound that holds for every life would be passed by nothing but absurd values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import groupby

import torch
from safetensors.torch import save
from torch import Tensor

from sleepmem.errors import FingerprintMismatch, SnapshotCorrupt
from sleepmem.protocols import SnapshotBytes

_CLAIM = re.compile(rb'\{"__metadata__":\{"fingerprint":"([0-9a-f]{64})"\}')


class SnapshotFormat:
    """The snapshot files of one model.

    Args:
        fingerprint: of the model; stands in the header.
        blank: fast weights that give the shapes, float32.
    """

    def __init__(self, fingerprint: str, blank: Sequence[Tensor]) -> None:
        self._fingerprint = fingerprint
        # layers of one shape are parted at once: each torch call costs as much as reading 100 KiB
        runs = ((shape, len(list(run))) for shape, run in groupby(layer.shape for layer in blank))
        self._runs = [(torch.Size((n, *shape)), n * shape.numel()) for shape, n in runs]
        data = self.dump(blank)
        self._n_bytes = len(data)
        self._header = data[: 8 + int.from_bytes(data[:8], "little")]

    def dump(self, weights: Sequence[Tensor]) -> bytes:
        """Return the file for fast weights of these shapes."""
        # zero-padded names: safetensors orders tensors by name, and order is part of the bytes
        tensors = {f"layers.{i:03d}": tensor.contiguous() for i, tensor in enumerate(weights)}
        return save(tensors, {"fingerprint": self._fingerprint})

    def load(self, data: SnapshotBytes) -> tuple[Tensor, ...]:
        """Return the fast weights of a file; they lie in `data` if it can be written.

        Raises:
            FingerprintMismatch: the header names another model.
            SnapshotCorrupt: header, size or a value is not what this model writes.
        """
        if data[: len(self._header)] != self._header:
            claim = _CLAIM.match(data, 8)  # every model writes its fingerprint at this place
            if claim and (found := claim[1].decode()) != self._fingerprint:
                raise FingerprintMismatch("the snapshot", found, self._fingerprint)
            raise self._corrupt(data, "its header is not the one that this model writes")
        if len(data) != self._n_bytes:
            raise self._corrupt(data, f"{len(data)} bytes instead of {self._n_bytes}")
        if not self._runs:  # attention alone; a buffer of nothing is refused by torch
            return ()
        body = bytearray(data) if memoryview(data).readonly else data
        flat = torch.frombuffer(body, dtype=torch.float32, offset=len(self._header))
        # what is not finite stays in a sum; finite values may overflow it, so the ends have the
        # last word, and a NaN is both. Neither pass makes a second tensor
        if not math.isfinite(flat.sum()) and not all(map(math.isfinite, torch.aminmax(flat))):
            raise self._corrupt(data, "a value is not finite")
        parts = flat.split([n_values for _, n_values in self._runs])
        runs = zip(parts, self._runs, strict=True)
        return tuple(layer for part, (shape, _) in runs for layer in part.view(shape).unbind())

    def _corrupt(self, data: SnapshotBytes, problem: str) -> SnapshotCorrupt:
        return SnapshotCorrupt(f"of {len(data)} bytes", problem)
