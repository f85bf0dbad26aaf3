"""A block's arithmetic on the device's integer grid: one definition for matched training and for export.

A block computes ``z = multiplier * sum(q x) + offset`` per channel with weights ``q`` (integers
where they were trained so) and messages ``x`` (spikes, counts, intensities: integers); batch norm and the
step of the weights are folded into multiplier and offset. With ``unit`` membrane steps per unit of
current the device adds ``scale * sum(w x) + bias`` with integers ``w``, ``scale`` and ``bias``
(:func:`on_grid`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import fixed_point
from .fixed_point import ALIGN_BITS
from .functional.time import fold_time, unfold_time
from .limits import LOIHI
from .modulation import AGMM, ConstantGate
from .synapse import Dense, OnGrid

GATE_BITS = 18
"""Width of a gate's multiplier."""
HEADROOM = 2
"""Factor between a layer's worst-case current and the largest potential."""
_SLIP = 1e-3
"""Relative error of a scale up to which integer weights stay what they are."""
_EXACT_FLOAT32 = 1 << 15
"""Sums below it are exact up to rounding in float32, whatever algorithm a convolution takes."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A block's real arithmetic ``multiplier * sum(q x) + offset``, in float64.

    Attributes:
        q: weights ``[out, ...]``.
        multiplier: ``[out]``.
        offset: ``[out]``.
        whole: the weights are integers.
    """

    q: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray
    whole: bool = True

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        return all(bool(np.isfinite(part).all()) for part in (self.q, self.multiplier, self.offset))

    def bound(self, low: int, high: int) -> float:
        """Largest magnitude of the current for messages ``low..high``."""
        currents = np.abs(self.multiplier) * reach(self.q, low, high) + np.abs(self.offset)
        return float(currents.max())


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A block in integers, int64: it adds ``scale * sum(weight x) + bias`` membrane steps.

    Attributes:
        weight: ``[out, ...]``.
        scale: membrane steps per weight step ``[out]``, 0 or more.
        bias: membrane steps ``[out]``.
    """

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray

    def bound(self, low: int, high: int) -> int:
        """Largest magnitude of what is added for messages ``low..high``."""
        steps = self.scale * reach(self.weight, low, high) + np.abs(self.bias)
        return int(steps.max())


def reach(weight: np.ndarray, low: int, high: int) -> np.ndarray:
    """Largest magnitude of a weighted sum of messages ``low..high`` per output, ``[out]``."""
    rows = weight.reshape(len(weight), -1)
    positive, negative = rows.clip(0).sum(1), (-rows).clip(0).sum(1)
    most: np.ndarray = np.maximum(positive * high - negative * low, negative * high - positive * low)
    return most


def affine(block: Any) -> Affine:
    """Fold weights, batch norm (its running statistics), bias, and a constant gate of a spiking block."""
    if hasattr(block.synapse, "tap_weight"):
        channels = block.input_shape[0]
        q = np.ones((channels, 1, *block.synapse.kernel_size[:2]))
        return Affine(q=q, multiplier=np.full(channels, block.synapse.tap_weight), offset=np.zeros(channels))
    hook = block.synapse.pre_hook_fx
    whole = hasattr(hook, "integers")
    if whole:
        weights, step = hook.integers(block.synapse.weight)
        weights = weights.squeeze(-1) if weights.dim() == 5 else weights
    else:
        weights, step = block.synapse.effective_weight(), torch.ones(1)
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
    gate = getattr(block, "modulation", None)
    if isinstance(gate, ConstantGate):
        factor = gate.factor.detach().double().cpu().numpy()
        multiplier, offset = multiplier * factor, offset * factor
    return Affine(q=q, multiplier=multiplier, offset=offset, whole=whole)


def on_grid(folded: Affine, unit: float, image: Any = None) -> Grid:
    """Integers of a block for ``unit`` membrane steps per unit of current, channel by channel.

    Integer weights of up to 8 bits stay, with ``scale = round(unit * multiplier)``, where that is right to
    0.1 %. Else they become weights of 12 bits, with the least whole scale with which these fit, if that has
    the smaller error; so do real weights. A negative multiplier flips its channel's signs.

    Args:
        folded: the real arithmetic; its multiplier is per message.
        unit: membrane steps per unit of current.
        image: shape (C, H, W) of the network's graded input where the block's flat inputs are its pixels:
            rounding errors of neighbours then cancel (:func:`round_along`).
    """
    q = np.where(_column(folded.multiplier < 0, folded.q), -folded.q, folded.q)
    ideal = np.abs(folded.multiplier) * unit
    bias = np.rint(unit * folded.offset).astype(np.int64)
    rows = q.reshape(len(q), -1)
    largest = np.abs(rows).max(1)
    whole = folded.whole and largest.max() <= fixed_point.WEIGHT_MAX
    real = rows * ideal[:, None]
    along = image if image is not None and math.prod(image) == rows.shape[1] else None
    most = fixed_point.WIDE_WEIGHT_MAX - (along is not None)
    scale = np.ceil(ideal * largest / most * (1 - 1e-12)).clip(1)
    steps = real / scale[:, None]
    weight = np.rint(steps) if along is None else round_along(steps, along)
    if whole:
        lost = _cost(weight * scale[:, None] - real)
        slip = np.rint(ideal) - ideal
        stays = (np.abs(slip) <= _SLIP * ideal) | (_cost(rows * slip[:, None]) <= lost * (1 + 1e-9))
        weight = np.where(stays[:, None], rows, weight)
        scale = np.where(stays, np.rint(ideal), scale)
    return Grid(weight=weight.reshape(q.shape).astype(np.int64), scale=scale.astype(np.int64), bias=bias)


def on_mantissas(folded: Affine, unit: float, image: Any = None) -> Grid:
    """Integers of a block for Loihi's own neurons: weights of 8 bits at one scale, biases of 13 bits.

    What is out of range is clipped, which training in these integers sees.

    Args:
        folded: the real arithmetic; its multiplier is per message.
        unit: membrane steps per unit of current.
        image: as for :func:`on_grid`.
    """
    step = 1 << ALIGN_BITS
    rows = folded.q.reshape(len(folded.q), -1) * (folded.multiplier * (unit / step))[:, None]
    along = image if image is not None and math.prod(image) == rows.shape[1] else None
    weight = np.rint(rows) if along is None else round_along(rows, along)
    weight = weight.clip(-LOIHI.weight_max, LOIHI.weight_max).reshape(folded.q.shape).astype(np.int64)
    bias = np.rint(folded.offset * (unit / step)).clip(-LOIHI.bias_max, LOIHI.bias_max)
    return Grid(weight=weight, scale=np.full(len(weight), step), bias=bias.astype(np.int64) * step)


def identity_grid(channels: int, value: float, unit: float, *, mantissas: bool) -> Grid:
    """Integers of an identity shortcut, of which a message counts ``value``.

    Args:
        mantissas: for Loihi's own neurons, where it is a synapse with a mantissa of 8 bits and an exponent.
    """
    steps = float(np.rint(value * unit))
    if mantissas:
        steps = float(one_sign(np.array(value * unit / (1 << ALIGN_BITS)))) * (1 << ALIGN_BITS)
    ones = np.ones((channels, 1), dtype=np.int64)
    return Grid(weight=ones, scale=np.full(channels, int(steps)), bias=np.zeros(channels, dtype=np.int64))


def one_sign(values: np.ndarray) -> np.ndarray:
    """The nearest to positive values that weights of one sign are: 8 bits, times a common power of two."""
    top = float(np.max(values))
    step = 2.0 ** max(0, math.ceil(math.log2(max(top, 1.0) / (LOIHI.one_sign_max + 0.5))))
    rounded: np.ndarray = np.rint(values / step) * step
    return rounded


def _column(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _cost(errors: np.ndarray) -> np.ndarray:
    """Mean square error of a sum, up to a factor, for inputs with as much mean as deviation."""
    cost: np.ndarray = np.square(errors).sum(1) + np.square(errors.sum(1))
    return cost


def round_along(rows: np.ndarray, image: tuple[int, int, int] | None) -> np.ndarray:
    """Round rows ``[out, C * H * W]`` so that errors of neighbouring pixels cancel.

    Along a Hilbert curve through each channel's image every sum from its start is rounded as a
    whole: a weight is the difference of two rounded sums, less than 1 from its real value, and
    the weights of a compact region are together off by 1 at most, where independent rounding is off by
    0.29 times the root of their number. What is alike there, as in images, then meets the
    right sum of weights. Without ``image``, inputs are neighbours as they stand in the row.
    """
    order, lines = (np.arange(rows.shape[1]), 1) if image is None else (_hilbert(image), image[0])
    sums = np.rint(np.cumsum(rows[:, order].reshape(len(rows), lines, -1), 2))
    rounded = np.empty_like(rows)
    rounded[:, order] = np.diff(sums, axis=2, prepend=0).reshape(len(rows), -1)
    return rounded


@lru_cache(maxsize=16)
def _hilbert(image: tuple[int, int, int]) -> np.ndarray:
    """Places ``[C * H * W]`` of pixels in C, H, W order along a Hilbert curve, channel by channel."""
    channels, height, width = image
    side = 1 << (max(height, width) - 1).bit_length()
    along = np.arange(side * side)
    x, y = np.zeros_like(along), np.zeros_like(along)
    size = 1
    while size < side:
        right = 1 & (along // 2)
        up = 1 & (along ^ right)
        mirrored = (up == 0) & (right == 1)
        x, y = np.where(mirrored, size - 1 - x, x), np.where(mirrored, size - 1 - y, y)
        x, y = np.where(up == 0, y, x), np.where(up == 0, x, y)
        x, y, along = x + size * right, y + size * up, along // 4
        size *= 2
    inside = (x < height) & (y < width)
    one = x[inside] * width + y[inside]
    return np.concatenate([one + channel * height * width for channel in range(channels)])


def messages_of(block: Any) -> tuple[Affine, int, int]:
    """A built block's arithmetic on its integer messages, and their range."""
    folded, source = affine(block), block.incoming
    return replace(folded, multiplier=folded.multiplier * source.value), source.low, source.high


