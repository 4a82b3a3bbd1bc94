"""Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sleepmem.model.network import SleepForCausalLM
from sleepmem.train.settings import TrainSettings

State = dict[str, Tensor]


class Optimizers:
    """One or two optimisers that step together along one schedule."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = parts
        self._peaks = [[group["lr"] for group in part.param_groups] for part in parts]

    def step(self, scale: float) -> None:
        """Update the weights at `scale` times the peak learning rates, and drop the gradients."""
        for part, peaks in zip(self._parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * scale
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> State:
        """Return all that a resume needs."""
        return {
            f"{n}.{index}.{key}": torch.as_tensor(value).contiguous()
            for n, part in enumerate(self._parts)
            for index, entry in part.state_dict()["state"].items()
            for key, value in entry.items()
        }

    def restore(self, tensors: State) -> None:
        """Take over what `tensors` returned."""
        states: list[dict[int, State]] = [{} for _ in self._parts]
        for name, tensor in tensors.items():
            n, index, key = name.split(".", 2)
            states[int(n)].setdefault(int(index), {})[key] = tensor
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(
                {"state": state, "param_groups": part.state_dict()["param_groups"]}
            )


def build_optimizers(settings: TrainSettings, lm: SleepForCausalLM) -> Optimizers:
    """Return the optimisers; norms, biases, convolutions and decay are not shrunk."""
    ours = dict(lm.named_parameters())
    matrices = [p for p in ours.values() if p.dim() == 2]
    in_blocks = [p for name, p in ours.items() if p.dim() == 2 and "layers." in name]
    others = [p for p in ours.values() if p.dim() != 2]
    if settings.optimizer == "muon":
        kept = {id(p) for p in in_blocks}
        matrices = [p for p in matrices if id(p) not in kept]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.95))
    if settings.optimizer == "adamw":
        return Optimizers([adamw])
    muon = torch.optim.Muon(
        in_blocks,
        lr=settings.muon_lr,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return Optimizers([adamw, muon])


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Return the share of the peak: a linear warm-up, in the end a cosine down to `final_lr`."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    falling = max(1, settings.steps - settings.warmup)
    if settings.decay is not None:
        falling = min(falling, settings.decay)
    done = 1 - (settings.steps - step) / falling
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return settings.final_lr + (1 - settings.final_lr) * cosine
