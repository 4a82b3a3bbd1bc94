"""The mean of a model's weights over the last steps of its training: it errs less than any of them.

Source: tail averaging of Polyak and Ruppert; for networks after arXiv 1803.05407.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TailMean:
    """A running mean of the weights of a model, until it is given to the model."""

    def __init__(self, lm: nn.Module) -> None:
        self._weights = dict(lm.named_parameters())
        self._mean: dict[str, Tensor] = {}
        self._n_steps = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take in the weights as they are."""
        self._n_steps += 1
        for name, weight in self._weights.items():
            mean = self._mean.setdefault(name, torch.zeros_like(weight))
            mean.lerp_(weight, 1 / self._n_steps)

    def keep(self, n_steps: int) -> None:
        """Forget a mean of more than `n_steps`: the older of them are none of the last any more."""
        if self._n_steps > n_steps:
            self._mean, self._n_steps = {}, 0

    @torch.no_grad()
    def settle(self) -> None:
        """Give the mean to the model, if there is one, and forget it."""
        for name, mean in self._mean.items():
            self._weights[name].copy_(mean)
        self.keep(0)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a resume needs; nothing if there is no mean."""
        return self._mean | {"": torch.tensor(self._n_steps)} if self._n_steps else {}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` returned.

        Raises:
            KeyError, RuntimeError: it is of another model.
        """
        self._n_steps = int(tensors.get("", 0))
        self._mean = {
            name: torch.zeros_like(weight).copy_(tensors[name])
            for name, weight in (self._weights.items() if self._n_steps else ())
        }
