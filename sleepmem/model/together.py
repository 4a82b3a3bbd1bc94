"""One token for each of several wake states, decoded as one batch.

Matrices are applied to all states at once, which is where the time goes; KV cache and fast weights
stay each state's own, so states of any length go together. A row differs from the same state
decoded alone by rounding only, since a product of many rows may be summed in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.delta_rule import delta_step_each
from sleepmem.model.layers import (
    GatedDeltaNet,
    KeyValues,
    Recurrence,
    WindowAttention,
    rotate,
)
from sleepmem.model.network import Block, LayerState, SleepForCausalLM


def step_together(
    lm: SleepForCausalLM, states: Sequence[Sequence[LayerState]], token_ids: Sequence[int]
) -> tuple[Tensor, list[list[LayerState]]]:
    """Read one token into each state.

    Args:
        states: layer states of each, unchanged; none of them padded.
        token_ids: one for each.

    Returns:
        Logits (states, vocab) after the token, and the new layer states of each.
    """
    h = lm.embed(torch.tensor([[token_id] for token_id in token_ids]))
    columns = []
    for n, block in enumerate(cast(Sequence[Block], lm.model.layers)):
        x = block.mixer_norm(h)
        before = [state[n] for state in states]
        if isinstance(block.mixer, GatedDeltaNet):
            y, after = _remember(block.mixer, x, cast(list[Recurrence], before))
        else:
            attention = cast(WindowAttention, block.mixer)
            y, after = _attend(attention, x, cast(list[KeyValues | None], before))
        h = h + y
        h = h + block.mlp(block.mlp_norm(h))
        columns.append(after)
    return lm.logits(h[:, 0]), [list(state) for state in zip(*columns, strict=True)]


def _attend(
    mixer: WindowAttention, x: Tensor, caches: Sequence[KeyValues | None]
) -> tuple[Tensor, list[LayerState]]:
    n_states = len(caches)
    n_past = [cache.keys.shape[2] if cache else 0 for cache in caches]
    x, tails = _mixed(mixer, x, caches)
    q, k, v = mixer.qkv(x).view(n_states, 1, 3, mixer.n_heads, -1).permute(2, 0, 3, 1, 4)
    positions = torch.tensor(n_past)[:, None]
    q, k = rotate(q, positions, mixer.theta), rotate(k, positions, mixer.theta)
    rows: list[Tensor] = []
    after: list[LayerState] = []
    for n, cache in enumerate(caches):
        keys, values = k[n : n + 1], v[n : n + 1]
        if cache:
            keys = torch.cat([cache.keys, keys], dim=2)
            values = torch.cat([cache.values, values], dim=2)
        else:  # of this state alone, so that it does not keep the batch alive
            keys, values = keys.clone(), values.clone()
        rows.append(F.scaled_dot_product_attention(q[n : n + 1], keys, values))
        after.append(KeyValues(keys, values, None, tails[n]))
    y = torch.cat(rows)
    return mixer.out(y.transpose(1, 2).reshape(x.shape)), after


def _mixed(
    mixer: WindowAttention, x: Tensor, caches: Sequence[KeyValues | None]
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Apply the short convolution of an attention layer; return each state's tail, if any."""
    if mixer.conv is None:
        return x, [None] * len(caches)
    zero = x.new_zeros(1, mixer.conv.shape[-1] - 1, x.shape[-1])
    tails = [zero if cache is None or cache.tail is None else cache.tail for cache in caches]
    mixed, after = mixer.mix(x, torch.cat(tails), None)
    assert after is not None
    return mixed, [tail.clone() for tail in after.split(1)]  # each of its state alone


def _remember(
    mixer: GatedDeltaNet, x: Tensor, states: Sequence[Recurrence]
) -> tuple[Tensor, list[LayerState]]:
    zero = x.new_zeros(1, mixer.kernel - 1, mixer.channels)
    tails = [zero if state.tail is None else state.tail for state in states]
    inputs, after = mixer.inputs(x, torch.cat(tails), None)
    q, k, v, g, beta = (part[:, 0] for part in inputs)
    o, weights = delta_step_each(q, k, v, g, beta, [state.weights for state in states])
    rows = zip(weights, after.split(1), strict=True)
    return mixer.outputs(o[:, None], x), [Recurrence(row, end.clone()) for row, end in rows]
