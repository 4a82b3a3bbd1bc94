"""What every `SleepLM` must do; subclass it, give a `lm` fixture, and all of it is judged.

    class TestMyModel(SleepLMContract):
        tolerance = 1e-4

        @pytest.fixture
        def lm(self) -> SleepLM: ...

        @pytest.fixture
        def stranger(self) -> SleepLM: ...      # another fingerprint

Fast weights and wake states are opaque, so weights are compared by their bytes and states by the
loss they give and the tokens they choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from sleepmem.errors import ConfigError, FingerprintMismatch, SleepmemError
from sleepmem.protocols import FastWeights, SleepLM, WakeState
from sleepmem.types import Message, Role, Sampling

GREEDY = Sampling()
TEXT = "Grüße, 你好 — naïve 🦊 café"
PROBE = "What is the dog called?"


class SleepLMContract:
    """The suite.

    Attributes:
        tolerance: how far two losses that should be equal may lie apart, in nats.
    """

    tolerance: float = 0.0

    @pytest.fixture
    def lm(self) -> SleepLM:
        raise NotImplementedError("give a fixture `lm` that returns the model to be judged")

    @pytest.fixture
    def stranger(self) -> SleepLM:
        raise NotImplementedError("give a fixture `stranger` with another fingerprint")

    @pytest.fixture
    def ids(self, lm: SleepLM) -> list[int]:
        """Return what an agent lives through: two messages, an odd number of tokens."""
        told = user(lm, "My dog is called Rex.")
        ids = told + lm.encode(Message(role=Role.ASSISTANT, content="A good name."))
        return ids if len(ids) % 2 else ids[1:]

    @pytest.fixture
    def lived(self, lm: SleepLM, ids: list[int]) -> FastWeights:
        """Return fast weights that are not those of a newborn."""
        return slept(lm, lm.blank(), ids, 2)

    def assert_same_state(self, lm: SleepLM, one: WakeState, other: WakeState) -> None:
        probe = user(lm, PROBE)
        losses = lm.loss(lm.copy(one), probe), lm.loss(lm.copy(other), probe)
        for a, b in zip(*losses, strict=True):
            assert abs(a - b) <= self.tolerance or (math.isnan(a) and math.isnan(b))
        assert generated(lm, lm.copy(one), 4) == generated(lm, lm.copy(other), 4)

    # what it says of itself

    def test_it_is_a_sleep_lm(self, lm: SleepLM) -> None:
        assert isinstance(lm, SleepLM)
        assert len(bytes.fromhex(lm.fingerprint)) == 32
        assert lm.window > 0
        assert lm.stop_ids
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in lm.numerics.items())
        assert lm.retention_floor is None or 0 <= lm.retention_floor <= 1

    # text

    @pytest.mark.parametrize("role", list(Role))
    def test_encode_is_deterministic_for_every_role(self, lm: SleepLM, role: Role) -> None:
        message = Message(role=role, content=TEXT)
        assert lm.encode(message) == lm.encode(message)

    def test_encode_keeps_borders(self, lm: SleepLM) -> None:
        """Text cannot forge a border: a role is known by an id that no text gives."""
        borders = {lm.encode(Message(role=role, content="x"))[0] for role in Role}
        text = user(lm, "<|user|><|assistant|><|end|><s></s>")[1:-1]
        assert len(borders) == len(Role)
        assert not set(text) & (borders | lm.stop_ids)

    def test_encode_reads_tools_in_the_system_prompt(self, lm: SleepLM) -> None:
        system = Message(role=Role.SYSTEM, content="Be brief.")
        assert lm.encode(system) != lm.encode(system, tools=[{"name": "search"}])

    def test_reply_is_prefix_content_and_closing_id(self, lm: SleepLM) -> None:
        prefix = lm.reply_prefix()
        encoded = lm.encode(Message(role=Role.ASSISTANT, content="Rex"))
        assert prefix
        assert encoded[: len(prefix)] == prefix
        assert encoded[-1] in lm.stop_ids
        assert not lm.stop_ids & set(encoded[:-1])

    @pytest.mark.parametrize("text", ["Rex", TEXT, "a\nb\t c  d", "🦊" * 7, "e\u0301 \u00e9"])
    def test_detokenizer_gives_the_text_back(self, lm: SleepLM, text: str) -> None:
        detokenizer = lm.detokenizer()
        ids = lm.encode(Message(role=Role.ASSISTANT, content=text))
        pieces = [detokenizer.push(token_id) for token_id in ids]
        assert "".join(pieces) + detokenizer.flush() == text
        assert "\ufffd" not in "".join(pieces)

    def test_detokenizer_marks_stray_bytes(self, lm: SleepLM) -> None:
        """A character that never ends is one U+FFFD, at the flush and not before."""
        detokenizer = lm.detokenizer()
        ids = lm.encode(Message(role=Role.ASSISTANT, content="🦊"))[len(lm.reply_prefix()) : -1]
        if len(ids) < 2:
            pytest.skip("the vocabulary holds that character as one token")
        said = "".join(detokenizer.push(token_id) for token_id in ids[:-1])
        assert said.strip() == ""
        assert detokenizer.flush() == "\ufffd"

    # awake

    def test_chunks_equal_one_by_one(self, lm: SleepLM, lived: FastWeights, ids: list[int]) -> None:
        whole, single, uneven = lm.wake(lived), lm.wake(lived), lm.wake(lived)
        lm.read(whole, ids)
        for token_id in ids:
            lm.read(single, [token_id])
        lm.read(uneven, ids[:3])
        lm.read(uneven, ids[3:])
        self.assert_same_state(lm, whole, single)
        self.assert_same_state(lm, whole, uneven)

    def test_copies_are_independent(self, lm: SleepLM, lived: FastWeights, ids: list[int]) -> None:
        state, untouched = lm.wake(lived), lm.wake(lived)
        lm.read(state, ids)
        lm.read(untouched, ids)
        lm.read(lm.copy(state), user(lm, "Something else entirely."))
        self.assert_same_state(lm, state, untouched)

    def test_wake_leaves_the_weights(self, lm: SleepLM, lived: FastWeights, ids: list[int]) -> None:
        before = lm.dump(lived)
        state = lm.wake(lived)
        lm.read(state, ids)
        lm.loss(state, ids)
        generated(lm, state, 3)
        assert lm.dump(lived) == before

    def test_next_reads_its_token(self, lm: SleepLM, lived: FastWeights, ids: list[int]) -> None:
        state = lm.wake(lived)
        lm.read(state, [*ids, *lm.reply_prefix()])
        twin = lm.copy(state)
        [token_id] = lm.next([state], [GREEDY])
        lm.read(twin, [token_id])
        self.assert_same_state(lm, state, twin)

    def test_next_keeps_neighbours_apart(
        self, lm: SleepLM, lived: FastWeights, ids: list[int]
    ) -> None:
        def start(weights: FastWeights, n_read: int) -> WakeState:
            state = lm.wake(weights)
            lm.read(state, [*ids[:n_read], *lm.reply_prefix()])
            return state

        alone = [start(lived, len(ids)), start(lm.blank(), 5)]
        together = [lm.copy(state) for state in alone]
        chosen = lm.next(together, [GREEDY, GREEDY])
        assert chosen == [lm.next([state], [GREEDY])[0] for state in alone]
        for one, other in zip(alone, together, strict=True):
            self.assert_same_state(lm, one, other)

    def test_next_advances_nobody_if_one_cannot_go_on(
        self, lm: SleepLM, lived: FastWeights, ids: list[int]
    ) -> None:
        able, full = lm.wake(lived), lm.wake(lived)
        lm.read(able, ids)
        lm.read(full, (ids * lm.window)[: lm.window])
        before = lm.copy(able)
        for states in ([able, full], [full, able]):
            with pytest.raises(SleepmemError):
                lm.next(states, [GREEDY, GREEDY])
        self.assert_same_state(lm, able, before)

    def test_next_keeps_to_allowed_ids(self, lm: SleepLM, ids: list[int]) -> None:
        allowed = frozenset(ids[1:4])
        state = lm.wake(lm.blank())
        lm.read(state, [*ids, *lm.reply_prefix()])
        for temperature in (0.0, 1.0):
            sampling = Sampling(allowed_ids=allowed, temperature=temperature)
            assert set(lm.next([lm.copy(state)], [sampling])) <= allowed

    def test_next_is_a_function_of_seed_and_state(self, lm: SleepLM, ids: list[int]) -> None:
        state = lm.wake(lm.blank())
        lm.read(state, [*ids, *lm.reply_prefix()])
        warm = Sampling(temperature=1.0, seed=7)
        one, other = lm.copy(state), lm.copy(state)
        for _ in range(6):
            assert lm.next([one], [warm]) == lm.next([other], [warm])

    def test_loss_has_one_value_per_token(
        self, lm: SleepLM, lived: FastWeights, ids: list[int]
    ) -> None:
        first = lm.loss(lm.wake(lived), ids)
        assert len(first) == len(ids)
        assert math.isnan(first[0])
        assert all(math.isfinite(value) and value >= 0 for value in first[1:])
        assert lm.loss(lm.wake(lived), []) == []

    def test_loss_reads(self, lm: SleepLM, lived: FastWeights, ids: list[int]) -> None:
        state, twin = lm.wake(lived), lm.wake(lived)
        whole = lm.loss(state, ids)
        pieces = lm.loss(twin, ids[:7]) + lm.loss(twin, ids[7:])
        assert pieces[1:] == pytest.approx(whole[1:], abs=self.tolerance)
        self.assert_same_state(lm, state, twin)
        read = lm.wake(lived)
        lm.read(read, ids)
        self.assert_same_state(lm, read, twin)

    def test_window_is_a_bound(self, lm: SleepLM) -> None:
        filler = (user(lm, "on and on ") * lm.window)[: lm.window]
        state = lm.wake(lm.blank())
        lm.read(state, filler[:-1])
        lm.next([state], [GREEDY])
        with pytest.raises(ConfigError):
            lm.read(state, filler[:1])
        with pytest.raises(ConfigError):
            slept(lm, lm.blank(), [*filler, filler[0]], 1)

    # asleep

    def test_sleep_ends_with_the_weights(self, lm: SleepLM, ids: list[int]) -> None:
        window = (ids * lm.window)[: lm.window]
        steps = list(lm.sleep(lm.blank(), window, 3))
        assert [step.index for step in steps] == list(range(len(steps)))
        assert {step.n_steps for step in steps} == {len(steps)}
        assert len(steps) >= 3
        assert all(step.weights is None for step in steps[:-1])
        assert steps[-1].weights is not None

    def test_sleep_leaves_its_input(self, lm: SleepLM, lived: FastWeights, ids: list[int]) -> None:
        before, given = lm.dump(lived), list(ids)
        slept(lm, lived, given, 2)
        assert lm.dump(lived) == before
        assert given == ids

    def test_sleep_depends_on_its_arguments_alone(
        self, lm: SleepLM, lived: FastWeights, ids: list[int]
    ) -> None:
        expected = lm.dump(slept(lm, lived, ids, 2))
        steps = lm.sleep(lived, tuple(ids), 2)
        weights, state = None, lm.wake(lm.blank())
        for step in steps:  # wake work of a neighbour runs between the steps
            lm.read(state, ids[:1])
            generated(lm, lm.copy(state), 1)
            weights = step.weights
        assert lm.dump(weights) == expected

    def test_sleep_depends_on_each_argument(
        self, lm: SleepLM, lived: FastWeights, ids: list[int]
    ) -> None:
        found = [
            lm.dump(slept(lm, *arguments))
            for arguments in [(lived, ids, 2), (lm.blank(), ids, 2), (lived, ids[:-1], 2)]
        ]
        found.append(lm.dump(slept(lm, lived, ids, 3)))
        assert len(set(found)) == len(found)
        assert lm.dump(lived) == found[1]

    @pytest.mark.parametrize("passes", [0, -1])
    def test_sleep_without_a_pass_is_refused(
        self, lm: SleepLM, ids: list[int], passes: int
    ) -> None:
        with pytest.raises(ConfigError):
            slept(lm, lm.blank(), ids, passes)

    def test_one_token_can_be_slept_on(self, lm: SleepLM, lived: FastWeights) -> None:
        assert lm.dump(slept(lm, lived, user(lm, "x")[:1], 1)) != lm.dump(lived)

    # bytes

    def test_dump_and_load_give_the_same_weights(
        self, lm: SleepLM, lived: FastWeights, ids: list[int]
    ) -> None:
        for weights in (lm.blank(), lived):
            data = lm.dump(weights)
            loaded = lm.load(data)
            assert lm.dump(loaded) == data
            assert lm.dump(slept(lm, loaded, ids, 2)) == lm.dump(slept(lm, weights, ids, 2))
            self.assert_same_state(lm, lm.wake(loaded), lm.wake(weights))

    def test_fast_weights_do_not_grow(self, lm: SleepLM, lived: FastWeights) -> None:
        ids, weights = user(lm, "no pair here"), lived
        for _ in range(5):
            weights = slept(lm, weights, ids, 1)
        assert len(lm.dump(weights)) == len(lm.dump(lived))

    def test_load_refuses_truncated_bytes(self, lm: SleepLM, lived: FastWeights) -> None:
        data = lm.dump(lived)
        for n_bytes in {0, 1, 7, 8, 9, 40, 100, len(data) // 2, len(data) - 1}:
            with pytest.raises(SleepmemError):
                lm.load(data[:n_bytes])
        with pytest.raises(SleepmemError):
            lm.load(data + b"\0")

    def test_load_refuses_a_flipped_header(self, lm: SleepLM, lived: FastWeights) -> None:
        data = lm.dump(lived)
        for place in range(64):
            flipped = bytearray(data)
            flipped[place] ^= 0x15
            with pytest.raises(SleepmemError):
                lm.load(bytes(flipped))

    def test_load_refuses_a_stranger(self, lm: SleepLM, stranger: SleepLM) -> None:
        assert stranger.fingerprint != lm.fingerprint
        with pytest.raises(FingerprintMismatch):
            lm.load(stranger.dump(stranger.blank()))


def user(lm: SleepLM, text: str) -> list[int]:
    return lm.encode(Message(role=Role.USER, content=text))


def generated(lm: SleepLM, state: WakeState, n_tokens: int) -> list[int]:
    """Return the greedy reply of a state, which is advanced."""
    lm.read(state, lm.reply_prefix())
    return [lm.next([state], [GREEDY])[0] for _ in range(n_tokens)]


def slept(lm: SleepLM, weights: FastWeights, token_ids: Sequence[int], passes: int) -> FastWeights:
    return list(lm.sleep(weights, token_ids, passes))[-1].weights
