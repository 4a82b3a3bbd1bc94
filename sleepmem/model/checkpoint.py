"""Find, read and write checkpoints: slow weights, config, tokenizer, chat template in a folder.

A checkpoint is a plain transformers folder. Its fingerprint covers what a snapshot depends on and
nothing that changes with the library that wrote the folder.

A folder is trusted in nothing: sizes stay under limits, of the config only the fields that the
fingerprint covers are taken, and names, shapes and dtypes of the weights are compared with what
the config asks for before memory is taken for them.
"""

from __future__ import annotations

import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer

from sleepmem.errors import CheckpointInvalid, CheckpointNotFound
from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.config import ATTENTION, OPTIONAL_FIELDS, RECURRENT, SHAPE_FIELDS, SleepConfig
from sleepmem.model.native import NativeSleepLM
from sleepmem.model.network import SleepForCausalLM

log = logging.getLogger(__name__)

DEFAULT = "sleepmem/tiny-2"
SHIPPED = {"sleepmem/tiny": "tiny-2", "sleepmem/tiny-2": "tiny-2"}  # name -> folder
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"
TIED = "lm_head.weight"

MAX_BYTES = {CONFIG: 1 << 20, TOKENIZER: 1 << 26, TEMPLATE: 1 << 20}
MAX_HEADER = 1 << 20  # bytes of the header of the weights; parsing it costs a multiple of that
MAX_LAYERS = 512
MAX_COUNTS = {
    "vocab_size": 1 << 20,
    "hidden_size": 1 << 15,
    "intermediate_size": 1 << 17,
    "window": 1 << 20,
    "num_attention_heads": 1 << 10,
    "attention_conv_kernel_dim": 1 << 8,
    "linear_num_heads": 1 << 10,
    "linear_key_head_dim": 1 << 12,
    "linear_value_head_dim": 1 << 12,
    "linear_conv_kernel_dim": 1 << 8,
    "num_loop_layers": 1 << 8,
}
MAY_BE_ZERO = {"attention_conv_kernel_dim", "num_loop_layers"}  # of the counts
MAX_REALS = {"rope_theta": 1e12, "rms_norm_eps": 1.0}
FLOOR = "retention_floor"  # not of the fingerprint: it may be measured anew
MAX_FAST_WEIGHTS = 1 << 30  # bytes per agent; snapshot files are not larger
DTYPES = {"F32", "F16", "BF16"}  # on disk; in memory it is float32


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
        chat = ChatTokens(_read_tokenizer(folder, lm.config.vocab_size))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointInvalid(str(folder), f"{TOKENIZER}: {_line(error)}") from error
    try:
        _check_size(folder / TEMPLATE)
        digest = fingerprint(folder)
    except (OSError, ValueError) as error:
        raise CheckpointInvalid(str(folder), _line(error)) from error
    log.info("checkpoint loaded", extra={"checkpoint": name, "fingerprint": digest})
    return NativeSleepLM(lm, chat, digest)


def read_weights(folder: Path) -> SleepForCausalLM:
    """Return the network of a checkpoint folder, float32 on the CPU.

    Raises:
        CheckpointInvalid: config or weights are missing, unreadable, beyond a limit, not finite,
            or do not fit each other.
    """
    try:
        config = _read_config(folder / CONFIG)
        _check_tensors(folder / WEIGHTS, config)
        tensors = load_file(folder / WEIGHTS)
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{WEIGHTS}: a value of {name} is not finite")
        lm = SleepForCausalLM(config)
        lm.load_state_dict(tensors, strict=False)  # names were compared; the tied one is not there
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointInvalid(str(folder), _line(error)) from error
    return lm.float()


