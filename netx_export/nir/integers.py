"""From a NIR graph's floating-point numbers to the integers of layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY, ONE, WIDE_WEIGHT_MAX
from lava_bsnn.limits import LIMITS

from ..network import INPUT, LIF, Connection, Conv, Dense, Identity, Layer, MultiThreshold, Readout, Shape
from .paths import Path
from .values import NEAR

READOUT_STEPS = 64
"""Steps for which a readout without leak and with rounded weights does not overflow."""
_ROUNDED = 1.1
"""Room for sums that rounding weights makes larger."""
_UNIT = 1 << ALIGN_BITS


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """Numbers of a neuron node, per channel where they may differ; potentials rest at 0.

    Attributes:
        gain: on weighted inputs.
        bias: per step.
        threshold: None for readouts.
        at_threshold: spikes at the threshold, too.
        soft: reset by subtraction of the threshold,
        later: in the next step, behind the leak;
        counts: several spikes in a step.
    """

    shape: Shape
    gain: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray | None
    current_decay: int | np.ndarray = NO_MEMORY
    voltage_decay: int | np.ndarray = 0
    at_threshold: bool = False
    soft: bool = False
    later: bool = False
    counts: bool = False


def stock_layers(neurons: dict[str, Neuron], paths: dict[str, list[Path]]) -> tuple[Layer, ...] | None:
    """Layers in weight steps, or None where Loihi's mantissas do not hold one without rounding."""
    if not all(_is_stock(neuron, paths[name]) for name, neuron in neurons.items()):
        return None
    return tuple(_stock_layer(name, neuron, paths[name]) for name, neuron in neurons.items())


def _is_stock(neuron: Neuron, paths: list[Path]) -> bool:
    if neuron.soft or any(path.is_identity for path in paths):
        return False
    if np.ndim(neuron.current_decay) or np.ndim(neuron.voltage_decay):
        return False
    if neuron.at_threshold and not _keeps_whole(neuron):
        return False  # potentials between weight steps
    thresholds = np.zeros(1) if neuron.threshold is None else neuron.threshold
    bias = _total_bias(neuron, paths)
    filtered = neuron.current_decay != NO_MEMORY and any(np.any(path.bias) for path in paths)
    values = (bias, thresholds, *(_effective(path, neuron) for path in paths))
    return not filtered and not np.ptp(thresholds) and all(_is_whole(v) for v in values)


def _stock_layer(name: str, neuron: Neuron, paths: list[Path]) -> Layer:
    connections = tuple(
        Connection(
            source=path.source,
            synapse=_synapse(path, np.rint(_effective(path, neuron)).astype(np.int64)),
            delay=path.delay,
        )
        for path in paths
    )
    bias = np.rint(_total_bias(neuron, paths)).astype(np.int64)
    if neuron.threshold is None:
        readout = Readout(bias=bias, voltage_decay=int(neuron.voltage_decay))
        return _layer(name, connections, readout, neuron.shape)
    lif = LIF(
        threshold=int(_strict(neuron, 1.0)[0]),
        bias=bias,
        current_decay=neuron.current_decay,
        voltage_decay=neuron.voltage_decay,
    )
    return _layer(name, connections, lif, neuron.shape)


def extended_layers(
    neurons: dict[str, Neuron], paths: dict[str, list[Path]], widest: int, *, own: bool
) -> tuple[Layer, ...]:
    """Layers with rounded numbers.

    ``widest`` is the largest integer that enters the network; ``own`` graphs keep their membrane steps, in
    which their potentials decay.

    Raises:
        ExportError: a neuron sends more spikes in a step than a message holds.
    """
    largest = {INPUT: widest}
    layers = []
    for name, neuron in neurons.items():
        largest[name] = 1
        if neuron.counts:
            largest[name] = _most_spikes(name, neuron, paths[name], largest)
        layers.append(_extended_layer(name, neuron, paths[name], largest, own=own))
    return tuple(layers)


