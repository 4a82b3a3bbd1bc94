from __future__ import annotations

from collections.abc import Iterator

import pytest
from over_memory import memory_over, run

from sleepmem import SleepChatModel, SleepMemory
from sleepmem.testing.fake_model import FakeSleepLM


@pytest.fixture
def memory() -> Iterator[SleepMemory]:
    memory = memory_over(FakeSleepLM())
    run(memory.open())
    yield memory
    run(memory.aclose())


@pytest.fixture
def model(memory: SleepMemory) -> SleepChatModel:
    return SleepChatModel(memory=memory)
