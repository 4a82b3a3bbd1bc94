"""The native hybrid: embedding, blocks, norm, tied output; a transformers model.

    embed -> [ mixer + MLP ] x n_layers -> norm -> logits

The blocks are what a sleep loops over; embedding and output stay outside the loop. Loop layers
are for sleep alone; with them, see `sleepmem.model.sleep`, blocks before the first recurrent one
stay outside too.
Source: Eq. 6 of arXiv 2605.26099.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from sleepmem.model.config import ATTENTION, RECURRENT, SleepConfig
from sleepmem.model.layers import (
    GatedDeltaNet,
    KeyValues,
    Recurrence,
    RMSNorm,
    SwiGLU,
    WindowAttention,
)
from sleepmem.model.transformers_cache import read_cache, write_cache

LayerState = KeyValues | Recurrence | None  # None: an attention layer at the start of a window


class ZeroLinear(nn.Linear):
    """A linear layer that gives zero while it is fresh."""


class Block(nn.Module):
    """Mixer and MLP, each behind a norm and beside a residual."""

    def __init__(self, config: SleepConfig, layer_type: str, *, is_loop: bool = False) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mixer = {ATTENTION: WindowAttention, RECURRENT: GatedDeltaNet}[layer_type](config)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config)
        if is_loop:  # a fresh one hands on what it is given
            self.mixer.out = ZeroLinear(config.hidden_size, config.hidden_size, bias=False)
            self.mlp.down = ZeroLinear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(
        self, h: Tensor, state: LayerState, mask: Tensor | None = None
    ) -> tuple[Tensor, LayerState]:
        """Apply to h (batch, tokens, hidden); return it and the layer's state after it."""
        y, state = self.mixer(self.mixer_norm(h), state, mask)
        h = h + y
        return h + self.mlp(self.mlp_norm(h)), state

    def remember(self, h: Tensor, state: LayerState, mask: Tensor | None = None) -> LayerState:
        """Return the state after h of a recurrent layer, without what the block makes of it."""
        assert isinstance(self.mixer, GatedDeltaNet)
        assert isinstance(state, Recurrence)
        _, after = self.mixer.remember(self.mixer_norm(h), state, mask)
        return after


