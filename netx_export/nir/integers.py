"""From a NIR graph's floating-point numbers to the integers of a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, ONE, WEIGHT_MAX
from lava_bsnn.limits import LIMITS

from ..network import INPUT, LIF, Connection, Conv, Dense, Identity, Layer, Readout, Shape

READOUT_STEPS = 64
"""Steps for which a readout without leak and with rounded weights does not overflow."""
_ROUNDED = 1.1
"""Room for sums that rounding weights to 8 bits makes larger."""
NEAR = 1e-6
"""Relative difference that counts as none."""
_UNIT = 1 << ALIGN_BITS


@dataclass(frozen=True, kw_only=True)
class Path:
    """Linear nodes in a row: poolings, one synapse, a scale; floating point.

    Attributes:
        pool: (h, w) of the poolings in front of the synapse.
        gain: of average poolings.
        weight: of the synapse; None for identity.
        conv: options of a convolution.
        bias: behind the synapse, ``[C]``.
    """

    source: str
    shape: Shape
    pool: tuple[int, int] = (1, 1)
    gain: float = 1.0
    weight: np.ndarray | None = None
    conv: dict[str, Any] | None = None
    bias: np.ndarray | float = 0.0


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """Numbers of a neuron node, per channel where they may differ."""

    shape: Shape
    gain: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray | None
    current_decay: int = NO_MEMORY
    voltage_decay: int = 0


def extended_layer(name: str, neuron: Neuron, paths: list[Path], widest: int) -> Layer:
    """A layer with rounded numbers, in as many membrane steps as 24 bits hold.

    ``widest`` is the largest integer that enters the network.
    """
    worst = np.abs(neuron.bias)
    for path in paths:
        largest = widest if path.source == INPUT else 1
        fan_in = 1.0 if path.weight is None else np.abs(path.weight).reshape(len(path.weight), -1).sum(1)
        worst = worst + np.abs(neuron.gain) * (fan_in * path.gain * largest + np.abs(path.bias))
    top = max(float(worst.max()), 0.0 if neuron.threshold is None else float(neuron.threshold.max()))
    leaks = neuron.threshold is None and neuron.voltage_decay > 0
    added = _ROUNDED * ONE / neuron.voltage_decay if leaks else 1.0
    steps = READOUT_STEPS if neuron.threshold is None and not leaks else added
    unit = 2.0 ** math.floor(math.log2(0.98 * LIMITS.readout_max / max(top * steps, 1e-30)))
    fine = [neuron.bias, *(path.bias * neuron.gain for path in paths)]
    fine += [] if neuron.threshold is None else [neuron.threshold]
    fine += [_effective(path, neuron) for path in paths]
    if top * added * _UNIT <= LIMITS.readout_max and all(_is_whole(values * _UNIT) for values in fine):
        unit = float(_UNIT)
    connections = tuple(_rounded(path, neuron, unit) for path in paths)
    bias = np.rint(neuron.bias * unit).astype(np.int64)
    if neuron.threshold is None:
        readout = Readout(bias=bias, exponent=0, voltage_decay=neuron.voltage_decay)
        return _layer(name, connections, readout, neuron.shape)
    lif = LIF(
        threshold=np.floor(neuron.threshold * unit + NEAR).astype(np.int64),
        bias=bias,
        current_decay=neuron.current_decay,
        voltage_decay=neuron.voltage_decay,
        exponent=0,
    )
    return _layer(name, connections, lif, neuron.shape)


def _layer(name: str, connections: tuple[Connection, ...], neuron: LIF | Readout, shape: Shape) -> Layer:
    return Layer(name=name, connections=connections, neuron=neuron, shape=shape)


def _is_whole(values: Any) -> bool:
    return bool((np.abs(values - np.rint(values)) < NEAR).all())


def _effective(path: Path, neuron: Neuron) -> np.ndarray:
    """Weights times all gains."""
    if path.weight is None:
        return neuron.gain * path.gain
    weight = np.diagonal(path.weight) if _is_identity(path) else path.weight
    result: np.ndarray = weight * path.gain * neuron.gain.reshape(-1, *[1] * (weight.ndim - 1))
    return result


def _is_identity(path: Path) -> bool:
    return path.conv is not None and "identity" in path.conv


def is_stock(neuron: Neuron, paths: list[Path]) -> bool:
    """Whether Loihi's mantissas hold the layer without rounding."""
    if len(paths) != 1 or paths[0].weight is None or _is_identity(paths[0]):
        return False
    thresholds = np.zeros(1) if neuron.threshold is None else neuron.threshold
    filtered = neuron.current_decay < NO_MEMORY and np.any(paths[0].bias)
    values = (neuron.bias + paths[0].bias * neuron.gain, thresholds, _effective(paths[0], neuron))
    return not filtered and not np.ptp(thresholds) and all(_is_whole(v) for v in values)


def stock_layer(name: str, neuron: Neuron, path: Path) -> Layer:
    """A layer in weight steps."""
    weight = np.rint(_effective(path, neuron)).astype(np.int64)
    bias = np.rint(neuron.bias + path.bias * neuron.gain).astype(np.int64)
    connection = Connection(source=path.source, synapse=_synapse(path, weight))
    if neuron.threshold is None:
        readout = Readout(bias=bias, voltage_decay=neuron.voltage_decay)
        return _layer(name, (connection,), readout, neuron.shape)
    lif = LIF(
        threshold=round(float(neuron.threshold[0])),
        bias=bias,
        current_decay=neuron.current_decay,
        voltage_decay=neuron.voltage_decay,
    )
    return _layer(name, (connection,), lif, neuron.shape)


def _synapse(path: Path, weight: np.ndarray) -> Conv | Dense:
    return Dense(weight=weight) if path.conv is None else Conv(weight=weight, **path.conv)


def _rounded(path: Path, neuron: Neuron, unit: float) -> Connection:
    """A connection with 1-bit weights where a channel has one magnitude, else 8-bit weights."""
    real = _effective(path, neuron) * unit
    bias = np.rint(path.bias * neuron.gain * unit).astype(np.int64) if np.any(path.bias) else None
    if path.weight is None and path.pool != (1, 1):  # a pooling in front of neurons
        ones = np.ones((len(neuron.gain), 1, *path.pool), dtype=np.int64)
        pool = Conv(weight=ones, stride=path.pool, groups=len(ones))
        return Connection(source=path.source, synapse=pool, scale=np.rint(real).astype(np.int64), bias=bias)
    if path.weight is None or _is_identity(path):
        scale = np.rint(real).astype(np.int64)
        return Connection(source=path.source, synapse=Identity(), scale=scale, bias=bias)
    flat = real.reshape(len(real), -1)
    largest = np.abs(flat).max(1)
    one_bit = np.abs(flat).min(1) > (1 - NEAR) * largest
    steps = flat / unit
    whole = _is_whole(steps) and np.abs(steps).max() <= WEIGHT_MAX and unit == _UNIT
    scale = np.where(one_bit, largest, unit if whole else largest / WEIGHT_MAX)
    scale = np.maximum(np.rint(scale), 1).astype(np.int64)
    weight = np.where(one_bit[:, None], np.sign(flat), np.rint(flat / scale[:, None]))
    weight = weight.clip(-WEIGHT_MAX, WEIGHT_MAX).astype(np.int64).reshape(real.shape)
    return Connection(source=path.source, synapse=_synapse(path, weight), scale=scale, bias=bias)
