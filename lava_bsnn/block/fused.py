"""Norm, modulation and neurons of a block in one pass: what drives neurons, without computing currents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import distributed
from ..functional import machine
from ..functional.backend import backend_of
from ..functional.drive import Drive
from ..functional.factors import factors_of, gradients_of
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


class _Factors(torch.autograd.Function):
    """Images as they are, and gain and offset of norm with statistics of the batch, and of a gate."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, alpha: Tensor | None, block: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        norm = block.norm
        count = images[:, :, 0].numel()
        norm.check_count(count)
        own = [None if part is None else part.detach().numpy() for part in (weight, bias, alpha)]
        first, second = (part.numpy() for part in machine.moments(images))
        by_layer = alpha is not None and block.modulation.per == "layer"
        ctx.made = factors_of(first, second, own[0], own[1], norm.eps, own[2], by_layer)
        if norm.training:
            norm.follow(torch.from_numpy(ctx.made.mean), torch.from_numpy(ctx.made.variance), count)
        ctx.detached = alpha is not None and block.modulation.detach
        ctx.save_for_backward(images)
        ctx.like = weight, bias, alpha
        gain, offset = (torch.from_numpy(part) for part in (ctx.made.gains, ctx.made.offsets))
        return images.view_as(images), gain, offset

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (images,) = ctx.saved_tensors
        gains, offsets = (part.contiguous().numpy() for part in grads[1:])
        found = gradients_of(ctx.made, gains, offsets, detached=ctx.detached)
        first, second = (torch.from_numpy(part) for part in (found.first, found.second))
        shares = (
            None if like is None else torch.from_numpy(part).view(like.shape).to(like.dtype)
            for part, like in zip((found.weight, found.bias, found.alpha), ctx.like, strict=True)
        )
        return machine.add_moment_gradients(grads[0], images, first, second), *shares, None


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
    if takes_statistics and _is_quick(block, images):
        alpha = None if modulation is None else modulation.alpha
        images, gain, offset = _Factors.apply(images, norm.weight, norm.bias, alpha, block)
        return Drive(images=images, gain=gain, offset=offset, skipped=_ahead(skipped), num_steps=num_steps)
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
        skipped=_ahead(skipped),
        num_steps=num_steps,
    )


def _ahead(skipped: Tensor | None) -> Tensor | None:
    """Steps first."""
    return None if skipped is None else skipped.movedim(-1, 0)


def _is_quick(block: Any, images: Tensor) -> bool:
    """Whether factors of norm and gate are computed in one step."""
    if backend_of(images) is not machine or type(block.modulation) not in (AGMM, type(None)):
        return False
    return not (block.norm.training and distributed.world_size() > 1)


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
