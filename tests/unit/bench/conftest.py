from __future__ import annotations

from pathlib import Path

import pytest
from small_talkers import small_talker

from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.run import run
from sleepmem.train.settings import TrainSettings
from sleepmem.train.tokenizer import save_tokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 16, "n_attention_heads": 2, "d_k": 8, "d_v": 8}


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a checkpoint in the words of the dialogues that knows nothing."""
    folder: Path = tmp_path_factory.mktemp("talker")
    small_talker().save_pretrained(folder)
    save_tokenizer(tokenizer(), folder)
    return str(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run, of two steps."""
    folder = tmp_path_factory.mktemp("run")
    settings = TrainSettings(task="dialogues", steps=2, batch=1, passes=(1,), **SMALL)
    run(settings, folder, lambda progress, loss: None)
    return folder
