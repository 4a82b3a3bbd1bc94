"""Tampered snapshots are refused before a tensor is made of them."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from sleepmem.errors import FingerprintMismatch, SnapshotCorrupt
from sleepmem.model.snapshot_bytes import SnapshotFormat

MINE, FOREIGN = "a" * 64, "b" * 64


def weights(seed: int = 0) -> tuple[torch.Tensor, ...]:
    gen = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(1, 2, 4, 3, generator=gen) for _ in range(11))


@pytest.fixture(scope="module")
def fmt() -> SnapshotFormat:
    return SnapshotFormat(MINE, weights())


def test_round_trip_is_bit_exact_and_canonical(fmt: SnapshotFormat) -> None:
    loaded = fmt.load(fmt.dump(weights(3)))
    assert all(torch.equal(a, b) for a, b in zip(loaded, weights(3), strict=True))
    assert fmt.dump(loaded) == fmt.dump(weights(3))


def test_layers_of_several_shapes_keep_their_order() -> None:
    shapes = [(1, 2, 3), (1, 2, 3), (1, 3, 2), (1, 2, 3), (5,), (5,), (5,)]
    gen = torch.Generator().manual_seed(4)
    mixed = [torch.randn(shape, generator=gen) for shape in shapes]
    fmt = SnapshotFormat(MINE, mixed)
    loaded = fmt.load(fmt.dump(mixed))
    assert [tuple(layer.shape) for layer in loaded] == shapes
    assert all(map(torch.equal, loaded, mixed))


@pytest.mark.parametrize("seen_as", [bytearray, memoryview])
def test_weights_lie_in_what_can_be_written_and_nowhere_else(
    fmt: SnapshotFormat, seen_as: type[bytearray | memoryview]
) -> None:
    data = seen_as(bytearray(fmt.dump(weights(3))))
    given = fmt.load(data)
    copied = [fmt.load(bytes(data)), fmt.load(memoryview(data).toreadonly())]
    data[-4:] = struct.pack("<f", 7.0)
    assert given[-1].flatten()[-1] == 7.0
    assert all(torch.equal(weights_[-1], weights(3)[-1]) for weights_ in copied)


@pytest.mark.parametrize("sign", [1, -1])
def test_finite_values_load_though_their_sum_is_not_finite(fmt: SnapshotFormat, sign: int) -> None:
    largest = [torch.full_like(w, sign * torch.finfo(w.dtype).max) for w in weights()]
    assert all(map(torch.equal, fmt.load(fmt.dump(largest)), largest))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_header_is_refused(fmt: SnapshotFormat, data: st.DataObject) -> None:
    good = fmt.dump(weights(1))
    n_header = 8 + int.from_bytes(good[:8], "little")
    place = data.draw(st.integers(0, n_header - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((SnapshotCorrupt, FingerprintMismatch)):
        fmt.load(bytes(bad))


@given(data=st.binary(max_size=400))
def test_any_bytes_are_refused(fmt: SnapshotFormat, data: bytes) -> None:
    with pytest.raises(SnapshotCorrupt):
        fmt.load(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(fmt: SnapshotFormat, value: float) -> None:
    bad = weights(2)
    bad[5][0, 1, 2, 0] = value
    with pytest.raises(SnapshotCorrupt, match="finite"):
        fmt.load(fmt.dump(bad))


def header_of(header: object, n_bytes: int = 64) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n_bytes)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 0),
        header_of([]),
        header_of({"__metadata__": {"fingerprint": 7}}),
        header_of({"__metadata__": []}),
        b"[" * 5000,
        struct.pack("<Q", 5000) + b"[" * 5000,
    ],
)
def test_hostile_headers_are_refused(fmt: SnapshotFormat, data: bytes) -> None:
    with pytest.raises(SnapshotCorrupt):
        fmt.load(data)


def test_other_names_shapes_and_dtypes_are_refused(fmt: SnapshotFormat) -> None:
    named = {f"layers.{i:03d}": w for i, w in enumerate(weights())}
    renamed = {("../../x" if k.endswith("005") else k): v for k, v in named.items()}
    for tensors in (
        renamed,
        {k: v.double() for k, v in named.items()},
        {k: v.view(1, 2, 3, 4) for k, v in named.items()},
        named | {"more": torch.zeros(1)},
    ):
        with pytest.raises(SnapshotCorrupt):
            fmt.load(save(tensors, {"fingerprint": MINE}))


def test_a_strangers_snapshot_is_named_as_such(fmt: SnapshotFormat) -> None:
    stranger = SnapshotFormat(FOREIGN, weights())
    with pytest.raises(FingerprintMismatch) as caught:
        fmt.load(stranger.dump(weights()))
    assert (caught.value.found, caught.value.expected) == (FOREIGN, MINE)


def test_model_without_fast_weights_reads_what_it_writes() -> None:
    fmt = SnapshotFormat(MINE, ())
    assert fmt.load(fmt.dump(())) == ()
    with pytest.raises(SnapshotCorrupt):
        fmt.load(fmt.dump(()) + bytes(4))


def huge_files(good: bytes) -> Iterator[bytes]:
    """Yield large headers, and small ones that ask for much; about 8 MiB at most."""
    n_bytes, n_header = 8 << 20, 8 + int.from_bytes(good[:8], "little")
    text = good[8:n_header].rstrip()
    for piece in (b"[", b'{"a":', b"9", b"[],", b" ", b'{"":{}},', text[:32], b"\0"):
        many = piece * (n_bytes // len(piece))
        yield struct.pack("<Q", len(many)) + many
        yield struct.pack("<Q", len(many) + len(text) - 1) + text[:-1] + many
    one = b',"%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    many = text[:-1] + b"".join(one % i for i in range(100_000)) + b"}"
    yield struct.pack("<Q", len(many)) + many + good[n_header:]
    for number in (b"1099511627776", b"9223372036854775807", b"18446744073709551615"):
        asked = text.replace(b"[1,2,4,3]", b"[" + number + b"]").replace(b"96", number)
        yield struct.pack("<Q", len(asked)) + asked + good[n_header:]
    for claimed in (2**30, 2**40, 2**62, 2**63, 2**64 - 1):
        yield struct.pack("<Q", claimed) + good[8:]
    yield good + bytes(n_bytes)
    yield good[:n_header] + b"\xff" * n_bytes


@contextmanager
def address_space(n_more: int) -> Iterator[None]:
    """Let the process grow by at most n_more bytes, what torch and Rust take included."""
    resource = pytest.importorskip("resource")
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + n_more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="what is in use is read from /proc")
def test_huge_headers_cost_no_memory(fmt: SnapshotFormat) -> None:
    for data in huge_files(fmt.dump(weights(1))):
        with address_space(32 << 20):
            tracemalloc.start()
            try:
                with pytest.raises(SnapshotCorrupt):
                    fmt.load(data)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 1 << 16
