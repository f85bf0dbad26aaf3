"""Fine-tuning in the device's integers, so that nothing changes at export."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ..errors import LavaBsnnError
from ..neuron import LIF, MultiThresholdLIF
from ..norm import BatchNorm
from .batches import Data
from .engine import Epoch
from .loop import fit
from .schedule import optimizer


def match_device(model: torch.nn.Module) -> None:
    """Let a trained model compute as the device will: batch norm frozen, neurons in matched mode.

    Membranes of k bits keep their bits, others get 24. From then on the forward pass, in training and
    evaluation, is that of ``netx_export.convert(model, "extended")``, spike for spike.

    Raises:
        LavaBsnnError: a neuron has no matched mode: neither LIF nor MultiThresholdLIF, or a LIF with a
            threshold that is not a multiple of ``1 / scale`` (1/64), ``current_decay`` below 1, or
            ``membrane_when`` other than ``"stored"``. Nothing is changed then.
    """
    neurons = [m for m in model.modules() if hasattr(m, "neuron") and isinstance(m.neuron, torch.nn.Module)]
    for module in neurons:
        if not isinstance(module.neuron, (LIF, MultiThresholdLIF)):
            raise LavaBsnnError(
                f"match_device: {type(module.neuron).__name__} has no matched mode; use LIF or "
                "MultiThresholdLIF neurons"
            )
    for part in model.modules():
        if isinstance(part, (LIF, MultiThresholdLIF)):  # raises before anything is changed
            copy.deepcopy(part).match_device()
    for part in model.modules():
        if isinstance(part, (LIF, MultiThresholdLIF)):
            part.match_device()
        elif isinstance(part, BatchNorm):
            part.frozen = True
            part.eval()


def finetune(
    model: torch.nn.Module, train: Data, test: Data, *, epochs: int = 3, lr: float = 2e-4, **options: Any
) -> list[Epoch]:
    """Train on with the device's integers in the forward pass (quantisation-aware training).

    Batch norm is folded: its statistics stay as they are, gain and offset are rounded to the device's
    grid and still learn. See :func:`match_device`; options are those of :func:`fit`.
    """
    match_device(model)
    return fit(model, train, test, epochs=epochs, optimizer=optimizer(lr=lr), **options)