class SleepPreTrainedModel(PreTrainedModel):
    """What transformers needs to know to make, save and load the model."""

    config_class = SleepConfig
    base_model_prefix = "model"
    _is_stateful = True  # cannot be cropped: no assisted decoding, no beam search
    _no_split_modules = ("Block",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if getattr(module, "_is_hf_initialized", False):
            return
        if isinstance(module, GatedDeltaNet):
            module.reset_parameters()
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, WindowAttention) and module.conv is not None:
            nn.init.zeros_(module.conv)
        elif isinstance(module, ZeroLinear):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.Linear):  # recall starts sooner than with 0.02 everywhere
            nn.init.normal_(module.weight, std=self.config.linear_gain * module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


class SleepModel(SleepPreTrainedModel):
    """Embedding, blocks and final norm."""

    def __init__(self, config: SleepConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, kind) for kind in config.layer_types)
        self.loop_layers = nn.ModuleList(
            Block(config, ATTENTION, is_loop=True) for _ in range(config.num_loop_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value

    def blank(self, n_batch: int = 1) -> tuple[Tensor, ...]:
        """Return a newborn's fast weights: (batch, heads, d_k, d_v) for each recurrent layer."""
        return tuple(
            layer.mixer.blank(n_batch, self.embed_tokens.weight.device)
            for layer in self.layers
            if isinstance(layer.mixer, GatedDeltaNet)
        )

    def window_start(self, weights: Sequence[Tensor]) -> list[LayerState]:
        """Return layer states with these fast weights and nothing else: no KV cache, no tail."""
        remaining = iter(weights)
        return [
            Recurrence(next(remaining), None) if kind == RECURRENT else None
            for kind in self.config.layer_types
        ]

    def forward(
        self, h: Tensor, states: Sequence[LayerState], mask: Tensor | None = None
    ) -> tuple[Tensor, list[LayerState]]:
        """Run the blocks once over h (batch, tokens, hidden), from `states`.

        Returns:
            The raw residual stream, without the final norm, and the states after it.
        """
        return through(self.layers, h, states, mask)

    @property
    def prelude(self) -> nn.ModuleList:
        """Layers before the first recurrent one: what they make of a window hangs on it alone."""
        return self.layers[: self.config.layer_types.index(RECURRENT)]

    @property
    def core(self) -> nn.ModuleList:
        """All layers from the first recurrent one to the last: what is written hangs on them."""
        last = max(n for n, kind in enumerate(self.config.layer_types) if kind == RECURRENT)
        return self.layers[len(self.prelude) : last + 1]

    def core_start(self, weights: Sequence[Tensor]) -> list[LayerState]:
        """Return `window_start` of the core's layers."""
        n_prelude = len(self.prelude)
        return self.window_start(weights)[n_prelude : n_prelude + len(self.core)]

    def begin(self, embedded: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the first pass of a sleep writes, (batch, tokens, hidden); the prelude."""
        return _from_nothing(self.prelude, embedded, mask)

    def rewrite(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the next pass writes instead of what this one did; the loop layers."""
        return _from_nothing(self.loop_layers, h, mask)

    def write(
        self, h: Tensor, weights: Sequence[Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the fast weights after h; the core."""
        *states, state = self.core_start(weights)
        h, after = through(self.core[:-1], h, states, mask)
        last = self.core[-1]
        assert isinstance(last, Block)
        return fast_weights([*after, last.remember(h, state, mask)])


def through(
    layers: nn.ModuleList, h: Tensor, states: Sequence[LayerState], mask: Tensor | None
) -> tuple[Tensor, list[LayerState]]:
    """Run layers one after another; return what comes out, and their states after it."""
    after: list[LayerState] = []
    for layer, state in zip(layers, states, strict=True):
        h, state = layer(h, state, mask)
        after.append(state)
    return h, after


def _from_nothing(layers: nn.ModuleList, h: Tensor, mask: Tensor | None) -> Tensor:
    h, _ = through(layers, h, [None] * len(layers), mask)
    return h


def fast_weights(states: Sequence[LayerState]) -> tuple[Tensor, ...]:
    """Return what of the layer states outlives the window."""
    return tuple(state.weights for state in states if isinstance(state, Recurrence))


class SleepForCausalLM(SleepPreTrainedModel, GenerationMixin):
    """The language model; `sleepmem.model.sleep` is what it adds to an ordinary one."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: SleepConfig) -> None:
        super().__init__(config)
        self.model = SleepModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def embed(self, token_ids: Tensor) -> Tensor:
        """Return (batch, tokens, hidden) for ids (batch, tokens).

        Ids (batch, tokens, parts) are tokens of several parts: the sum of their embeddings.
        """
        h = self.model.embed_tokens(token_ids)
        return h.sum(dim=-2) if token_ids.dim() == 3 else h

    def logits(self, h: Tensor) -> Tensor:
        """Return (..., vocab) for the raw residual stream (..., hidden)."""
        return self.lm_head(self.model.norm(h))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """Run one pass as any causal LM of transformers does, from a `DynamicCache` if given.

        Args:
            attention_mask: (batch, past + tokens), zero at padding.
            use_cache: return the cache, a new one if none is given.
            labels: (batch, tokens), -100 where no loss is taken; shifted here.
            logits_to_keep: compute the logits of the last so many positions only; 0 means all.
        """
        h = inputs_embeds
        if h is None:
            assert input_ids is not None
            h = self.embed(input_ids)
        states = self.model.window_start(self.model.blank(h.shape[0]))
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if cache is not None:
            states = read_cache(cache, states)
        mask = None
        if attention_mask is not None and not bool(attention_mask.all()):
            mask = attention_mask[:, -h.shape[1] :].bool()
        h, states = self.model(h, states, mask)
        if use_cache and cache is not None:
            write_cache(cache, states)
        logits = self.logits(h[:, -logits_to_keep:] if logits_to_keep else h)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache if use_cache else None)
