"""The native model under the contract of every model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sleepmem.model import SleepConfig, SleepForCausalLM
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.model.native import NativeSleepLM
from sleepmem.protocols import SleepLM
from sleepmem.testing.model_contract import SleepLMContract
from sleepmem.train.tokenizer import build_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def lms(tmp_path_factory: pytest.TempPathFactory) -> list[NativeSleepLM]:
    """Return two models with other random weights, read from checkpoint folders."""

    def make(seed: int) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        tokenizer = build_tokenizer(["My dog is called Rex.", "What is the dog called?"])
        torch.manual_seed(seed)
        config = SleepConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            intermediate_size=48,
            layer_types=["full_attention", "linear_attention"] * 2,
            window=160,
            linear_key_head_dim=16,
            linear_value_head_dim=8,
        )
        SleepForCausalLM(config).save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        return folder

    return [load_checkpoint(str(make(seed))) for seed in (1, 2)]


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
