"""A foreign kernel is used if it does what ours does, and else it is not.

No test machine has the kernel, so one that is like it in what it takes stands for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sleepmem.model import fla_rule
from sleepmem.model.delta_rule import delta_chunked, delta_scan
from sleepmem.model.fla_rule import checked_rule, rule_for

CPU = torch.device("cpu")
Kernel = Callable[..., tuple[Tensor, Tensor]]


def like_fla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **how: Any):
    assert q.dtype == k.dtype == v.dtype == torch.bfloat16  # others are refused
    assert how.pop("output_final_state")
    assert not how.pop("use_qk_l2norm_in_kernel")
    scale, state = how.pop("scale"), how.pop("initial_state")
    assert not how
    output, new = delta_chunked(scale * q.float(), k.float(), v.float(), g, beta, state)
    return output.bfloat16(), new


def scaled(*inputs: Tensor, **how: Any):
    return like_fla(*inputs, **{**how, "scale": how["scale"] * inputs[0].shape[-1] ** -0.5})


def transposed(*inputs: Tensor, **how: Any):
    output, new = like_fla(*inputs, **how)
    return output, new.transpose(-1, -2)


def undecayed(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **how: Any):
    return like_fla(q, k, v, 0.5 * g, beta, **how)


def nan(*inputs: Tensor, **how: Any):
    output, new = like_fla(*inputs, **how)
    return output * torch.nan, new


def backward_only_wrong(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **how: Any):
    return like_fla(q, k, 2 * v - v.detach(), g, beta, **how)


def uncompiled(*inputs: Tensor, **how: Any):
    raise RuntimeError("no compiler")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Kernel], None]]:
    def install(kernel: Kernel) -> None:
        module = ModuleType("fla.ops.gated_delta_rule")
        module.chunk_gated_delta_rule = kernel  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fla.ops.gated_delta_rule", module)

    checked_rule.cache_clear()
    yield install
    checked_rule.cache_clear()


def draw(device: torch.device = CPU) -> list[Tensor]:
    gen = torch.Generator().manual_seed(7)
    q, k = (F.normalize(torch.randn(3, 41, 2, 16, generator=gen), dim=-1) for _ in range(2))
    v, state = torch.randn(3, 41, 2, 24, generator=gen), torch.randn(3, 2, 16, 24, generator=gen)
    g, beta = -torch.rand(3, 41, 2, generator=gen) * 0.1, torch.rand(3, 41, 2, generator=gen)
    return [x.to(device) for x in (q, k, v, g, beta, state)]


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_kernel_that_agrees_is_used_and_its_state_stays_float32(install) -> None:
    install(like_fla)
    rule = checked_rule(CPU, 16, 24)
    assert rule is not delta_chunked
    output, new = rule(*draw())
    expected, end = delta_scan(*draw())
    assert output.dtype == new.dtype == torch.float32
    assert off(output, expected) < 2e-2
    assert off(new, end) < 2e-2


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (scaled, "result 0 is off by 75"),
        (transposed, "result 1 is off by"),
        (undecayed, "result 0 is off by"),
        (nan, "result 0 is off by nan"),
        (backward_only_wrong, "result 4 is off by"),
        (uncompiled, "RuntimeError: no compiler"),
    ],
)
def test_kernel_that_differs_is_not_used_and_a_warning_says_so(
    install, kernel: Kernel, why: str
) -> None:
    install(kernel)
    with pytest.warns(UserWarning, match=f"flash-linear-attention is not used: {why}"):
        assert checked_rule(CPU, 16, 16) is delta_chunked
    assert checked_rule(CPU, 16, 16) is delta_chunked  # and is not tried again


def test_check_leaves_the_random_stream_alone(install) -> None:
    install(like_fla)
    before = torch.get_rng_state()
    checked_rule(CPU, 8, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_kernel_that_is_not_installed_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fla.ops.gated_delta_rule", None)
    checked_rule.cache_clear()
    assert checked_rule(CPU, 16, 16) is delta_chunked


@pytest.mark.parametrize(
    ("device", "is_mixed", "chosen"),
    [("cpu", True, "ours"), ("cuda", False, "ours"), ("cuda", True, "theirs")],
)
def test_kernel_is_for_mixed_precision_on_cuda(
    monkeypatch: pytest.MonkeyPatch, device: str, is_mixed: bool, chosen: str
) -> None:
    monkeypatch.setattr(fla_rule, "delta_chunked", "ours")
    monkeypatch.setattr(fla_rule, "checked_rule", lambda *_: "theirs")
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: is_mixed)
    assert rule_for(torch.device(device), 16, 16) == chosen


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
def test_kernel_of_flash_linear_attention_agrees_with_the_scan() -> None:
    pytest.importorskip("fla")
    cuda = torch.device("cuda")
    rule = checked_rule(cuda, 16, 24)
    assert rule is not delta_chunked
    for found, expected in zip(rule(*draw(cuda)), delta_scan(*draw(cuda)), strict=True):
        assert off(found, expected) < 2e-2
