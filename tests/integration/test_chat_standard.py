"""The chat model under LangChain's own suites; the fixture `lm` alone says over which model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from sleepmem import SleepChatModel, SleepMemory
from sleepmem.chat.bridge import Bridge, private_loop
from sleepmem.protocols import SleepLM
from sleepmem.store.memory_log import MemoryEpisodeLog
from sleepmem.store.memory_snapshots import MemorySnapshotStore
from sleepmem.testing.fake_model import FakeSleepLM


@pytest.fixture(scope="module")
def lm() -> SleepLM:
    return FakeSleepLM()


@pytest.fixture(scope="module")
def memory(lm: SleepLM) -> Iterator[SleepMemory]:
    run = Bridge(private_loop()).run
    memory = SleepMemory.of(lm=lm, log=MemoryEpisodeLog(), snapshots=MemorySnapshotStore())
    run(memory.open())
    yield memory
    run(memory.aclose())


class OverMemory:
    """What both suites are told about the model."""

    agent_id: ClassVar[str | None] = None

    @pytest.fixture(autouse=True)
    def _over(self, memory: SleepMemory) -> None:
        self.memory = memory

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return SleepChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "sleepmem/tiny-2", "agent_id": self.agent_id, "memory": self.memory}

    @property
    def supports_model_override(self) -> bool:
        return False  # one set of slow weights

    @property
    def supports_image_inputs(self) -> bool:
        return False


class TestUnit(OverMemory, ChatModelUnitTests):
    pass


class TestEphemeral(OverMemory, ChatModelIntegrationTests):
    pass


class TestAgent(OverMemory, ChatModelIntegrationTests):
    agent_id = "ana"