def _extended_layer(
    name: str, neuron: Neuron, paths: list[Path], largest: dict[str, int], *, own: bool
) -> Layer:
    """A layer in as many membrane steps per unit as 24 bits hold."""
    worst = _largest_step(neuron, paths, largest)
    if neuron.soft and neuron.threshold is not None:
        worst = worst + neuron.threshold  # subtracted by the neurons' own spikes
    top = max(float(worst.max()), 0.0 if neuron.threshold is None else float(neuron.threshold.max()))
    leaks = neuron.threshold is None and int(neuron.voltage_decay) > 0
    added = _ROUNDED * ONE / int(neuron.voltage_decay) if leaks else 1.0
    steps = READOUT_STEPS if neuron.threshold is None and not leaks else added
    unit = 2.0 ** math.floor(math.log2(0.98 * LIMITS.readout_max / max(top * steps, 1e-30)))
    fine = [neuron.bias, *(path.bias * neuron.gain for path in paths)]
    fine += [] if neuron.threshold is None or own else [neuron.threshold]  # own may be between two steps
    fine += [_effective(path, neuron) for path in paths]
    fits = top * added * _UNIT <= LIMITS.readout_max and all(_is_whole(values * _UNIT) for values in fine)
    if fits and (own or _keeps_whole(neuron)):
        unit = float(_UNIT)
    connections = tuple(_rounded(path, neuron, unit) for path in paths)
    bias = np.rint(neuron.bias * unit).astype(np.int64)
    if neuron.threshold is None:
        readout = Readout(bias=bias, exponent=0, voltage_decay=int(neuron.voltage_decay))
        return _layer(name, connections, readout, neuron.shape)
    if neuron.soft:
        return _soft_layer(name, neuron, connections, unit, bias, largest[name])
    lif = LIF(
        threshold=_strict(neuron, unit),
        bias=bias,
        current_decay=neuron.current_decay,
        voltage_decay=neuron.voltage_decay,
        exponent=0,
    )
    return _layer(name, connections, lif, neuron.shape)


def _soft_layer(
    name: str,
    neuron: Neuron,
    connections: tuple[Connection, ...],
    unit: float,
    bias: np.ndarray,
    levels: int,
) -> Layer:
    """Multi-threshold neurons that keep ``lam (v - theta s)``.

    What the peer subtracts otherwise comes from the layer's own spikes, one step later: ``v_threshold`` in
    place of ``lam theta``, and a step of ``theta`` by which spikes are strictly above the threshold.
    """
    assert neuron.threshold is not None
    theta = _strict(neuron, unit) + 1
    lam = ONE - int(neuron.voltage_decay)
    taken = neuron.threshold * unit * (1.0 if neuron.later else lam / ONE)
    rest = np.rint(theta * lam / ONE - taken).astype(np.int64)
    if rest.any():
        connections = (*connections, Connection(source=name, synapse=Identity(), scale=rest))
    soft = MultiThreshold(threshold=theta, levels=levels, lam=lam, bias=bias)
    return _layer(name, connections, soft, neuron.shape)


def _strict(neuron: Neuron, unit: float) -> np.ndarray:
    """The largest integer potential without spike, ``[C]``."""
    assert neuron.threshold is not None
    steps = neuron.threshold * unit
    found = np.ceil(steps - NEAR) - 1 if neuron.at_threshold else np.floor(steps + NEAR)
    result: np.ndarray = found.astype(np.int64)
    return result


def _largest_step(neuron: Neuron, paths: list[Path], largest: dict[str, int]) -> np.ndarray:
    """Largest magnitude of what a step adds, ``[C]``."""
    worst = np.abs(neuron.bias)
    for path in paths:
        fan_in = 1.0 if path.weight is None else np.abs(path.weight).reshape(len(path.weight), -1).sum(1)
        if path.weight is None and path.pool != (1, 1):
            fan_in = math.prod(path.pool)
        worst = worst + np.abs(neuron.gain) * (fan_in * path.gain * largest[path.source] + np.abs(path.bias))
    return worst


