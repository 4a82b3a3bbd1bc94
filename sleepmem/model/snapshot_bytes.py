"""Fast weights to canonical bytes and back; the bytes are trusted in nothing.

A snapshot is a safetensors file. Its header (names, dtypes, shapes, offsets, fingerprint) follows
from the model alone, so loading compares it with the one expected, byte by byte, before a tensor
is made: nothing in the file can choose a name, a shape or a size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import torch
from safetensors.torch import save
from torch import Tensor

from sleepmem.errors import FingerprintMismatch, SnapshotCorrupt

MAX_HEADER = 1 << 20  # bytes; a header that is not ours is not parsed beyond this


class SnapshotFormat:
    """The snapshot files of one model.

    Args:
        fingerprint: of the model; stands in the header.
        blank: fast weights that give the shapes, float32.
    """

    def __init__(self, fingerprint: str, blank: Sequence[Tensor]) -> None:
        self._fingerprint = fingerprint
        self._shapes = [tensor.shape for tensor in blank]
        data = self.dump(blank)
        self._n_bytes = len(data)
        self._header = data[: 8 + int.from_bytes(data[:8], "little")]

    def dump(self, weights: Sequence[Tensor]) -> bytes:
        """Return the file for fast weights of these shapes."""
        # zero-padded names: safetensors orders tensors by name, and order is part of the bytes
        tensors = {f"layers.{i:03d}": tensor.contiguous() for i, tensor in enumerate(weights)}
        return save(tensors, {"fingerprint": self._fingerprint})

    def load(self, data: bytes) -> tuple[Tensor, ...]:
        """Return the fast weights of a file.

        Raises:
            FingerprintMismatch: the header names another model.
            SnapshotCorrupt: header, size or a value is not what this model writes.
        """
        if not data.startswith(self._header):
            found = _fingerprint_of(data)
            if found is not None and found != self._fingerprint:
                raise FingerprintMismatch("the snapshot", found, self._fingerprint)
            raise self._corrupt(data, "its header is not the one that this model writes")
        if len(data) != self._n_bytes:
            raise self._corrupt(data, f"{len(data)} bytes instead of {self._n_bytes}")
        flat = torch.frombuffer(bytearray(data[len(self._header) :]), dtype=torch.float32)
        if not bool(torch.isfinite(flat).all()):
            raise self._corrupt(data, "a value is not finite")
        parts = flat.split([shape.numel() for shape in self._shapes])
        return tuple(part.view(shape) for part, shape in zip(parts, self._shapes, strict=True))

    def _corrupt(self, data: bytes, problem: str) -> SnapshotCorrupt:
        return SnapshotCorrupt(f"of {len(data)} bytes", problem)


def _fingerprint_of(data: bytes) -> str | None:
    """Return the fingerprint that a foreign header claims, or None."""
    n_header = int.from_bytes(data[:8], "little")
    if not 0 < n_header <= min(MAX_HEADER, len(data) - 8):
        return None
    try:
        header = json.loads(data[8 : 8 + n_header])
        found = header["__metadata__"]["fingerprint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_digest = isinstance(found, str) and re.fullmatch(r"[0-9a-f]{64}", found)
    return found if is_digest else None