def power_of_two_below(value: float) -> float:
    """Largest power of two that is not above ``value``."""
    return 2.0 ** math.floor(math.log2(value))


def readout_unit(
    folded: Affine, low: int, high: int, num_steps: int, image: Any = None, *, mantissas: bool = False
) -> float:
    """Largest power of two as unit of a readout with which ``num_steps`` steps cannot overflow.

    Args:
        mantissas: in the integers of Loihi's own neurons, whose sums are bounded by all magnitudes.
    """
    if mantissas:
        low, high = min(low, -high), max(high, -low)
    bound = folded.bound(low, high) or 1.0  # without weights
    unit = power_of_two_below(fixed_point.READOUT_MAX / (bound * num_steps))
    if mantissas:
        unit = min(unit, power_of_two_below(mantissa_unit([folded], bound)))
    rounded = on_mantissas if mantissas else on_grid
    while rounded(folded, unit, image).bound(low, high) * num_steps > fixed_point.READOUT_MAX:
        unit /= 2
    return unit


def mantissa_unit(paths: list[Affine], threshold: float) -> float:
    """Most membrane steps per unit of current with which weights, biases and threshold are in range."""
    most = max(float((np.abs(one.multiplier) * _magnitude(one.q)).max()) for one in paths)
    bias = float(np.abs(sum(one.offset for one in paths)).max())
    sizes = ((most, LOIHI.weight_max), (bias, LOIHI.bias_max), (threshold, LOIHI.threshold_max))
    return min(limit / max(size, 1e-30) for size, limit in sizes) * (1 << ALIGN_BITS)


def _magnitude(q: np.ndarray) -> np.ndarray:
    largest: np.ndarray = np.abs(q.reshape(len(q), -1)).max(1)
    return largest


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


def grid_of(block: Any, unit: float) -> Grid:
    """Integers of a built block for ``unit`` membrane steps per unit of current."""
    rounded = on_mantissas if block.mantissas else on_grid
    return rounded(messages_of(block)[0], unit, block.incoming.image)


@torch.no_grad()
def grid_current(block: Any, x: Tensor, unit: float) -> Tensor:
    """Current of a block exactly as the device computes it, ``[N, C, H, W, T]`` or ``[N, C, T]``.

    Args:
        block: a built block.
        x: input; integers times ``block.input_scale``.
        unit: membrane steps per unit of current, a power of two.
    """
    _, low, high = messages_of(block)
    steps = grid_steps(block, grid_of(block, unit), x, unit, max(high, -low))
    result: Tensor = (steps.double() / unit).to(x.dtype)  # exact: 24 bits
    return result


@torch.no_grad()
def grid_steps(block: Any, grid: Grid, x: Tensor, unit: float, largest: int, *, gated: bool = True) -> Tensor:
    """Membrane steps, int64, that a block in integers adds for an input.

    Args:
        grid: integers for ``unit``.
        x: input; integers times ``block.input_scale``.
        largest: largest magnitude of a message.
        gated: with its gate, if it has one.
    """
    with torch.autocast(x.device.type, enabled=False):  # sums in bfloat16 would not be exact
        weight, scale = None, grid.scale
        if hasattr(block.synapse, "tap_weight"):  # a pooling adds up with ones
            scale = scale * grid.weight.reshape(len(grid.weight), -1)[:, 0]
        else:
            small = int(np.abs(grid.weight).reshape(len(grid.weight), -1).sum(1).max()) * largest
            # GPUs round float32 to 10 bits (TF32) or take other algorithms; of float64 they do neither
            single = small < _EXACT_FLOAT32 and x.device.type == "cpu"
            kind = torch.float32 if single else torch.float64
            weight = torch.from_numpy(grid.weight).to(x.device, kind)
        sums = block.synapse(x, OnGrid(weight=weight, value=block.input_scale))
    images, num_steps = fold_time(sums)
    column = (-1, *[1] * (images.dim() - 2))
    factor, offset = (torch.from_numpy(part).to(x.device).view(column) for part in (scale, grid.bias))
    steps = unfold_time(images.long() * factor + offset, x.shape[0], num_steps)
    return _gated(block.modulation, steps, unit) if gated and isinstance(block.modulation, AGMM) else steps


def _gated(agmm: AGMM, current: Tensor, unit: float) -> Tensor:
    shape = tuple(current.shape[1:-1])
    axes = gate_axes(shape, agmm.per)
    count = math.prod(shape[axis] for axis in axes)
    multiplier, shift = gate_multiplier(agmm.alpha.detach().cpu().numpy(), unit, count)
    factor = torch.from_numpy(multiplier).to(current.device)  # [T] or [T, C]
    if factor.dim() == 2:
        factor = factor.mT.reshape(-1, *[1] * (len(shape) - 1), len(factor))
    return fixed_point.gate(current, factor, shift, axes=tuple(axis + 1 for axis in axes))
