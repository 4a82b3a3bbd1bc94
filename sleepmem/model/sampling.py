"""Choose a token: greedy, or from a tempered and trimmed distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepmem.types import Sampling


def sample(logits: Tensor, how: Sampling, *, position: int) -> int:
    """Return a token id for logits (vocab,).

    Random numbers are keyed by (seed, position), so that a turn derived again draws the same.
    """
    logits = logits.float()
    if how.allowed_ids is not None:
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        allowed[sorted(how.allowed_ids)] = True
        logits = logits.masked_fill(~allowed, -torch.inf)
    if how.temperature == 0:
        return int(logits.argmax())
    ordered, ids = (logits / how.temperature).sort(descending=True)
    shares = ordered.softmax(-1)
    if how.top_k:
        shares[how.top_k :] = 0
    if how.top_p < 1:
        shares[shares.cumsum(-1) - shares >= how.top_p] = 0  # the most likely one always stays
    generator = torch.Generator().manual_seed((how.seed << 20) ^ position)
    return int(ids[torch.multinomial(shares, 1, generator=generator)])
