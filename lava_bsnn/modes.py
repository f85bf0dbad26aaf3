"""Evaluation that leaves a model as it was, and calls that start from rest."""

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


@contextmanager
def from_rest(model: torch.nn.Module) -> Iterator[None]:
    """Let every call start from rest, whatever ``persistent_state`` says; carried states stay as they are."""
    carrying = [module for module in model.modules() if getattr(module, "persistent_state", False)]
    for module in carrying:
        module.persistent_state = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in carrying:
            module.persistent_state = True  # type: ignore[assignment]