def _read_config(path: Path) -> SleepConfig:
    """Return the config of these fields alone, every one within its limit."""
    _check_size(path)
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{CONFIG} is not an object")
    fields = {
        name: found[name] for name in (*SHAPE_FIELDS, *OPTIONAL_FIELDS, FLOOR) if name in found
    }
    for name, value in fields.items():
        if not _is_sane(name, value):
            raise ValueError(f"{CONFIG}: {name} cannot be {ascii(value)[:40]}")
    config = SleepConfig(**fields)
    if config.hidden_size % (2 * config.num_attention_heads):
        raise ValueError(
            f"{CONFIG}: hidden_size {config.hidden_size} does not divide into "
            f"{config.num_attention_heads} heads of an even size"
        )
    if found.get("input_injection"):
        raise ValueError(f"{CONFIG}: input_injection is a loop that is no longer known")
    if config.num_loop_layers and RECURRENT not in config.layer_types:
        raise ValueError(f"{CONFIG}: loop layers, but no layer that is written to")
    n_values = config.linear_num_heads * config.linear_key_head_dim * config.linear_value_head_dim
    n_bytes = 4 * n_values * config.layer_types.count(RECURRENT)
    if n_bytes > MAX_FAST_WEIGHTS:
        raise ValueError(f"{CONFIG}: {n_bytes} bytes of fast weights, at most {MAX_FAST_WEIGHTS}")
    return config


def _is_sane(name: str, value: Any) -> bool:
    if name in MAX_COUNTS:
        least = 0 if name in MAY_BE_ZERO else 1
        return type(value) is int and least <= value <= MAX_COUNTS[name]
    if name in MAX_REALS:
        return type(value) in (int, float) and 0 < value <= MAX_REALS[name]  # never true of NaN
    if name == FLOOR:
        return value is None or (type(value) in (int, float) and 0 <= value <= 1)
    if name == "layer_types":
        kinds = (ATTENTION, RECURRENT)
        is_list = isinstance(value, list) and 1 <= len(value) <= MAX_LAYERS
        return is_list and all(kind in kinds for kind in value)
    return isinstance(value, bool)


def _check_tensors(path: Path, config: SleepConfig) -> None:
    """Compare names, shapes and dtypes of the weights with the config; reads the header alone."""
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
    if n_header > MAX_HEADER:
        raise ValueError(f"{WEIGHTS}: a header of {n_header} bytes, at most {MAX_HEADER}")
    with torch.device("meta"):  # shapes without memory
        expected = {
            name: list(t.shape) for name, t in SleepForCausalLM(config).state_dict().items()
        }
    if config.tie_word_embeddings:
        del expected[TIED]
    with safe_open(path, "pt") as weights:
        wrong = expected.keys() ^ {*weights.keys()}
        if wrong:
            raise ValueError(f"{WEIGHTS} does not fit: {ascii(min(wrong))[:80]}")
        for name, shape in expected.items():
            found = weights.get_slice(name)
            if found.get_shape() != shape:
                raise ValueError(f"{WEIGHTS}: {name} is {found.get_shape()} instead of {shape}")
            if found.get_dtype() not in DTYPES:
                raise ValueError(f"{WEIGHTS}: {name} is of dtype {found.get_dtype()}")


def _read_tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    """Return the tokenizer, whose ids are those that the embedding has rows for."""
    _check_size(folder / TOKENIZER)
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    if len(ids) != vocab_size:
        raise ValueError(f"{len(ids)} tokens, but the vocab_size of {CONFIG} is {vocab_size}")
    if {*ids} != {*range(vocab_size)}:
        raise ValueError(f"its ids are not 0 to {vocab_size - 1}")
    return tokenizer


def _check_size(path: Path) -> None:
    n_bytes, limit = path.stat().st_size, MAX_BYTES[path.name]
    if n_bytes > limit:
        raise ValueError(f"{path.name} has {n_bytes} bytes, at most {limit}")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def fingerprint(folder: Path) -> str:
    """Return BLAKE3-256 in hex over config, slow weights, tokenizer and chat template."""
    config = json.loads((folder / CONFIG).read_text())
    fields = {name: config.get(name) for name in SHAPE_FIELDS}
    # left out where it is off, as it was before there was such a field
    fields |= {name: config[name] for name in OPTIONAL_FIELDS if config.get(name)}
    shape = json.dumps(fields, sort_keys=True)
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
