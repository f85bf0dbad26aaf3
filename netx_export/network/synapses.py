"""Synapses: what is multiplied with the messages of a layer. Weights are in torch's order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lava_bsnn.limits import LIMITS

from ..content import Content, holds

INPUT = "input"
"""Name under which connections refer to the network's input."""
Shape = tuple[int, ...]
_WEIGHT = ("weight", LIMITS.weight_min, LIMITS.weight_max)
_FAR = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Content):
    """Convolution; ``weight`` is ``[out, in / groups, kh, kw]``, pairs are (h, w)."""

    weight: np.ndarray = holds(*_WEIGHT)
    stride: tuple[int, int] = holds("ints", 1, _FAR, default=(1, 1))
    padding: tuple[int, int] = holds("ints", 0, _FAR, default=(0, 0))
    dilation: tuple[int, int] = holds("ints", 1, _FAR, default=(1, 1))
    groups: int = holds("int", 1, 1 << 24, default=1)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape for an input ``(C, H, W)``; raises ``ValueError`` if it does not fit."""
        if self.weight.ndim != 4:
            raise ValueError(f"conv weight of {self.weight.ndim} axes; 4 are expected")
        out_channels, in_channels, *kernel = self.weight.shape
        if len(shape) != 3 or shape[0] != in_channels * self.groups:
            raise ValueError(f"conv of {in_channels * self.groups} channels cannot take input {shape}")
        if (
            min(*self.stride, *self.dilation, self.groups, *kernel, in_channels, out_channels) < 1
            or min(self.padding) < 0
            or out_channels % self.groups
        ):
            raise ValueError(
                f"conv with stride {self.stride}, padding {self.padding}, dilation {self.dilation} and "
                f"{self.groups} groups is not possible"
            )
        size = [
            (n + 2 * pad - dilation * (k - 1) - 1) // stride + 1
            for n, k, stride, pad, dilation in zip(
                shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        if min(size) < 1:
            raise ValueError(f"conv kernel {tuple(kernel)} is larger than input {shape}")
        return (out_channels, *size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Content):
    """Full connection; ``weight`` is ``[out, in]`` and reads its input in C, H, W order."""

    weight: np.ndarray = holds(*_WEIGHT)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape for any input of the right size; raises ``ValueError`` if it does not fit."""
        if self.weight.ndim != 2:
            raise ValueError(f"dense weight of {self.weight.ndim} axes; 2 are expected")
        if math.prod(shape) != self.weight.shape[1]:
            raise ValueError(f"dense of {self.weight.shape[1]} inputs cannot take input {shape}")
        return (self.weight.shape[0],)


@dataclass(frozen=True, kw_only=True, eq=False)
class Identity(Content):
    """Each neuron feeds the one in its place, with weight 1: a shortcut."""

    def output_shape(self, shape: Shape) -> Shape:
        """The input's shape."""
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class BiasInput(Content):
    """The network's input is added to the neurons' biases: no synapse, hence no step of delay.

    This is how ``input`` layers with neurons of NetX files take their data.
    """

    def output_shape(self, shape: Shape) -> Shape:
        """The input's shape."""
        return shape


Synapse = Conv | Dense | Identity | BiasInput


def weight_of(synapse: Synapse) -> np.ndarray | None:
    """The weights; None for a synapse that has none."""
    return synapse.weight if isinstance(synapse, (Conv, Dense)) else None


def fan_in(synapse: Synapse) -> np.ndarray:
    """``sum |w|`` per output channel, ``[out]``, or ``[1]`` for a synapse without weights."""
    weight = weight_of(synapse)
    if weight is None:
        return np.ones(1, dtype=np.int64)
    total: np.ndarray = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    return total


def reach(synapse: Synapse) -> np.ndarray:
    """Largest magnitude of a weighted sum of inputs in 0..1 per output channel, ``[out]`` or ``[1]``."""
    weight = weight_of(synapse)
    if weight is None:
        return np.ones(1, dtype=np.int64)
    rows = weight.astype(np.int64).reshape(len(weight), -1)
    result: np.ndarray = np.maximum(rows.clip(0).sum(1), (-rows).clip(0).sum(1))
    return result


def weight_bits(synapse: Synapse) -> int:
    """Bits per weight: 1 for weights -1 and 1, else the least signed width; 0 without weights."""
    weight = weight_of(synapse)
    if weight is None:
        return 0
    if is_binary(weight):
        return 1
    largest = max(int(weight.max()), -1 - int(weight.min()), 0)
    return 1 + largest.bit_length()


def is_binary(weight: np.ndarray) -> bool:
    """Whether all weights are -1 or 1."""
    return bool((np.abs(weight) == 1).all())
