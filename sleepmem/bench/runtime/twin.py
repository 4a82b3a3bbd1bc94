"""The twin of a hybrid that remembers by attention alone: as deep and wide, nothing evicted.

Random slow weights and a random history: what a token costs does not depend on them. Its KV cache
is allocated once and written in place, attention is torch's own, and nothing is convolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model import SleepConfig, SleepForCausalLM
from sleepmem.model.config import ATTENTION
from sleepmem.model.layers import WindowAttention, rotate
from sleepmem.model.network import Block


class AttentionTwin:
    """Decodes after a history of `n_past` tokens, and has room for `n_more`.

    Attributes:
        network: as it is made of the same parts.
    """

    def __init__(self, config: SleepConfig, n_past: int, n_more: int) -> None:
        shape = config.to_dict()
        layer_types = [ATTENTION] * config.num_hidden_layers
        shape |= {"layer_types": layer_types, "attention_conv_kernel_dim": 0}
        self.network = SleepForCausalLM(SleepConfig(**shape)).eval()
        heads = config.num_attention_heads
        size = (1, heads, n_past + n_more, config.hidden_size // heads)
        self._caches = [(torch.randn(size), torch.randn(size)) for _ in layer_types]
        self._n_past = n_past

    @torch.inference_mode()
    def decode(self, token_ids: Sequence[int]) -> list[int]:
        """Read some tokens one by one behind the history; return what each predicts."""
        found = []
        for at, token_id in enumerate(token_ids, start=self._n_past):
            h = self.network.embed(torch.tensor([[token_id]]))
            for layer, cache in zip(self.network.model.layers, self._caches, strict=True):
                block = cast(Block, layer)
                h = h + _attend(cast(WindowAttention, block.mixer), block.mixer_norm(h), cache, at)
                h = h + block.mlp(block.mlp_norm(h))
            found.append(int(self.network.logits(h[0, 0]).argmax()))
        return found


def _attend(mixer: WindowAttention, x: Tensor, cache: tuple[Tensor, Tensor], at: int) -> Tensor:
    q, k, v = mixer.qkv(x).view(1, 1, 3, mixer.n_heads, -1).permute(2, 0, 3, 1, 4)
    position = torch.tensor([[at]])
    keys, values = cache
    keys[:, :, at : at + 1], values[:, :, at : at + 1] = rotate(k, position, mixer.theta), v
    seen = keys[:, :, : at + 1], values[:, :, : at + 1]
    y = F.scaled_dot_product_attention(rotate(q, position, mixer.theta), *seen)
    return mixer.out(y.transpose(1, 2).reshape(x.shape))
