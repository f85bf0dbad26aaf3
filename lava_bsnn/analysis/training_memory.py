"""Memory that a training step takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_COPIES = {"sgd": 3, "adam": 4, "adamw": 4, "bso": 3}
"""Values that training holds per parameter: itself, its gradient, and what the optimizer remembers."""
OPTIMIZERS = tuple(_COPIES)
_LARGE = 24e9
"""Bytes of a usual GPU."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a training step in bytes. An estimate.

    Attributes:
        fixed: parameters, gradients and the optimizer's memories.
        per_sample: what autograd keeps of a sample, measured.
    """

    fixed: int
    per_sample: float

    def at(self, batch_size: int) -> int:
        """Of a step on so many samples."""
        return round(self.fixed + self.per_sample * batch_size)

    @property
    def largest_batch(self) -> int:
        """Samples whose training step takes 24 GB."""
        return max(0, int((_LARGE - self.fixed) / self.per_sample))


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts what autograd keeps for the backward pass, each storage once."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}
        super().__init__(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def memory(
        self, model: torch.nn.Module, samples: int, optimizer: str, *, averaged: bool = False
    ) -> Memory:
        """Memory of a step of the model, which ran on so many samples; ``averaged``: weights have a mean."""
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        activations = sum(size for address, size in self._kept.items() if address not in weights)
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return Memory(
            fixed=4 * (_COPIES[optimizer] + averaged) * parameters, per_sample=activations / samples
        )
