"""What is judged, and the stored checkpoints that it is compared with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tokenizers import Tokenizer

from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import CONFIG, TOKENIZER, checkpoint_folder, read_weights
from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.dialogues.vocabulary import tokenizer

FOLDER = Path(str(files("sleepmem"))) / "pretrained" / "memory"
PASSES1_STEPS, PASSES1_COMPUTE, ATTENTION = "passes1_steps", "passes1_compute", "attention"
OPPONENTS = (PASSES1_STEPS, PASSES1_COMPUTE, ATTENTION)


def candidate(name: str) -> SleepForCausalLM:
    """Return the network of the checkpoint that is judged.

    Raises:
        CheckpointNotFound: no such model.
        CheckpointInvalid: it cannot be read.
        ConfigError: it knows other words than those of the dialogues.
    """
    folder = checkpoint_folder(name)
    lm = read_weights(folder)
    path = folder / TOKENIZER
    known = Tokenizer.from_file(str(path)).get_vocab() if path.is_file() else {}
    if known != tokenizer().get_vocab():
        raise ConfigError(
            f"checkpoint {name!r} does not know the words of the dialogues",
            hint="Give --model one that was trained with: sleepmem train dialogues.",
        )
    return lm.eval()


def opponent(name: str) -> SleepForCausalLM:
    """Return a stored opponent.

    Raises:
        CheckpointInvalid: it cannot be read.
        ConfigError: it is not there, or knows other words.
    """
    folder = FOLDER / name
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"there is no opponent {name!r} to compare with: {folder} holds no checkpoint",
            hint=f"Judge the checkpoint without it: --without {name}.",
        )
    lm = read_weights(folder)
    n_words = tokenizer().get_vocab_size()
    if lm.config.vocab_size != n_words:
        raise ConfigError(
            f"the opponent in {folder} knows {lm.config.vocab_size} words, not {n_words}",
            hint="It is of another version: install sleepmem again.",
        )
    return lm.eval()
