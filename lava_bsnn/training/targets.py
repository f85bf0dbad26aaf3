"""What a target of export lacks, in a model that is trained for it."""

from __future__ import annotations

from typing import Any

import torch

from .. import block
from ..errors import LavaBsnnError, check_option
from ..fixed_point import STATE_BITS
from ..modulation import AGMM, ConstantGate

TARGETS = ("extended", "stock", "loihi")
"""Targets of export that a model can be trained for."""
_OPEN = 0.5
"""A gate of AGMM at a mean current of 0."""


def on_chip(target: str) -> bool:
    """Whether a target has Loihi's own neurons only."""
    return target != "extended"


def check_target(where: str, model: torch.nn.Module, target: str) -> None:
    """Refuse neurons that a target does not have.

    Raises:
        OptionError: an unknown target.
        LavaBsnnError: as said.
    """
    check_option(where, "target", target, TARGETS)
    for module in model.modules():
        neuron: Any = getattr(module, "neuron", None)
        if not on_chip(target) or not isinstance(module, block.SpikingBlock) or neuron is None:
            continue
        bits, levels = getattr(neuron, "membrane_bits", None), getattr(neuron, "levels", 1)
        if bits is not None and bits < STATE_BITS:
            raise LavaBsnnError(
                f"{where}: membranes of {bits} bits do not exist for target={target!r}; use 'extended', or "
                "train without membrane_bits"
            )
        for name in ("current_decay", "voltage_decay"):
            if not isinstance(getattr(neuron, f"cx_{name}", 0), int):
                raise LavaBsnnError(
                    f"{where}: {module.label}: a {name} per channel (shared_param=False) does not exist for "
                    f"target={target!r}; use 'extended', or shared_param=True"
                )
        mixes = getattr(neuron, "mix", None) is not None and neuron.mix.logits is not None
        if levels > 1 or mixes or getattr(neuron, "lam_logit", None) is not None:
            raise LavaBsnnError(
                f"{where}: neurons of L={levels} thresholds, mixing of steps or a learned leak do not exist "
                f"for target={target!r}; use 'extended'"
            )


def train_for(where: str, model: torch.nn.Module, target: str) -> None:
    """Replace what a target lacks: a gate of AGMM by a learned factor per channel, half open at first.

    Raises:
        OptionError: an unknown target.
        LavaBsnnError: neurons that the target does not have.
    """
    check_target(where, model, target)
    if not on_chip(target):
        return
    for module in model.modules():
        if isinstance(getattr(module, "modulation", None), AGMM):
            device = next(module.parameters()).device
            module.modulation = ConstantGate(torch.full(module.shape[:1], _OPEN, device=device))  # type: ignore[index,arg-type]
