"""A block's arithmetic on the device's integer grid: one definition for matched training and for export.

A block computes ``z = multiplier * sum(q x) + offset`` per channel with integers ``q`` (its
weights) and ``x`` (spikes, spike counts, or intensities); batch norm and the scale of the
weights are folded into multiplier and offset. With ``unit`` membrane steps per unit of
current the device adds ``round(unit * multiplier) * sum(q x) + round(unit * offset)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import fixed_point
from .functional.time import fold_time, unfold_time
from .modulation import AGMM
from .synapse import Dense, Quantize

GATE_BITS = 18
"""Width of a gate's multiplier."""
FLOAT_WEIGHTS = Quantize(bits=8)
"""What floating-point weights become on the device, 8 bits and a step per channel."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A block's real arithmetic ``multiplier * sum(q x) + offset``, in float64.

    Attributes:
        q: integer (or, if not rounded, real) weights ``[out, ...]``.
        multiplier: ``[out]``.
        offset: ``[out]``.
    """

    q: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray


def on_grid(multiplier: np.ndarray, offset: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Membrane steps per weight step and offset in membrane steps, int64 ``[out]`` each."""
    scale, bias = np.rint(unit * multiplier), np.rint(unit * offset)
    return scale.astype(np.int64), bias.astype(np.int64)


def integer_weights(synapse: Any) -> tuple[Tensor, Tensor]:
    """Integer weights ``[out, ...]`` of a synapse and the real step per channel that scales them.

    Floating-point weights, and those of a hook without ``integers``, are rounded to 8 bits.
    """
    hook = synapse.pre_hook_fx
    if hasattr(hook, "integers"):
        q, step = hook.integers(synapse.weight)
    else:
        q, step = FLOAT_WEIGHTS.integers(synapse.effective_weight().detach())
    return q.squeeze(-1) if q.dim() == 5 else q, step


def affine(block: Any, *, exact: bool = False) -> Affine:
    """Fold weights, batch norm (its running statistics) and bias of a spiking block.

    Args:
        exact: leave floating-point weights as they are.
    """
    if hasattr(block.synapse, "tap_weight"):
        channels = block.input_shape[0]
        q = np.ones((channels, 1, *block.synapse.kernel_size[:2]))
        return Affine(q=q, multiplier=np.full(channels, block.synapse.tap_weight), offset=np.zeros(channels))
    if exact and not hasattr(block.synapse.pre_hook_fx, "integers"):
        weights, step = block.synapse.effective_weight().detach(), torch.ones(1)
    else:
        weights, step = integer_weights(block.synapse)
    q = weights.detach().double().cpu().numpy()
    if isinstance(block.synapse, Dense):
        q = q.reshape(len(q), -1)
    multiplier = step.detach().double().cpu().flatten().expand(len(q)).numpy()
    offset = np.zeros(len(q))
    if block.norm is not None:
        gain, shift = (term.detach().double().cpu().numpy() for term in block.norm.affine_terms())
        multiplier, offset = multiplier * gain, shift
    bias = getattr(block, "bias", None)
    if bias is not None:
        offset = offset + bias.detach().double().cpu().numpy()
    return Affine(q=q, multiplier=multiplier, offset=offset)


def gate_multiplier(alpha: np.ndarray, unit: float, count: int) -> tuple[np.ndarray, int]:
    """Multiplier and shift of :func:`lava_bsnn.fixed_point.gate` for AGMM's ``alpha``.

    Args:
        alpha: ``[T]`` or ``[T, C]``.
        unit: membrane steps per unit of current.
        count: number of values that the mean is taken over.
    """
    real = alpha.astype(np.float64) * (1 << fixed_point.GATE_INPUT_BITS) / (unit * count)
    largest = max(float(np.abs(real).max()), 1e-30)
    shift = max(0, min(48, GATE_BITS - math.ceil(math.log2(largest))))
    return np.rint(real * 2.0**shift).astype(np.int64), shift


def gate_axes(shape: tuple[int, ...], per: str) -> tuple[int, ...]:
    """Axes of ``shape`` ((C, H, W) or (C,)) that AGMM's mean goes over."""
    return tuple(range(1, 3)) if len(shape) == 3 and per == "channel" else tuple(range(len(shape)))


@torch.no_grad()
def grid_current(block: Any, x: Tensor, unit: int) -> Tensor:
    """Current of a block exactly as the device computes it, ``[N, C, H, W, T]`` or ``[N, C, T]``.

    Args:
        x: input; integers times ``block.input_scale``.
        unit: membrane steps per unit of current, a power of two.
    """
    with torch.autocast(x.device.type, enabled=False):  # sums in bfloat16 would not be exact
        return _grid_current(block, x, unit)


def _grid_current(block: Any, x: Tensor, unit: int) -> Tensor:
    folded = affine(block)
    scale, bias = on_grid(folded.multiplier * block.input_scale, folded.offset, unit)
    whole = torch.round(x / block.input_scale)
    if hasattr(block.synapse, "tap_weight"):  # a pooling
        sums = torch.round(block.synapse(whole) / block.synapse.tap_weight)
    else:
        q, _ = integer_weights(block.synapse)
        sums = block.synapse.apply_weight(whole, q.to(x.dtype))
    images, num_steps = fold_time(sums)
    column = (-1, *[1] * (images.dim() - 2))
    factor, offset = (torch.from_numpy(values).to(x.device).view(column) for values in (scale, bias))
    current = images.long() * factor + offset
    current = unfold_time(current, x.shape[0], num_steps)
    if isinstance(block.modulation, AGMM):
        current = _gated(block.modulation, current, unit)
    result: Tensor = (current.double() / unit).to(x.dtype)  # exact: 24 bits
    return result


def _gated(agmm: AGMM, current: Tensor, unit: int) -> Tensor:
    shape = tuple(current.shape[1:-1])
    axes = gate_axes(shape, agmm.per)
    count = math.prod(shape[axis] for axis in axes)
    multiplier, shift = gate_multiplier(agmm.alpha.detach().cpu().numpy(), unit, count)
    factor = torch.from_numpy(multiplier).to(current.device)  # [T] or [T, C]
    if factor.dim() == 2:
        factor = factor.mT.reshape(-1, *[1] * (len(shape) - 1), len(factor))
    return fixed_point.gate(current, factor, shift, axes=tuple(axis + 1 for axis in axes))
