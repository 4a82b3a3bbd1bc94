from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sleepmem.model import SleepConfig, SleepForCausalLM


@pytest.fixture
def make_lm() -> Callable[..., SleepForCausalLM]:
    """Return a maker of small random models, double precision on request."""

    def make(
        layers: str = "AGAG",
        *,
        double: bool = False,
        seed: int = 42,
        attention_conv: int = 3,
        loop_layers: int = 0,
    ) -> SleepForCausalLM:
        torch.manual_seed(seed)
        kinds = {"A": "full_attention", "G": "linear_attention"}
        config = SleepConfig(
            vocab_size=61,
            hidden_size=24,
            intermediate_size=40,
            layer_types=[kinds[letter] for letter in layers],
            window=64,
            num_attention_heads=3,
            attention_conv_kernel_dim=attention_conv,
            linear_num_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=6,
            num_loop_layers=loop_layers,
        )
        lm = SleepForCausalLM(config).eval()
        for name, parameter in lm.named_parameters():
            if name.endswith("conv"):  # a fresh one before attention is zero: it would say nothing
                torch.nn.init.normal_(parameter, std=0.3)
        for parameter in lm.model.loop_layers.parameters():  # fresh ones change nothing
            torch.nn.init.normal_(parameter, std=0.3)
        return lm.double() if double else lm

    return make
