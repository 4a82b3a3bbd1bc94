"""The fake model obeys the contract of every sleep-capable language model."""

from __future__ import annotations

import pytest

from sleepmem.protocols import SleepLM
from sleepmem.testing import FakeSleepLM
from sleepmem.testing.model_contract import SleepLMContract, slept, user
from sleepmem.types import Sampling


class TestFakeSleepLM(SleepLMContract):
    @pytest.fixture
    def lm(self) -> SleepLM:
        return FakeSleepLM()

    @pytest.fixture
    def stranger(self) -> SleepLM:
        return FakeSleepLM(name="stranger")


def test_fake_answers_from_its_weights_after_eviction() -> None:
    lm = FakeSleepLM()
    weights = slept(lm, lm.blank(), user(lm, "colour=blue and pet=rex"), 1)
    state = lm.wake(weights)
    lm.read(state, user(lm, "colour?") + lm.reply_prefix())
    said = bytes(lm.next([state], [Sampling()])[0] for _ in range(4))
    assert said == b"blue"


def test_fake_retains_more_with_more_passes() -> None:
    lm = FakeSleepLM()
    ids = user(lm, "The quick brown fox jumps over the lazy dog.")

    def left(passes: int) -> float:
        return sum(lm.loss(lm.wake(slept(lm, lm.blank(), ids, passes)), ids)[1:])

    losses = [left(passes) for passes in (1, 2, 4, 8)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 4
