"""Norm, modulation and neurons of a block in one pass: what drives neurons, without computing currents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..functional.backend import backend_of
from ..functional.drive import Drive
from ..functional.gate import gate
from ..modulation import AGMM, ConstantGate
from ..neuron import LIF, MultiThresholdLIF
from ..norm import BatchNorm, Bias

SMALL = 1 << 16
"""Neuron-steps below which the parts one by one are faster."""


class _Moments(torch.autograd.Function):
    """Images as they are, and their mean and mean square over space."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(images)
        ctx.backend = backend_of(images)
        return images.view_as(images), *ctx.backend.moments(images)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (images,) = ctx.saved_tensors
        return ctx.backend.add_moment_gradients(grads[0], images, grads[1], grads[2])


def drive_of(block: Any, y: Tensor, skipped: Tensor | None) -> Drive | None:
    """What drives the neurons of a block; None where kernels do not know the block as it is.

    Args:
        block: a :class:`~lava_bsnn.block.SpikingBlock`.
        y: weighted input ``[N, C, H, W, T]``.
        skipped: what a shortcut adds, likewise.
    """
    norm, modulation = block.norm, block.modulation
    if not _is_known(block, y):
        return None
    images = y.movedim(-1, 0)
    num_steps = len(images)
    images = images[:1] if num_steps > 1 and y.stride(-1) == 0 else images
    takes_statistics = norm is not None and (norm.training or norm.running_mean is None)
    first: Any = None
    second: Any = None
    if takes_statistics or isinstance(modulation, AGMM):
        images, first, second = _Moments.apply(images)
    if norm is None:
        gain, offset = (
            y.new_ones(y.shape[1], dtype=torch.float32),
            y.new_zeros(y.shape[1], dtype=torch.float32),
        )
    elif takes_statistics:
        count = y[..., 0].numel() // y.shape[1] * len(images)
        gain, offset = norm.batch_terms(first.mean((0, 1)), second.mean((0, 1)), count)
    else:
        gain, offset = norm.affine_terms()
    factor: Any = None
    if isinstance(modulation, AGMM):
        factor = gate(gain * first + offset, modulation.alpha, modulation.per)
        factor = factor.detach() if modulation.detach else factor
    elif isinstance(modulation, ConstantGate):
        factor = modulation.factor
    if factor is not None:
        gain, offset = gain * factor, offset * factor
    gain, offset = (
        term.float().expand(1, 1, -1) if term.dim() == 1 else term.float() for term in (gain, offset)
    )
    return Drive(
        images=images,
        gain=gain,
        offset=offset,
        skipped=None if skipped is None else skipped.movedim(-1, 0),
        num_steps=num_steps,
    )


def _is_known(block: Any, y: Tensor) -> bool:
    norm, modulation, neuron = block.norm, block.modulation, block.neuron
    bits = getattr(neuron, "membrane_bits", None) is not None
    if y.dim() != 5 or y.numel() < SMALL or backend_of(y, bits=bits) is None:
        return False
    if type(neuron) not in (LIF, MultiThresholdLIF) or not neuron.takes_drives:
        return False
    if type(norm) not in (BatchNorm, Bias, type(None)) or type(modulation) not in (
        AGMM,
        ConstantGate,
        type(None),
    ):
        return False
    if norm is None and modulation is None:
        return False
    return not any(_has_hooks(module) for module in (norm, modulation, neuron) if module is not None)


def _has_hooks(module: torch.nn.Module) -> bool:
    """Whether somebody wants to see what goes in or comes out."""
    return any(
        getattr(module, name)
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )
