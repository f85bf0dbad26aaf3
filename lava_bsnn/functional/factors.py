"""Factors of batch norm and AGMM in front of neurons, and their gradients, on a CPU.

:mod:`lava_bsnn.norm` and :mod:`lava_bsnn.functional.gate` are the definition; with statistics of the batch it
takes a hundred small operations of torch a layer, most of a small layer's time. All is in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np

from .kernels import kernel
from .threads import share


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Gain and offset of each channel, and of each step and sample behind a gate.

    Attributes:
        gains, offsets: float32 ``[T, N, C]``, or ``[1, 1, C]`` without a gate.
        mean, variance: of the batch, ``[C]``.
        first: mean of images over space, ``[T or 1, N, C]``.
        weight: of the norm, ``[C]``.
        root: ``1 / sqrt(variance + eps)``.
        alpha: of the gate, ``[T, C or 1]``; None without one.
        by_layer: the gate sees the mean over channels.
        spread: whether images differ at all, ``[C]``: else no gradient goes through the variance.
    """

    gains: np.ndarray
    offsets: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    first: np.ndarray
    weight: np.ndarray
    root: np.ndarray
    offset: np.ndarray
    alpha: np.ndarray | None
    by_layer: bool
    spread: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """Of the norm, ``[C]``."""
        return self.root * self.weight


@dataclass(frozen=True, kw_only=True)
class FactorGradients:
    """Gradients of what makes factors, all float64.

    Attributes:
        first: of means of images, ``[T or 1, N, C]``.
        second: of means of their squares, ``[1, 1, C]``, the same for all steps and samples.
        weight, bias: of the norm, ``[C]``.
        alpha: of the gate, ``[T, C or 1]``; None without one.
    """

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    alpha: np.ndarray | None


def factors_of(
    first: np.ndarray,
    second: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    alpha: np.ndarray | None,
    by_layer: bool,
) -> Factors:
    """Factors of images with these means over space of values and squares, ``[T or 1, N, C]``.

    Args:
        weight, bias: of the norm, ``[C]``; None for 1 and 0.
        alpha: of the gate, ``[T]`` or ``[T, C]``; None without one.
        by_layer: the gate sees the mean over channels, too.
    """
    channels = first.shape[-1]
    mean, square = (part.reshape(-1, channels).mean(0) for part in (first, second))
    apart = square - mean * mean
    variance = np.maximum(apart, 0.0)
    root = 1.0 / np.sqrt(variance + eps)
    weight = np.ones(channels) if weight is None else weight.astype(np.float64)
    gain = root * weight
    offset = -mean * gain if bias is None else bias - mean * gain
    if alpha is None:
        gains, offsets = (part.astype(np.float32)[None, None] for part in (gain, offset))
    else:
        alpha = alpha.astype(np.float64).reshape(len(alpha), -1)
        shape = len(alpha), *first.shape[1:]
        gains, offsets = np.empty(shape, np.float32), np.empty(shape, np.float32)
        known = first, gain, offset, alpha, by_layer
        share(lambda *span: _gate(*known, gains, offsets, *span), first.shape[1], gains.size)
    return Factors(
        gains=gains,
        offsets=offsets,
        mean=mean,
        variance=variance,
        first=first,
        weight=weight,
        root=root,
        offset=offset,
        alpha=alpha,
        by_layer=by_layer,
        spread=apart >= 0,
    )


def gradients_of(
    made: Factors, gains: np.ndarray, offsets: np.ndarray, *, detached: bool = False
) -> FactorGradients:
    """Gradients of what made factors.

    Args:
        gains, offsets: gradients of those factors, in their shapes.
        detached: none goes through the gate.
    """
    first = np.zeros(made.first.shape)
    gain: Any
    offset: Any
    alpha: Any = None
    if made.alpha is None:
        gain, offset = (part.reshape(-1).astype(np.float64) for part in (gains, offsets))
    else:
        known = made.first, made.gain, made.offset, made.alpha, made.by_layer, gains, offsets

        def work(*span: int) -> tuple[np.ndarray, ...]:
            sums = *np.zeros((2, len(made.gain))), np.zeros_like(made.alpha)
            _gate_back(*known, detached, first, *sums, *span)
            return sums

        done = share(work, made.first.shape[1], gains.size)
        gain, offset, alpha = (sum(parts) for parts in zip(*done, strict=True))
    count = first.size // first.shape[-1]
    own = gain - made.mean * offset
    variance = np.where(made.spread, -0.5 * made.root**3 * made.weight * own, 0.0)
    first += (-made.gain * offset - 2 * made.mean * variance) / count
    return FactorGradients(
        first=first,
        second=(variance / count)[None, None],
        weight=own * made.root,
        bias=offset,
        alpha=alpha,
    )


@kernel
def _gate(first, gain, offset, alpha, by_layer, gains, offsets, start, stop):
    """Norm's gain and offset times the gate, of samples from start to stop."""
    channels = len(gain)
    for n in range(start, stop):
        for t in range(len(alpha)):
            row = first[t if len(first) > 1 else 0, n]
            whole = 0.0
            if by_layer:
                for c in range(channels):
                    whole += gain[c] * row[c] + offset[c]
                whole /= channels
            for c in range(channels):
                mean = whole if by_layer else gain[c] * row[c] + offset[c]
                gate = 1.0 / (1.0 + exp(-alpha[t, c if alpha.shape[1] > 1 else 0] * mean))
                gains[t, n, c] = gain[c] * gate
                offsets[t, n, c] = offset[c] * gate


@kernel
def _gate_back(
    first,
    gain,
    offset,
    alpha,
    by_layer,
    gains,
    offsets,
    detached,
    out,
    grad_gain,
    grad_offset,
    grad_alpha,
    start,
    stop,
):
    """Write gradients of ``first`` to ``out``, and add up those of norm's factors and of ``alpha``."""
    channels = len(gain)
    for n in range(start, stop):
        for t in range(len(alpha)):
            at = t if len(first) > 1 else 0
            row = first[at, n]
            whole = 0.0
            if by_layer:
                for c in range(channels):
                    whole += gain[c] * row[c] + offset[c]
                whole /= channels
            shared = 0.0
            for c in range(channels):
                k = c if alpha.shape[1] > 1 else 0
                mean = whole if by_layer else gain[c] * row[c] + offset[c]
                gate = 1.0 / (1.0 + exp(-alpha[t, k] * mean))
                slope = (gains[t, n, c] * gain[c] + offsets[t, n, c] * offset[c]) * gate * (1.0 - gate)
                if detached:
                    slope = 0.0
                grad_alpha[t, k] += slope * mean
                slope *= alpha[t, k]
                shared += slope
                if by_layer:
                    slope = 0.0
                grad_gain[c] += gains[t, n, c] * gate + slope * row[c]
                grad_offset[c] += offsets[t, n, c] * gate + slope
                out[at, n, c] += slope * gain[c]
            if by_layer:
                shared /= channels
                for c in range(channels):
                    grad_gain[c] += shared * row[c]
                    grad_offset[c] += shared
                    out[at, n, c] += shared * gain[c]
