"""The parts of a block: norm, window-local attention, gated delta net, MLP.

A mixer is a function of (hidden states, its state) that returns both anew; `None` is the state
at the start of a window. Nothing here remembers anything between calls.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepmem.model.config import SleepConfig
from sleepmem.model.delta_rule import delta_step
from sleepmem.model.fla_rule import rule_for

SHORTEST, LONGEST = 100.0, 100_000.0  # tokens after which a fresh layer has forgotten 1/e


class KeyValues(NamedTuple):
    """The KV cache of one attention layer: (batch, heads, tokens, d_head) each.

    `mask` (batch, tokens) is false at padding; None means no padding. `tail`
    (batch, kernel - 1, hidden) feeds the short convolution; None if the layer has none.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None
    tail: Tensor | None = None


class Recurrence(NamedTuple):
    """What one recurrent layer carries from token to token.

    `weights` (batch, heads, d_k, d_v) float32 are the layer's fast weights. `tail`
    (batch, kernel - 1, channels) feeds the short convolution and is dropped with the KV cache.
    """

    weights: Tensor
    tail: Tensor | None


class RMSNorm(nn.Module):
    """Scale to unit root mean square, then by a learned vector."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Apply rotary position embedding to x (B, H, T, D) at positions (B or 1, T)."""
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = positions[:, None, :, None].float() * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def convolve(
    x: Tensor, taps: Tensor, tail: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mix each channel of x (B, T, C) over its last tokens; return the tail for the next call.

    Args:
        taps: (C, 1, kernel), the last one for the token itself.
        tail: the kernel - 1 tokens before; None is the start of a window, zeros.
    """
    kernel = taps.shape[-1]
    if mask is not None:
        x = x * mask[..., None]
    if tail is None:
        tail = x.new_zeros(x.shape[0], kernel - 1, x.shape[-1])
    n_tokens = x.shape[1]
    x = torch.cat([tail, x], dim=1)
    each = taps.to(x.dtype).squeeze(1).unbind(-1)
    # shifted products: the backward of a grouped convolution is several times slower on CPU
    y = reduce(torch.add, (x[:, i : i + n_tokens] * tap for i, tap in enumerate(each)))
    return y, x[:, n_tokens:]


class WindowAttention(nn.Module):
    """Causal softmax attention over the current window.

    With a short convolution each token is read together with those just before it, so that the
    pieces of a name are one thing to attend to.

    Source: the convolution is the Canon layer (A) of Physics of Language Models, part 4.1.
    """

    def __init__(self, config: SleepConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.theta = config.rope_theta
        self.conv: nn.Parameter | None = None
        if config.attention_conv_kernel_dim:
            shape = config.hidden_size, 1, config.attention_conv_kernel_dim
            self.conv = nn.Parameter(torch.zeros(shape))
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self, x: Tensor, cache: KeyValues | None, mask: Tensor | None
    ) -> tuple[Tensor, KeyValues]:
        n_batch, n_tokens, _ = x.shape
        n_past = cache.keys.shape[2] if cache else 0
        q, k, v, tail = self.inputs(x, cache.tail if cache else None, mask, n_past)
        if cache:
            k, v = torch.cat([cache.keys, k], dim=2), torch.cat([cache.values, v], dim=2)
            mask = _joined(cache.mask, mask, n_batch, n_past, n_tokens, x.device)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=_visible(n_past, n_tokens, mask, x.device)
        )
        return self.out(y.transpose(1, 2).reshape(x.shape)), KeyValues(k, v, mask, tail)

    def inputs(
        self, x: Tensor, tail: Tensor | None, mask: Tensor | None, n_past: int = 0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return q, k and v, (batch, heads, tokens, d_head), and the tail for the next call."""
        n_batch, n_tokens, _ = x.shape
        x, tail = self.mix(x, tail, mask)
        q, k, v = self.qkv(x).view(n_batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        positions = torch.arange(n_past, n_past + n_tokens, device=x.device)[None]
        return rotate(q, positions, self.theta), rotate(k, positions, self.theta), v, tail

    def mix(
        self, x: Tensor, tail: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Add to each token those just before it; return the tail for the next call."""
        if self.conv is None:
            return x, None
        before, tail = convolve(x, self.conv, tail, mask)
        return x + before, tail


def _joined(
    past: Tensor | None,
    now: Tensor | None,
    n_batch: int,
    n_past: int,
    n_tokens: int,
    device: torch.device,
) -> Tensor | None:
    """Concatenate the padding masks of cache and input; None stands for no padding."""
    if past is None and now is None:
        return None
    if past is None:
        past = torch.ones(n_batch, n_past, dtype=torch.bool, device=device)
    if now is None:
        now = torch.ones(n_batch, n_tokens, dtype=torch.bool, device=device)
    return torch.cat([past, now], dim=1)


def _visible(
    n_past: int, n_tokens: int, mask: Tensor | None, device: torch.device
) -> Tensor | None:
    """Return which keys each query sees, True = sees; None if all.

    A padded query sees itself, so that its row of the softmax is not empty.
    """
    if n_tokens == 1 and mask is None:
        return None
    causal = torch.ones(n_tokens, n_past + n_tokens, dtype=torch.bool, device=device).tril(n_past)
    if mask is None:
        return causal
    itself = torch.eye(n_tokens, dtype=torch.bool, device=device)
    itself = torch.cat([itself.new_zeros(n_tokens, n_past), itself], dim=1)
    return (causal & mask[:, None, None, :]) | itself


class GatedDeltaNet(nn.Module):
    """The layer whose state is memory: short convolution, gated delta rule, output gate.

    Source: arXiv 2412.06464, and section 3 of arXiv 2605.26099 (the fast weights).
    """

    def __init__(self, config: SleepConfig) -> None:
        super().__init__()
        self.n_heads = config.linear_num_heads
        self.d_k, self.d_v = config.linear_key_head_dim, config.linear_value_head_dim
        self.kernel = config.linear_conv_kernel_dim
        self.channels = self.n_heads * (2 * self.d_k + self.d_v)
        d_model, d_values = config.hidden_size, self.n_heads * self.d_v
        self.qkv = nn.Linear(d_model, self.channels, bias=False)
        self.conv = nn.Parameter(torch.empty(self.channels, 1, self.kernel))
        self.write_gate = nn.Linear(d_model, self.n_heads)
        self.decay_gate = nn.Linear(d_model, self.n_heads, bias=False)
        self.decay_bias = nn.Parameter(torch.empty(self.n_heads))
        self.decay_log = nn.Parameter(torch.zeros(self.n_heads))
        self.output_gate = nn.Linear(d_model, d_values, bias=False)
        self.norm = RMSNorm(self.d_v, config.rms_norm_eps)
        self.out = nn.Linear(d_values, d_model, bias=False)

    def reset_parameters(self) -> None:
        """Start as a memory that lasts, and in which the same words find what they wrote."""
        nn.init.normal_(self.conv, std=0.2)
        self.conv.data[..., -1] += 1.0  # the token itself, with a little of its neighbours
        # queries start as keys: without it names of a closed list were never told apart
        n_keys = self.n_heads * self.d_k
        for parameter in (self.qkv.weight, self.conv):
            parameter.data[:n_keys] = parameter.data[n_keys : 2 * n_keys]
        nn.init.zeros_(self.write_gate.bias)
        rate = torch.linspace(math.log(1 / LONGEST), math.log(1 / SHORTEST), self.n_heads).exp()
        self.decay_bias.data.copy_(rate + torch.log(-torch.expm1(-rate)))  # softplus^-1
        nn.init.zeros_(self.decay_log)

    def blank(self, n_batch: int, device: torch.device) -> Tensor:
        """Return a newborn's state, (batch, heads, d_k, d_v) float32."""
        return torch.zeros(n_batch, self.n_heads, self.d_k, self.d_v, device=device)

    def forward(
        self, x: Tensor, state: Recurrence, mask: Tensor | None
    ) -> tuple[Tensor, Recurrence]:
        o, after = self.remember(x, state, mask)
        return self.outputs(o, x), after

    def remember(
        self, x: Tensor, state: Recurrence, mask: Tensor | None
    ) -> tuple[Tensor, Recurrence]:
        """Return what the delta rule reads, (batch, tokens, heads, d_v), and the state after it."""
        (q, k, v, g, beta), tail = self.inputs(x, state.tail, mask)
        rule = rule_for(x.device, self.d_k, self.d_v)
        with torch.autocast(x.device.type, enabled=False):  # what is remembered stays float32
            if x.shape[1] == 1:
                one = q[:, 0], k[:, 0], v[:, 0], g[:, 0], beta[:, 0]
                o, weights = delta_step(*one, state.weights)
                o = o[:, None]
            else:
                o, weights = rule(q, k, v, g, beta, state.weights)
        return o, Recurrence(weights, tail)

    def inputs(
        self, x: Tensor, tail: Tensor | None, mask: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Return q, k, v, g and beta of the delta rule, and the tail for the next call."""
        n_batch, n_tokens, _ = x.shape
        mixed, tail = convolve(self.qkv(x), self.conv, tail, mask)
        n_keys, n_values = self.n_heads * self.d_k, self.n_heads * self.d_v
        q, k, v = F.silu(mixed).float().split([n_keys, n_keys, n_values], dim=-1)
        q = F.normalize(q.view(n_batch, n_tokens, self.n_heads, self.d_k), dim=-1)
        k = F.normalize(k.view(n_batch, n_tokens, self.n_heads, self.d_k), dim=-1)
        v = v.view(n_batch, n_tokens, self.n_heads, self.d_v)
        beta = torch.sigmoid(self.write_gate(x).float())
        g = -self.decay_log.exp() * F.softplus(self.decay_gate(x).float() + self.decay_bias)
        if mask is not None:  # padding neither decays nor writes
            beta, g = beta * mask[..., None], g * mask[..., None]
        return (q, k, v, g, beta), tail

    def outputs(self, o: Tensor, x: Tensor) -> Tensor:
        """Return what the layer makes of what the delta rule reads, (B, T, H, V)."""
        o = self.norm(o.to(x.dtype)).flatten(2)
        return self.out(o * F.silu(self.output_gate(x)))


class SwiGLU(nn.Module):
    """Gated MLP."""

    def __init__(self, config: SleepConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)
