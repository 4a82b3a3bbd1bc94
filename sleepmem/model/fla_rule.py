"""The delta rule by flash-linear-attention, where it is installed and does what ours does.

Its kernels multiply in bfloat16, so they serve mixed precision on CUDA and nothing else; agents
and training in float32 stay with `delta_chunked`. The state stays float32 in both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model.delta_rule import delta_chunked, delta_scan

TOLERANCE, OF_GRADIENTS = 1e-2, 1e-1  # of the norm of what the scan gives
Rule = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def rule_for(device: torch.device, d_k: int, d_v: int) -> Rule:
    """Return what does the work of `delta_chunked` on a device, at the precision in use."""
    if device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return checked_rule(device, d_k, d_v)
    return delta_chunked


@cache
def checked_rule(device: torch.device, d_k: int, d_v: int) -> Rule:
    """Return the kernel after it was seen to agree with `delta_scan`, else `delta_chunked`."""
    try:
        kernel = import_module("fla.ops.gated_delta_rule").chunk_gated_delta_rule
    except ImportError:
        return delta_chunked

    def rule(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        q, k, v = (x.bfloat16() for x in (q, k, v))
        how: dict[str, Any] = {"scale": 1.0, "initial_state": state, "output_final_state": True}
        output, new = kernel(q, k, v, g, beta, use_qk_l2norm_in_kernel=False, **how)
        return output.float(), new.float()

    try:
        problem = _disagreement(rule, device, d_k, d_v)
    except Exception as error:  # a kernel may fail in as many ways as there are compilers
        problem = f"{type(error).__name__}: {error}"
    if problem:
        warnings.warn(f"flash-linear-attention is not used: {problem}", stacklevel=3)
        return delta_chunked
    return rule


def _disagreement(rule: Rule, device: torch.device, d_k: int, d_v: int) -> str:
    """Return what of outputs, states and gradients differs from the scan; empty if nothing."""
    gen = torch.Generator().manual_seed(0)  # the random stream of training is left alone

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen)

    q, k = (F.normalize(normal(2, 97, 2, d_k), dim=-1).bfloat16().float() for _ in range(2))
    v, state = normal(2, 97, 2, d_v).bfloat16().float(), normal(2, 2, d_k, d_v)
    g, beta = -0.1 * normal(2, 97, 2).sigmoid(), normal(2, 97, 2).sigmoid()
    found: list[tuple[Tensor, ...]] = []
    for one in (rule, delta_scan):
        inputs = [x.to(device).requires_grad_() for x in (q, k, v, g, beta, state)]
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            output, new = one(*inputs)
            gradients = torch.autograd.grad(output.square().sum() + new.square().sum(), inputs)
        found.append((output.detach(), new.detach(), *gradients))
    for n, (ours, theirs) in enumerate(zip(found[1], found[0], strict=True)):
        off = float((theirs - ours).norm() / ours.norm())
        if not off <= (TOLERANCE if n < 2 else OF_GRADIENTS):  # NaN is off as well
            return f"result {n} is off by {off:.1%}"
    return ""
