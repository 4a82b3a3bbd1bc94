"""Layer states in and out of the `DynamicCache` of transformers, so that `generate` works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sleepmem.model.layers import KeyValues, Recurrence


def read_cache(cache: Any, start: Sequence[Any]) -> list[Any]:
    """Return the layer states that `cache` holds, those of `start` where it is still empty."""
    states: list[Any] = []
    for layer, state in zip(cache.layers, start, strict=True):
        if isinstance(state, Recurrence):
            if layer.has_previous_state[0]:
                tail = layer.conv_states[0].transpose(1, 2)
                state = Recurrence(layer.recurrent_states[0], tail)
        elif layer.is_initialized and layer.keys.numel():
            kept = (getattr(layer, name, None) for name in ("padding", "tail"))
            state = KeyValues(layer.keys, layer.values, *kept)
        states.append(state)
    return states


def write_cache(cache: Any, states: Sequence[Any]) -> None:
    """Put layer states into `cache`, assigned and not copied in place, so that autograd works."""
    for layer, state in zip(cache.layers, states, strict=True):
        if isinstance(state, Recurrence):
            assert state.tail is not None
            tail = state.tail.transpose(1, 2)
            layer.conv_states[0], layer.recurrent_states[0] = tail, state.weights
            layer.conv_kernel_size[0] = tail.shape[-1]
            layer.is_conv_states_initialized[0] = layer.is_recurrent_states_initialized[0] = True
            layer.has_previous_state[0] = True
            layer.dtype, layer.device = tail.dtype, tail.device
        else:
            if not layer.is_initialized:
                layer.lazy_initialization(state.keys, state.values)
            layer.keys, layer.values, layer.padding, layer.tail = state
