"""The contract of `SnapshotStore`: subclass it and override the fixture `store`."""

from __future__ import annotations

import asyncio
import threading

import pytest
from blake3 import blake3

from sleepmem.errors import ConfigError, FingerprintMismatch, SnapshotCorrupt, SnapshotNotFound
from sleepmem.protocols import SnapshotBytes, SnapshotStore

MIB = 1 << 20
NAMES = [
    "ana",
    "Ana",
    "ANA",
    ".",
    "..",
    "a/b",
    "../ana",
    "a%2fb",
    "~",
    "-",
    "\u00e4",
    "a\u0308",
    "名前",
    "🦊",
]
NAMES += ["x" * 255, "x" * 254 + "y", "\N{FOX FACE}" * 255]


class SnapshotStoreContract:
    """What every snapshot store promises.

    A store whose agents must be born before they have snapshots is given all of `NAMES`.
    """

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def store(self) -> SnapshotStore:
        """Return an empty store."""
        raise NotImplementedError("override the fixture `store`")

    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", b"fast weights", b"x" * MIB, b"x" * (MIB + 1), bytes(range(256)) * 9999],
        ids=len,
    )
    async def test_get_returns_what_was_put(self, store: SnapshotStore, data: bytes) -> None:
        snapshot = await store.put("ana", data)
        assert (snapshot.digest, snapshot.n_bytes) == (blake3(data).hexdigest(), len(data))
        assert await store.get("ana", snapshot.digest) == data

    async def test_put_of_the_same_bytes_is_harmless(self, store: SnapshotStore) -> None:
        first = await store.put("ana", b"same")
        assert await store.put("ana", b"same") == first
        assert await store.digests("ana") == [first.digest]
        assert await store.get("ana", first.digest) == b"same"

    async def test_put_of_the_same_bytes_at_once_is_harmless(self, store: SnapshotStore) -> None:
        snapshots = await asyncio.gather(*(store.put("ana", b"same" * 999) for _ in range(8)))
        assert len(set(snapshots)) == 1
        assert await store.get("ana", snapshots[0].digest) == b"same" * 999

    async def test_put_get_and_delete_at_once_are_whole(self, store: SnapshotStore) -> None:
        data = bytes(range(256)) * 9999
        digest = (await store.put("ana", data)).digest

        async def got() -> SnapshotBytes | None:
            try:
                return await store.get("ana", digest)
            except SnapshotNotFound:
                return None

        for _ in range(3):
            writes = [store.put("ana", data), store.delete("ana", digest), store.put("ana", data)]
            *read, _, _, _ = await asyncio.gather(got(), got(), *writes)
            assert all(found in (None, data) for found in read)
        assert await got() in (None, data)
        await store.put("ana", data)
        assert await got() == data

    async def test_get_of_unknown_digest_is_not_found(self, store: SnapshotStore) -> None:
        await store.put("ana", b"known")
        digest = blake3(b"unknown").hexdigest()
        with pytest.raises(SnapshotNotFound) as caught:
            await store.get("ana", digest)
        assert (caught.value.agent, caught.value.digest) == ("ana", digest)

    @pytest.mark.parametrize(
        "digest", ["", "..", "../x", "a" * 63, "A" * 64, "é" * 64, "0" * 64 + "\n"]
    )
    async def test_get_of_no_digest_is_refused(self, store: SnapshotStore, digest: str) -> None:
        with pytest.raises(SnapshotCorrupt) as caught:
            await store.get("ana", digest)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("n_bytes", [0, 12, 2 * MIB])
    async def test_restore_returns_what_load_makes(
        self, store: SnapshotStore, n_bytes: int
    ) -> None:
        snapshot = await store.put("ana", bytes(n_bytes))
        assert await store.restore("ana", snapshot.digest, bytes) == bytes(n_bytes)

    async def test_much_is_loaded_beside_the_event_loop(self, store: SnapshotStore) -> None:
        def ident(_data: SnapshotBytes) -> int:
            return threading.get_ident()

        snapshot = await store.put("ana", bytes(2 * MIB))
        assert await store.restore("ana", snapshot.digest, ident) != threading.get_ident()

    async def test_restore_tells_what_load_refuses(self, store: SnapshotStore) -> None:
        def refuse(data: SnapshotBytes) -> None:
            raise FingerprintMismatch("the snapshot", bytes(data).decode(), "mine")

        snapshot = await store.put("ana", b"theirs")
        with pytest.raises(FingerprintMismatch, match="theirs"):
            await store.restore("ana", snapshot.digest, refuse)

    async def test_restore_of_unknown_digest_loads_nothing(self, store: SnapshotStore) -> None:
        loaded: list[SnapshotBytes] = []
        await store.put("ana", b"known")
        with pytest.raises(SnapshotNotFound):
            await store.restore("ana", blake3(b"unknown").hexdigest(), loaded.append)
        with pytest.raises(SnapshotCorrupt):
            await store.restore("ana", "../x", loaded.append)
        assert loaded == []

    async def test_digests_are_sorted_and_empty_for_a_newborn(self, store: SnapshotStore) -> None:
        assert await store.digests("ana") == []
        stored = [(await store.put("ana", bytes([n]))).digest for n in range(5)]
        assert await store.digests("ana") == sorted(stored)

    async def test_sizes_tell_what_is_stored(self, store: SnapshotStore) -> None:
        assert await store.sizes("ana") == {}
        sizes = [0, 1, MIB + 1]
        stored = {(await store.put("ana", bytes(n))).digest: n for n in sizes}
        await store.put("Ana", b"hers")
        assert await store.sizes("ana") == stored
        for digest in stored:
            assert await store.has("ana", digest)
            await store.delete("ana", digest)
            assert not await store.has("ana", digest)
        assert await store.sizes("ana") == {}
        with pytest.raises(SnapshotCorrupt):
            await store.has("ana", "../x")

    async def test_whole_snapshots_are_no_leftovers(self, store: SnapshotStore) -> None:
        snapshot = await store.put("ana", b"kept")
        for remove in (False, True):
            assert await store.leftovers("ana", remove=remove) == []
        assert await store.get("ana", snapshot.digest) == b"kept"

    async def test_delete_removes_only_the_one_named(self, store: SnapshotStore) -> None:
        gone, kept = await store.put("ana", b"gone"), await store.put("ana", b"kept")
        await store.delete("ana", gone.digest)
        await store.delete("ana", gone.digest)
        await store.delete("nobody", gone.digest)
        assert await store.digests("ana") == [kept.digest]
        with pytest.raises(SnapshotNotFound):
            await store.get("ana", gone.digest)

    async def test_agents_see_only_their_own_whatever_their_names(
        self, store: SnapshotStore
    ) -> None:
        own = {name: await store.put(name, name.encode()) for name in NAMES}
        for name, snapshot in own.items():
            assert await store.digests(name) == [snapshot.digest]
            assert await store.get(name, snapshot.digest) == name.encode()
        with pytest.raises(SnapshotNotFound):
            await store.get("ana", own["Ana"].digest)
        await store.delete("Ana", own["ana"].digest)
        assert await store.digests("ana") == [own["ana"].digest]

    @pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\ud800", "x" * 10_000])
    async def test_put_under_an_impossible_name_is_refused(
        self, store: SnapshotStore, name: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            await store.put(name, b"bytes")
        assert "\n" not in str(caught.value)
