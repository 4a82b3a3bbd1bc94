"""Step, scan and chunks are one rule."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sleepmem.model.delta_rule import (
    CHUNK,
    delta_chunked,
    delta_scan,
    delta_step,
    delta_step_each,
)

NAMES = ("q", "k", "v", "g", "beta", "state")


def draw(n_tokens: int, *, n_batch: int = 2, n_heads: int = 3, seed: int = 42) -> list[Tensor]:
    d_k, d_v = 7, 5
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen)

    return [
        F.normalize(normal(n_batch, n_tokens, n_heads, d_k), dim=-1),
        F.normalize(normal(n_batch, n_tokens, n_heads, d_k), dim=-1),
        normal(n_batch, n_tokens, n_heads, d_v),
        -torch.rand(n_batch, n_tokens, n_heads, generator=gen) * 0.3,
        torch.rand(n_batch, n_tokens, n_heads, generator=gen),
        normal(n_batch, n_heads, d_k, d_v),
    ]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1e-3, 1.0, 1e3]))
def test_a_token_adds_at_most_its_value_to_the_squared_norm(seed: int, scale: float) -> None:
    q, k, v, g, beta, state = draw(1, seed=seed)
    state = state * scale
    _, after = delta_step(q[:, 0], k[:, 0], v[:, 0], g[:, 0], beta[:, 0], state)
    bound = state.square().sum((-2, -1)) + v[:, 0].square().sum(-1)
    assert (after.square().sum((-2, -1)) <= bound * (1 + 1e-5)).all()


@pytest.mark.parametrize("n_tokens", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 97])
def test_chunks_equal_scan_in_outputs_state_and_gradients(n_tokens: int) -> None:
    results = []
    for rule in (delta_scan, delta_chunked):
        inputs = [x.requires_grad_() for x in draw(n_tokens)]
        output, state = rule(*inputs)
        (output.sin().sum() + state.cos().sum()).backward()
        results.append((output, state, [x.grad for x in inputs]))
    (o1, s1, g1), (o2, s2, g2) = results
    torch.testing.assert_close(o2, o1, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(s2, s1, rtol=1e-5, atol=1e-5)
    for name, a, b in zip(NAMES, g1, g2, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("n_batch", [1, 5])
def test_states_that_lie_apart_take_the_same_step_and_are_left_alone(n_batch: int) -> None:
    q, k, v, g, beta, state = draw(1, n_batch=n_batch)
    one = q[:, 0], k[:, 0], v[:, 0], g[:, 0], beta[:, 0]
    output, after = delta_step(*one, state)
    before = state.clone()
    outputs, each = delta_step_each(*one, state.split(1))
    torch.testing.assert_close(outputs, output)
    torch.testing.assert_close(torch.cat(each), after)
    assert torch.equal(state, before)
    assert len({row.untyped_storage().data_ptr() for row in each}) == n_batch


def test_step_is_the_equation_of_the_paper() -> None:
    q, k, v, g, beta, state = (x[:1] for x in draw(1, n_heads=1))
    output, new = delta_step(q[:, 0], k[:, 0], v[:, 0], g[:, 0], beta[:, 0], state)
    decayed = g.exp().item() * state[0, 0]
    error = v[0, 0, 0] - decayed.T @ k[0, 0, 0]
    expected = decayed + torch.outer(k[0, 0, 0], beta.item() * error)
    torch.testing.assert_close(new[0, 0], expected)
    torch.testing.assert_close(output[0, 0], expected.T @ q[0, 0, 0])


@settings(max_examples=25, deadline=None)
@given(n_tokens=st.integers(2, 80), cut=st.integers(1, 79), seed=st.integers(0, 10_000))
def test_two_chunked_calls_equal_one(n_tokens: int, cut: int, seed: int) -> None:
    cut = min(cut, n_tokens - 1)
    *inputs, state = draw(n_tokens, seed=seed)
    whole, end = delta_chunked(*inputs, state)
    first, middle = delta_chunked(*(x[:, :cut] for x in inputs), state)
    second, last = delta_chunked(*(x[:, cut:] for x in inputs), middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(last, end, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", [delta_scan, delta_chunked])
def test_token_without_decay_and_write_leaves_the_state_bit_for_bit(rule) -> None:
    q, k, v, g, beta, state = draw(40)
    _, new = rule(q, k, v, torch.zeros_like(g), torch.zeros_like(beta), state)
    assert torch.equal(new, state)


def test_repeated_keys_stay_finite() -> None:
    # inverting by repeated squaring gives 1e34 here
    q, k, v, g, beta, state = draw(96)
    k = k[:, :1].expand_as(k)
    output, new = delta_chunked(q, k, v, torch.zeros_like(g), torch.ones_like(beta), state)
    expected, end = delta_scan(q, k, v, torch.zeros_like(g), torch.ones_like(beta), state)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new, end, rtol=1e-4, atol=1e-4)
