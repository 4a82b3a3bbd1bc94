"""The native model under the contract of every model."""

from __future__ import annotations

import pytest
import torch

from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.model.native import NativeSleepLM
from sleepmem.protocols import SleepLM
from sleepmem.testing.model_contract import SleepLMContract


@pytest.fixture(scope="module")
def lms(native_checkpoints: list[str]) -> list[NativeSleepLM]:
    """Return two models with other random weights, read from checkpoint folders."""
    return [load_checkpoint(folder) for folder in native_checkpoints]


class TestNativeModel(SleepLMContract):
    tolerance = 1e-4

    @pytest.fixture
    def lm(self, lms: list[NativeSleepLM]) -> SleepLM:
        return lms[0]

    @pytest.fixture
    def stranger(self, lms: list[NativeSleepLM]) -> SleepLM:
        return lms[1]

    def test_sleep_gives_the_same_bytes_on_any_number_of_threads(
        self, lm: NativeSleepLM, ids: list[int]
    ) -> None:
        dumps = set()
        before = torch.get_num_threads()
        try:
            for n_threads in (1, 2):
                torch.set_num_threads(n_threads)
                *_, last = lm.sleep(lm.blank(), ids * 4, 2)
                dumps.add(lm.dump(last.weights))
                assert torch.get_num_threads() == n_threads
        finally:
            torch.set_num_threads(before)
        assert len(dumps) == 1


class TestNativeModelWithLoopLayers(TestNativeModel):
    @pytest.fixture
    def lm(self, lms: list[NativeSleepLM]) -> SleepLM:
        return lms[1]

    @pytest.fixture
    def stranger(self, lms: list[NativeSleepLM]) -> SleepLM:
        return lms[0]
