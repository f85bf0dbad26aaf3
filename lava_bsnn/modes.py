"""Evaluation that leaves a model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluate without gradients; modes and buffers, with them neuron states, are restored."""
    modes = {module: (module.training, dict(module._buffers)) for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, (training, buffers) in modes.items():
            module.training = training
            module._buffers.update(buffers)
