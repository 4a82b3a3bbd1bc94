"""Over ten thousand tampered snapshots, each refused by the file store or by `load`.

Who rewrites a file meets its digest: the file store refuses every one. Who rewrites the digest in
the log as well meets `load`, which refuses every one but those that differ from a true snapshot in
finite values alone. Such a file is a legitimate snapshot of this model with other fast weights: no
reader could know better, so it has to load, bit for bit.

The long form, ten times as many from other seeds, takes about a minute of a free core:

    pytest -m slow tests/unit/model/test_tampered_snapshots.py
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from blake3 import blake3

from sleepmem.errors import FingerprintMismatch, SnapshotCorrupt
from sleepmem.model.snapshot_bytes import SnapshotFormat
from sleepmem.store import SnapshotFiles

MINE, FOREIGN = "a1" * 32, "b2" * 32
START = b'{"__metadata__":{"fingerprint":"'  # after the 8 bytes of the header's length
HEX = frozenset(b"0123456789abcdef")
SHAPES = [(1, 2, 4, 3), (1, 2, 4, 3), (1, 3, 5, 2)]
REFUSED = (SnapshotCorrupt, FingerprintMismatch)
N_TAMPERED = 10_000

Rng = random.Random
Way = Callable[[Rng], Iterator[bytes]]
Pairs = list[tuple[Any, Any]]  # a header in order; a key may stand in it twice


def weights(seed: int) -> tuple[torch.Tensor, ...]:
    gen = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=gen) for shape in SHAPES)


FORMAT = SnapshotFormat(MINE, weights(0))
GOOD = FORMAT.dump(weights(1))
N_HEADER = 8 + int.from_bytes(GOOD[:8], "little")
HEADER, BODY = GOOD[:N_HEADER], GOOD[N_HEADER:]
TEXT = HEADER[8:].rstrip(b" ")


def expected_refusal(data: bytes) -> type[Exception] | None:
    """Return what `load` has to raise, None for a snapshot with other finite values."""
    if data.startswith(HEADER) and len(data) == len(GOOD):
        values = struct.unpack(f"<{len(BODY) // 4}f", data[N_HEADER:])
        return None if all(map(math.isfinite, values)) else SnapshotCorrupt
    claim, rest = data[8 + len(START) :][:64], data[8 + len(START) + 64 :]
    is_claim = data[8:].startswith(START) and len(claim) == 64 and {*claim} <= HEX
    if is_claim and rest.startswith(b'"}') and claim != MINE.encode():
        return FingerprintMismatch
    return SnapshotCorrupt


def refusal(data: bytes) -> type[Exception] | None:
    """Return what `load` raises; an error of another family is not caught."""
    try:
        loaded = FORMAT.load(data)
    except REFUSED as error:
        return type(error)
    assert FORMAT.dump(loaded) == data
    return None


# the ways to tamper, each endless or exhaustive


def flipped_bits(rng: Rng) -> Iterator[bytes]:
    """Yield every single bit flip: of the length, the header, its padding and the values."""
    for place in range(8 * len(GOOD)):
        bad = bytearray(GOOD)
        bad[place // 8] ^= 1 << place % 8
        yield bytes(bad)


def edited_bytes(rng: Rng) -> Iterator[bytes]:
    while True:
        bad = bytearray(GOOD)
        start = rng.randrange(len(GOOD))  # neighbours, so that keys and numbers change as a whole
        for place in range(start, min(start + rng.randint(1, 8), len(GOOD))):
            bad[place] = rng.choice(b'0123456789abcdef"{}[],:F ') if rng.random() < 0.7 else 0
        if rng.random() < 0.5:
            bad[rng.randrange(len(GOOD))] = rng.randrange(256)
        yield bytes(bad)


def truncated(rng: Rng) -> Iterator[bytes]:
    for n_bytes in range(len(GOOD)):
        yield GOOD[:n_bytes]
        yield GOOD[len(GOOD) - n_bytes :]


def extended(rng: Rng) -> Iterator[bytes]:
    yield from (GOOD + GOOD, GOOD + HEADER, HEADER + GOOD, GOOD + BODY)
    while True:
        more = rng.randbytes(rng.randint(1, 40))
        place = rng.choice([0, 8, N_HEADER, len(GOOD), rng.randrange(len(GOOD))])
        yield GOOD[:place] + rng.choice([more, bytes(len(more)), b" " * len(more)]) + GOOD[place:]


def other_header_lengths(rng: Rng) -> Iterator[bytes]:
    """Yield headers that claim another length, most of them beyond the file."""
    for shift in range(64):
        for more in (-1, 0, 1):
            yield struct.pack("<Q", (1 << shift) + more) + GOOD[8:]
    yield struct.pack("<Q", 2**64 - 1) + GOOD[8:]
    for n_bytes in range(len(GOOD) + 16):
        yield struct.pack("<Q", n_bytes) + GOOD[8:]
    for n_spaces in range(1, 200):  # a length that is true, with more padding than we write
        yield file_of(TEXT + b" " * (len(HEADER) - 8 - len(TEXT) + n_spaces))


def values_that_are_not_finite(rng: Rng) -> Iterator[bytes]:
    """Yield NaN, quiet, signalling and with a payload, and the infinities, at every place."""
    for bits in (0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FBADBAD, 0x7F800000, 0xFF800000):
        for place in range(0, len(BODY), 4):
            yield HEADER + BODY[:place] + struct.pack("<I", bits) + BODY[place + 4 :]


def other_finite_values(rng: Rng) -> Iterator[bytes]:
    """Yield what must load: the first two tensors swapped, zeros, the largest and least numbers."""
    n_bytes = 4 * math.prod(SHAPES[0])
    yield HEADER + BODY[n_bytes : 2 * n_bytes] + BODY[:n_bytes] + BODY[2 * n_bytes :]
    for bits in (0x00000000, 0x80000000, 0x7F7FFFFF, 0xFF7FFFFF, 0x00000001, 0x807FFFFF):
        yield HEADER + struct.pack("<I", bits) * (len(BODY) // 4)
    while True:
        yield FORMAT.dump(weights(rng.randrange(2**32)))


def other_fingerprints(rng: Rng) -> Iterator[bytes]:
    yield SnapshotFormat(FOREIGN, weights(0)).dump(weights(1))
    while True:
        near = bytearray(MINE.encode())
        near[rng.randrange(64)] = rng.choice(b"0123456789abcdef")
        odd = bytes(rng.choices(b'0123456789abcdefABCDEF\\"/. \0', k=rng.choice([63, 64, 65])))
        claim = rng.choice([rng.randbytes(32).hex().encode(), bytes(near), MINE.upper(), odd])
        claim = claim.encode() if isinstance(claim, str) else claim
        yield file_of(TEXT.replace(MINE.encode(), claim))


def rewritten_headers(rng: Rng) -> Iterator[bytes]:
    """Yield headers that are JSON, whose tensors are not those of the model."""
    while True:
        pairs: Pairs = list(json.loads(TEXT).items())
        body = BODY
        for change in rng.sample(CHANGES, k=rng.choice([1, 1, 2, 3])):
            change(rng, pairs)
        ends = [end for _, info in pairs if isinstance(end := last_offset(info), int)]
        if rng.random() < 0.5 and ends and 0 <= max(ends) <= 4 * len(GOOD):
            body = BODY.ljust(max(ends), b"\0")[: max(ends)]  # the size that the header asks for
        text = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
        yield file_of(b"{" + text.encode() + b"}", body)


def last_offset(info: Any) -> Any:
    offsets = info.get("data_offsets") if isinstance(info, dict) else None
    return offsets[-1] if isinstance(offsets, list) and offsets else None


def tensor_of(rng: Rng, pairs: Pairs) -> int:
    return rng.choice([i for i, (key, _) in enumerate(pairs) if key != "__metadata__"])


def rename(rng: Rng, pairs: Pairs) -> None:
    odd = ["../../x", "", "layers.000", "layers.0", "LAYERS.000", "layers.000\0", "x" * 999, "/etc"]
    at = tensor_of(rng, pairs)
    pairs[at] = (rng.choice([*odd, f"layers.{rng.randrange(10**6):03d}"]), pairs[at][1])


def repeat(rng: Rng, pairs: Pairs) -> None:
    """Let a key stand twice, with what it had or with what another has."""
    key, value = rng.choice(pairs)
    other = rng.choice([value, rng.choice(pairs)[1], {"fingerprint": FOREIGN}, None])
    pairs.insert(rng.randint(0, len(pairs)), (key, other))


def add(rng: Rng, pairs: Pairs) -> None:
    n_bytes = rng.choice([0, 4, 4 * rng.randrange(999)])
    start = rng.choice([0, len(BODY), len(BODY) + n_bytes, rng.randrange(len(BODY))])
    info = {"dtype": "F32", "shape": [n_bytes // 4], "data_offsets": [start, start + n_bytes]}
    pairs.append((f"more.{rng.randrange(1000)}", info))


def drop(rng: Rng, pairs: Pairs) -> None:
    pairs.pop(rng.randrange(len(pairs)) if len(pairs) > 2 else tensor_of(rng, pairs))


def shuffle(rng: Rng, pairs: Pairs) -> None:
    pairs.reverse() if rng.random() < 0.3 else rng.shuffle(pairs)


def change_field(name: str, values: Callable[[Rng, Any], Any]) -> Callable[[Rng, Pairs], None]:
    def change(rng: Rng, pairs: Pairs) -> None:
        at = rng.randrange(len(pairs))
        key, info = pairs[at]
        if isinstance(info, dict) and name in info:
            pairs[at] = (key, info | {name: values(rng, info[name])})

    return change


def other_dtype(rng: Rng, old: Any) -> Any:
    names = ["F64", "F16", "BF16", "I32", "U32", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "f32"]
    return rng.choice([*names, "", "F32 ", "object", None, 4, ["F32"]])


def other_shape(rng: Rng, old: Any) -> Any:
    odd = [[], [24], [0], [-1, -24], [2**63, 2], [10**400], [1] * 999, [24.0], [True], "24"]
    mixed = rng.sample(old, len(old)) if isinstance(old, list) else old
    return rng.choice([*odd, mixed, [rng.randrange(-9, 99) for _ in range(rng.randrange(6))]])


def other_offsets(rng: Rng, old: Any) -> Any:
    edges = [
        0,
        96,
        192,
        len(BODY),
        len(GOOD),
        2**31,
        2**63,
        2**64,
        10**400,
        -1,
        -96,
        0.5,
        True,
        None,
    ]
    moved = [end + rng.choice([-4, 4, 96]) for end in old] if old and None not in old else old
    return rng.choice([moved, old[::-1], old[:1], old * 2, [rng.choice(edges) for _ in range(2)]])


def other_metadata(rng: Rng, old: Any) -> Any:
    return rng.choice([FOREIGN, MINE, MINE[:-1], "", 7, None, [MINE], {"x": MINE}, rng.random()])


CHANGES: list[Callable[[Rng, Pairs], None]] = [
    *(rename, repeat, add, drop, shuffle),
    change_field("dtype", other_dtype),
    change_field("shape", other_shape),
    change_field("data_offsets", other_offsets),
    change_field("fingerprint", other_metadata),
]


def json_tricks(rng: Rng) -> Iterator[bytes]:
    """Yield headers that mean the same to some parsers, or cost them much."""
    for depth in (1, 100, 1000, 10_000, 100_000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            yield file_of(opening * depth)
            yield file_of(opening * depth + b"1" + closing * depth)
            yield file_of(TEXT[:-1] + b',"a":' + opening * depth + b"1" + closing * depth + b"}")
    for number in (
        b"9" * 4000,
        b"9" * 100_000,
        b"1e999999999",
        b"-0",
        b"NaN",
        b"-Infinity",
        b"96.0",
    ):
        yield file_of(TEXT.replace(b"96", number))
        yield file_of(TEXT.replace(b"96", number, 1))
    text = TEXT.decode()
    for coding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"):
        yield file_of(text.replace("+", "").encode(coding))
    for old, new in (
        *(("layers", r"\u006cayers"), ("layers", "l\u0430yers"), ("{", "{ "), (":", " :")),
        *((",", ",\n"), ("}", ",}"), ("}", "/**/}"), ('"', "'"), ("F32", "F32\ud800")),
        *(("__metadata__", "__proto__"), ("fingerprint", "Fingerprint"), ("]}", ']},"":{}')),
    ):
        for count in (1, -1):
            yield file_of(text.replace(old, new, count).encode("utf-8", "surrogatepass"))
    for padding in b"\0\t\n\r}#\xff":
        yield HEADER[: 8 + len(TEXT)] + bytes([padding]) * (N_HEADER - 8 - len(TEXT)) + BODY
    yield file_of(TEXT + TEXT)
    yield file_of(b"\xff" * len(TEXT))


def file_of(text: bytes, body: bytes = BODY) -> bytes:
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


WAYS: dict[Way, int] = {  # -> how many of them at most
    flipped_bits: 10_000,
    edited_bytes: 2000,
    truncated: 2000,
    extended: 600,
    other_header_lengths: 2000,
    values_that_are_not_finite: 1000,
    other_finite_values: 300,
    other_fingerprints: 500,
    rewritten_headers: 3000,
    json_tricks: 200,
}


def drawn(way: Way, seed: int, n: int) -> list[bytes]:
    """Return n files, or all there are, none of them twice and none the true one."""
    found: dict[bytes, None] = {}
    for data in way(Rng(seed)):
        if len(found) == n:
            break
        if data != GOOD:
            found[data] = None
    return list(found)


@cache
def tampered() -> dict[Way, list[bytes]]:
    return {way: drawn(way, 0, n) for way, n in WAYS.items()}


def test_there_are_ten_thousand_and_every_part_of_the_file_is_met() -> None:
    every = {data for found in tampered().values() for data in found}
    assert sum(expected_refusal(data) is not None for data in every) >= N_TAMPERED
    assert sum(expected_refusal(data) is FingerprintMismatch for data in every) >= 300
    assert HEADER.endswith(b" ")  # so there is padding to tamper with
    assert len(tampered()[flipped_bits]) == 8 * len(GOOD)


@pytest.mark.parametrize("way", WAYS, ids=attrgetter("__name__"))
def test_load_refuses_all_but_other_finite_values(way: Way) -> None:
    found = tampered()[way]
    assert found
    for data in found:
        assert refusal(data) is expected_refusal(data), data[:400]


def test_only_other_values_load() -> None:
    """The ways that leave header and size alone are the only ones that may load."""
    legitimate = {flipped_bits, edited_bytes, other_finite_values}
    for way, found in tampered().items():
        n_loaded = sum(expected_refusal(data) is None for data in found)
        assert (n_loaded > 0) is (way in legitimate)
    assert all(expected_refusal(data) is None for data in tampered()[other_finite_values])


def test_no_tensor_is_made_of_another_header_or_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "frombuffer", None)
    for found in tampered().values():
        for data in found:
            if not data.startswith(HEADER) or len(data) != len(GOOD):
                assert refusal(data)


async def test_store_refuses_every_one_by_its_digest(ram: Path) -> None:
    store = SnapshotFiles(ram)
    true = (await store.put("ana", GOOD)).digest
    every = {data for found in tampered().values() for data in found}
    for data in every:
        (ram / "ana" / true).write_bytes(data)
        with pytest.raises(SnapshotCorrupt) as caught:
            await store.get("ana", true)
        assert caught.value.digest == true
    assert len(every) >= N_TAMPERED


async def test_forged_digest_gets_as_far_as_load(tmp_path: Path) -> None:
    store = SnapshotFiles(tmp_path)
    (tmp_path / "ana").mkdir()
    for found in tampered().values():
        for data in found[::100]:
            forged = blake3(data).hexdigest()
            (tmp_path / "ana" / forged).write_bytes(data)
            assert refusal(await store.get("ana", forged)) is expected_refusal(data)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("way", WAYS, ids=attrgetter("__name__"))
def test_load_refuses_many_more(way: Way, seed: int) -> None:
    for data in drawn(way, seed, 10 * WAYS[way]):
        assert refusal(data) is expected_refusal(data), data[:400]
