"""Memory that a training step takes."""

from __future__ import annotations

import torch
from torch import Tensor

COPIES = {"sgd": 3, "adam": 4, "adamw": 4}
"""Values that training holds per parameter: itself, its gradient, and what the optimizer remembers."""


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts what autograd keeps for the backward pass, each storage once."""

    def __init__(self) -> None:
        self._kept: dict[int, int] = {}
        super().__init__(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def of(self, model: torch.nn.Module) -> int:
        """Bytes, without those of the model's parameters."""
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        return sum(size for address, size in self._kept.items() if address not in weights)


def training_bytes(model: torch.nn.Module, per_sample: float, batch_size: int, copies: int) -> int:
    """Bytes of a training step: so many copies of each parameter, and what autograd keeps per sample."""
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return round(4 * copies * parameters + per_sample * batch_size)
