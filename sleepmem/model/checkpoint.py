"""Find, read and write checkpoints: slow weights, config, tokenizer, chat template in a folder.

A checkpoint is a plain transformers folder. Its fingerprint covers what a snapshot depends on and
nothing that changes with the library that wrote the folder.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer

from sleepmem.errors import CheckpointInvalid, CheckpointNotFound
from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.config import SHAPE_FIELDS, SleepConfig
from sleepmem.model.native import NativeSleepLM
from sleepmem.model.network import SleepForCausalLM

DEFAULT = "sleepmem/tiny"
SHIPPED = {"sleepmem/tiny": "tiny-1", "sleepmem/tiny-1": "tiny-1"}  # name -> folder
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"
TIED = "lm_head.weight"


def checkpoint_folder(name: str) -> Path:
    """Return the folder of a shipped name or of a path.

    Raises:
        CheckpointNotFound: neither.
    """
    folder = Path(name).expanduser()
    if name in SHIPPED:
        folder = Path(str(files("sleepmem"))) / "pretrained" / SHIPPED[name]
    if not (folder / CONFIG).is_file():
        raise CheckpointNotFound(name, tuple(SHIPPED))
    return folder


def load_checkpoint(name: str = DEFAULT) -> NativeSleepLM:
    """Load a checkpoint by shipped name or path.

    Raises:
        CheckpointNotFound: no such name or folder.
        CheckpointInvalid: a file is missing, unreadable or does not fit the others.
    """
    folder = checkpoint_folder(name)
    for file in (WEIGHTS, TOKENIZER, TEMPLATE):
        if not (folder / file).is_file():
            raise CheckpointInvalid(str(folder), f"{file} is missing")
    lm = read_weights(folder)
    try:
        chat = ChatTokens(Tokenizer.from_file(str(folder / TOKENIZER)))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointInvalid(str(folder), f"{TOKENIZER}: {error}") from error
    return NativeSleepLM(lm, chat, fingerprint(folder))


def read_weights(folder: Path) -> SleepForCausalLM:
    """Return the network of a checkpoint folder, float32 on the CPU."""
    try:
        config = SleepConfig.from_dict(json.loads((folder / CONFIG).read_text()))
        tensors = load_file(folder / WEIGHTS)
        lm = SleepForCausalLM(config)
        missing, unexpected = lm.load_state_dict(tensors, strict=False)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointInvalid(str(folder), str(error).splitlines()[0]) from error
    tied = {TIED} if config.tie_word_embeddings else set()
    wrong = {*missing} - tied | {*unexpected}
    if wrong:
        raise CheckpointInvalid(str(folder), f"{WEIGHTS} does not fit: {sorted(wrong)[0]}")
    return lm.float()


def fingerprint(folder: Path) -> str:
    """Return BLAKE3-256 in hex over config, slow weights, tokenizer and chat template."""
    config = json.loads((folder / CONFIG).read_text())
    shape = json.dumps({name: config.get(name) for name in SHAPE_FIELDS}, sort_keys=True)
    digest = blake3()
    for part in (
        shape.encode(),
        (folder / WEIGHTS).read_bytes(),
        (folder / TOKENIZER).read_bytes(),
        (folder / TEMPLATE).read_bytes(),
    ):
        digest.update(len(part).to_bytes(8, "little"))  # so that parts cannot run into each other
        digest.update(part)
    return digest.hexdigest()