def _most_spikes(name: str, neuron: Neuron, paths: list[Path], largest: dict[str, int]) -> int:
    """Spikes in one step that a worst-case input brings."""
    assert neuron.threshold is not None
    worst = _largest_step(neuron, paths, largest)
    count = int(np.floor(1 + worst / np.maximum(neuron.threshold, 1e-30)).max())
    if count > LIMITS.levels_max:
        raise ExportError(
            f"{name}: may send {count} spikes in a step; at most {LIMITS.levels_max} are allowed; use "
            "smaller weights or larger thresholds"
        )
    return count


def _layer(
    name: str, connections: tuple[Connection, ...], neuron: LIF | MultiThreshold | Readout, shape: Shape
) -> Layer:
    return Layer(name=name, connections=connections, neuron=neuron, shape=shape)


def _is_whole(values: Any) -> bool:
    return bool((np.abs(values - np.rint(values)) < NEAR).all())


def _keeps_whole(neuron: Neuron) -> bool:
    """Whether whole potentials stay whole."""
    decays = (neuron.current_decay, neuron.voltage_decay)
    return all(bool(np.isin(decay, (0, NO_MEMORY)).all()) for decay in decays)


def _total_bias(neuron: Neuron, paths: list[Path]) -> np.ndarray:
    return neuron.bias + sum(path.bias * neuron.gain for path in paths)


def _effective(path: Path, neuron: Neuron) -> np.ndarray:
    """Weights times all gains."""
    if path.weight is None:
        return neuron.gain * path.gain
    weight = np.diagonal(path.weight) if path.is_identity else path.weight
    result: np.ndarray = weight * path.gain * neuron.gain.reshape(-1, *[1] * (weight.ndim - 1))
    return result


def _synapse(path: Path, weight: np.ndarray) -> Conv | Dense:
    return Dense(weight=weight) if path.conv is None else Conv(weight=weight, **path.conv)


def _rounded(path: Path, neuron: Neuron, unit: float) -> Connection:
    """A connection with the fewest weight bits that hold a channel exactly, or with 12."""
    real = _effective(path, neuron) * unit
    bias = np.rint(path.bias * neuron.gain * unit).astype(np.int64) if np.any(path.bias) else None
    common: dict[str, Any] = {"source": path.source, "bias": bias, "delay": path.delay}
    if path.weight is None and path.pool != (1, 1):  # a pooling in front of neurons
        ones = np.ones((len(neuron.gain), 1, *path.pool), dtype=np.int64)
        pool = Conv(weight=ones, stride=path.pool, groups=len(ones))
        return Connection(synapse=pool, scale=np.rint(real).astype(np.int64), **common)
    if path.is_identity:
        return Connection(synapse=Identity(), scale=np.rint(real).astype(np.int64), **common)
    flat = real.reshape(len(real), -1)
    scale = np.maximum(np.rint(np.abs(flat).max(1) / _multiples(flat)), 1).astype(np.int64)
    weight = np.rint(flat / scale[:, None]).clip(-WIDE_WEIGHT_MAX, WIDE_WEIGHT_MAX).astype(np.int64)
    return Connection(synapse=_synapse(path, weight.reshape(real.shape)), scale=scale, **common)


def _multiples(weight: np.ndarray) -> np.ndarray:
    """The least m per channel for which all weights are multiples of ``max |w| / m``, or 2047."""
    ratios = weight / np.maximum(np.abs(weight).max(1, keepdims=True), 1e-30)
    found = np.full(len(weight), WIDE_WEIGHT_MAX)
    rows = np.arange(len(weight))
    few = ratios[:, :8]  # most candidates fail here
    for count in range(1, WIDE_WEIGHT_MAX):
        (near,) = np.nonzero(_near_whole(few * count))
        near = near[_near_whole(ratios[rows[near]] * count)]
        if len(near):
            found[rows[near]] = count
            rows, few = np.delete(rows, near), np.delete(few, near, 0)
    return found


def _near_whole(steps: np.ndarray) -> np.ndarray:
    """Which rows hold whole numbers."""
    near: np.ndarray = (np.abs(steps - np.rint(steps)) < NEAR * WIDE_WEIGHT_MAX).all(1)
    return near
