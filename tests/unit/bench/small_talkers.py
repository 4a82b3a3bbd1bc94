"""Small networks with random weights that speak in the words of the dialogues."""

from __future__ import annotations

import torch

from sleepmem.model import SleepConfig, SleepForCausalLM
from sleepmem.train.dialogues.vocabulary import tokenizer


def small_talker(seed: int = 0, layers: str = "AG") -> SleepForCausalLM:
    kinds = {"A": "full_attention", "G": "linear_attention"}
    torch.manual_seed(seed)
    return SleepForCausalLM(
        SleepConfig(
            vocab_size=tokenizer().get_vocab_size(),
            layer_types=[kinds[letter] for letter in layers],
            hidden_size=32,
            intermediate_size=32,
            num_attention_heads=2,
            linear_key_head_dim=16,
            linear_value_head_dim=16,
            tie_word_embeddings=False,  # else the last token is said again
            linear_gain=2.0,
        )
    ).eval()
