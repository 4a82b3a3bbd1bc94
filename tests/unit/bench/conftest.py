from __future__ import annotations

from pathlib import Path

import pytest
from small_talkers import small_talker

from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.tokenizer import save_tokenizer


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a checkpoint in the words of the dialogues that knows nothing."""
    folder: Path = tmp_path_factory.mktemp("talker")
    small_talker().save_pretrained(folder)
    save_tokenizer(tokenizer(), folder)
    return str(folder)
