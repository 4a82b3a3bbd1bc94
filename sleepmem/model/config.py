"""The shape of the native hybrid."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

ATTENTION = "full_attention"  # causal inside the window
RECURRENT = "linear_attention"  # gated delta rule; the name is transformers' own


class SleepConfig(PreTrainedConfig):
    """Sizes of a sleep-capable model.

    Args:
        layer_types: mixer of each layer, `full_attention` or `linear_attention`.
        window: the most tokens that one pass, and so the KV cache, may span.
        initializer_range: standard deviation of fresh embeddings.
        attention_conv_kernel_dim: tokens of the short convolution before attention; 0 is none.
        linear_gain: of fresh linear layers: their standard deviation times the root of their
            inputs; 1 keeps the variance.
        num_loop_layers: attention layers that are in the loop of a sleep alone; see
            `sleepmem.model.sleep`. 0 is the paper's loop.
        retention_floor: a sleep that retains less is not to be trusted; None where nobody measured.
        linear_*: the recurrent layers; their state is (heads, key_head_dim, value_head_dim).
    """

    model_type = "sleepmem"

    def __init__(
        self,
        vocab_size: int = 512,
        hidden_size: int = 128,
        intermediate_size: int = 256,
        layer_types: list[str] | None = None,
        window: int = 512,
        num_attention_heads: int = 4,
        attention_conv_kernel_dim: int = 0,
        linear_num_heads: int = 2,
        linear_key_head_dim: int = 64,
        linear_value_head_dim: int = 64,
        linear_conv_kernel_dim: int = 4,
        rope_theta: float = 10_000.0,
        rms_norm_eps: float = 1e-6,
        initializer_range: float = 0.1,
        linear_gain: float = 1.0,
        tie_word_embeddings: bool = True,
        num_loop_layers: int = 0,
        retention_floor: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.layer_types = layer_types or [ATTENTION, RECURRENT]
        self.num_hidden_layers = len(self.layer_types)
        self.window = window
        self.max_position_embeddings = window
        self.num_attention_heads = num_attention_heads
        self.attention_conv_kernel_dim = attention_conv_kernel_dim
        self.linear_num_heads = linear_num_heads
        self.linear_key_head_dim = linear_key_head_dim
        self.linear_value_head_dim = linear_value_head_dim
        self.linear_conv_kernel_dim = linear_conv_kernel_dim
        self.rope_theta = rope_theta
        self.rms_norm_eps = rms_norm_eps
        self.initializer_range = initializer_range
        self.linear_gain = linear_gain
        self.num_loop_layers = num_loop_layers
        self.retention_floor = retention_floor
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


SHAPE_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "window",
    "num_attention_heads",
    "attention_conv_kernel_dim",
    "linear_num_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
    "rope_theta",
    "rms_norm_eps",
    "tie_word_embeddings",
)  # what the fingerprint covers; the rest of config.json changes with the library that wrote it
OPTIONAL_FIELDS = ("num_loop_layers",)  # covered where they are set
