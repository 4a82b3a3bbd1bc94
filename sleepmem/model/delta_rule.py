"""The gated delta rule: one step, of states together or apart, a slow scan, and in chunks.

    S <- exp(g) S                        decay first
    S <- S + k (beta (v - k S))^T        then the delta rule, on the decayed state
    o  = q S

B batch, T tokens, H heads, K key size, V value size. Shapes everywhere:
q, k (B, T, H, K), unit vectors; v (B, T, H, V); g = log decay <= 0 and beta in [0, 1], both
(B, T, H); S (B, H, K, V) float32. A token with g = 0 and beta = 0 leaves S as it is, to the bit.

Source: Gated DeltaNet, arXiv 2412.06464; the chunked form is its WY representation. The inverse
is a triangular solve, since repeated squaring explodes on repeated keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 32  # tokens; the fastest on CPU of those tried


def delta_step(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Read and write one token.

    Args:
        q, k: (B, H, K). v: (B, H, V). g, beta: (B, H). state: (B, H, K, V), unchanged.

    Returns:
        Output (B, H, V) and the new state.
    """
    decay = g.exp()[..., None, None]
    output, new = _seen(q, k, v, decay, beta, torch.stack([k, q], dim=-2) @ state)
    return output, (decay * state).addcmul_(k.unsqueeze(-1), new.unsqueeze(-2))


def delta_step_each(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, states: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Do what `delta_step` does to states that each lie in memory of their own, and stay so.

    One by one they fit the processor's caches; joined they would be copied there and back.

    Args:
        states: B of (1, H, K, V), unchanged.
    """
    decay = g.exp()[..., None, None]
    asked = torch.stack([k, q], dim=-2).split(1)
    read = torch.cat([both @ state for both, state in zip(asked, states, strict=True)])
    output, new = _seen(q, k, v, decay, beta, read)
    writes = zip(states, decay, k.unsqueeze(-1), new.unsqueeze(-2), strict=True)
    return output, [(kept * state).addcmul_(key, value) for state, kept, key, value in writes]


def _seen(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, read: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the output of a token and what it writes, both (B, H, V).

    Args:
        decay: (B, H, 1, 1).
        read: (B, H, 2, V), what k and q find in the state before it decays.
    """
    known, recalled = (decay * read).unbind(-2)
    new = beta[..., None] * (v - known)
    return recalled + (q * k).sum(-1, keepdim=True) * new, new


def delta_scan(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Read and write token by token: the definition that judges `delta_chunked`.

    Returns:
        Outputs (B, T, H, V) and the final state.
    """
    outputs = []
    for t in range(q.shape[1]):
        output, state = delta_step(q[:, t], k[:, t], v[:, t], g[:, t], beta[:, t], state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def delta_chunked(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `delta_scan` does with matrix products, `CHUNK` tokens at a time.

    Within a chunk all writes are solved for at once; between chunks the state is carried.
    """
    n_batch, n_tokens, n_heads, d_k = k.shape
    d_v = v.shape[-1]
    size = min(CHUNK, n_tokens)
    n_chunks = -(-n_tokens // size)

    def chunks(x: Tensor) -> Tensor:  # (B, T, H, ...) -> (B H, n_chunks, size, ...)
        padding = n_chunks * size - n_tokens
        if padding:  # zeros: no decay, no write
            x = torch.cat([x, x.new_zeros(n_batch, padding, *x.shape[2:])], dim=1)
        return x.transpose(1, 2).reshape(n_batch * n_heads, n_chunks, size, *x.shape[3:])

    q, k, v, beta = chunks(q), chunks(k), chunks(v), chunks(beta)[..., None]
    decay = chunks(g).cumsum(-1)  # log decay from the start of the chunk
    upper = torch.ones(size, size, dtype=torch.bool, device=k.device).triu(1)
    between = (decay[..., :, None] - decay[..., None, :]).masked_fill(upper, -torch.inf).exp()
    since_start = decay.exp()[..., None]
    k_t = k.transpose(-1, -2)
    k_beta = k * beta
    # row t of (I + A) W = ... says: what t writes is corrected by what the rows before it wrote
    solved = torch.linalg.solve_triangular(
        (k_beta @ k_t) * between,
        torch.cat([v * beta, k_beta * since_start], dim=-1),
        upper=False,
        unitriangular=True,
    )
    # unbind, not indexing: indexing makes backward quadratic in the number of chunks
    writes = solved[..., :d_v].unbind(1)
    reads = torch.cat([solved[..., d_v:], q * since_start], dim=-2).unbind(1)
    inside = ((q @ k_t) * between).unbind(1)
    to_end = (k * (decay[..., -1:] - decay).exp()[..., None]).transpose(-1, -2).unbind(1)
    whole = decay[..., -1].exp()[..., None, None].unbind(1)

    s = state.reshape(n_batch * n_heads, d_k, d_v)
    outputs = []
    for i in range(n_chunks):
        known, output = (reads[i] @ s).split(size, dim=-2)
        new = writes[i] - known
        outputs.append(torch.baddbmm(output, inside[i], new))
        s = torch.baddbmm(s * whole[i], to_end[i], new)
    out = torch.cat(outputs, dim=1)[:, :n_tokens].reshape(n_batch, n_heads, n_tokens, d_v)
    return out.transpose(1, 2), s.reshape(n_batch, n_heads, d_k, d_v)
