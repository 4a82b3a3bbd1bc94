from __future__ import annotations

import pytest
from nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Nursery:
    return Nursery("killed_life", "killed_gc", "sleepmem.model.checkpoint")


@pytest.fixture(scope="session")
def native_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return two folders of small native models with random weights, which differ."""
    import torch

    from sleepmem.model import SleepConfig, SleepForCausalLM
    from sleepmem.train.tokenizer import build_tokenizer, save_tokenizer

    folders = []
    for seed in (1, 2):
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
        folders.append(str(folder))
    return folders
