"""Lowering to the extended profile: skips, gates, mixing of steps, k-bit and multi-threshold neurons.

Every layer has a unit of its own: membrane steps per unit of current. Weights stay the
integers ``q`` of the model (+-1 for 1-bit layers); a channel's scale is
``round(unit * gain * step)``. Of the units for which no sum overflows the one with the least
error relative to the threshold is taken. A k-bit membrane leaves no choice, as its step must be
a power of two; nor does matched mode, which was trained with a unit of its own.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lava_bsnn import block, device, fixed_point
from lava_bsnn.errors import ExportError
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from lava_bsnn.training.hybrid import SubSteps

from .. import limits, network
from ..network import INPUT, Connection, Conv, Dense, FixedPointNetwork, Gate, Identity, Layer, Mix, Synapse
from .path import Path
from .readout import lower_readout

_HEADROOM = 2
"""Factor between a layer's worst-case input in one step and the largest potential."""
_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """How exactly a layer was converted.

    Attributes:
        unit: membrane steps per unit of current.
        error: root mean square error of a step's current that rounding causes, relative to the
            threshold (of a readout: relative error of the weights).
    """

    name: str
    unit: float
    error: float


def _error(paths: list[Path], unit: float) -> float:
    return float(np.sqrt(sum(path.error(unit).mean() for path in paths)))


def lower_extended(
    blocks: list[torch.nn.Module], num_steps: int, report: Callable[[LayerReport], None]
) -> FixedPointNetwork:
    """Lower checked blocks; ``report`` is called for each layer."""
    first: Any = blocks[0]
    bits = first.bits if isinstance(first, block.Input) else 0
    entry = network.Input(shape=first.input_shape, bits=bits)
    lowering = _Lowering(num_steps, report, entry)
    source = INPUT
    for index, module in enumerate(blocks):
        behind = next((b for b in blocks[index + 1 :] if not isinstance(b, block.Flatten)), None)
        lowering.may_merge = _is_dense(behind)
        source = lowering.add(module, source, index)
    return FixedPointNetwork(input=entry, layers=tuple(lowering.layers), profile="extended")


class _Lowering:
    def __init__(self, num_steps: int, report: Callable[[LayerReport], None], entry: network.Input) -> None:
        self.num_steps, self.report, self.entry = num_steps, report, entry
        self.layers: list[Layer] = []
        self.may_merge = False  # whether a dense layer is behind the block
        self.merged: block.Pool | None = None  # pooling that becomes a part of the dense layer behind it
        # per source: the real value of a message of 1, and the largest message
        self.messages: dict[str, tuple[float, int]] = {INPUT: (1.0, entry.max_value)}

    def add(self, module: Any, source: str, index: int | str) -> str:
        """Append the layers of one block; return the name of the last."""
        if isinstance(module, (block.Input, block.Flatten)):
            return source
        if isinstance(module, SubSteps):  # the input is repeated, each time as a part of its step
            value, largest = self.messages[source]
            self.messages[source] = (value / module.count, largest)
            return source
        name = f"{type(module).__name__.lower()}{index}"
        if isinstance(module, block.Residual):
            return self._residual(module, source, name)
        if isinstance(module, block.Pool) and module.neuron is None:
            return self._relay(module, source, name)
        shape = module.shape if len(module.shape) == 3 and not _is_dense(module) else module.shape[:1]
        return self._layer(module, [self._path(module, source)], name, shape)

    def _residual(self, module: block.Residual, source: str, name: str) -> str:
        self.may_merge, inner = False, source
        *before, last = module.blocks
        for position, one in enumerate(before):
            inner = self.add(one, inner, f"_{name}_{position}")
        paths = [self._path(last, inner)]
        skipped = source
        *before, shortcut = (*module.shortcut,) or (None,)
        for position, one in enumerate(before):
            skipped = self.add(one, skipped, f"_{name}_shortcut{position}")
        paths.append(self._identity(last, skipped) if shortcut is None else self._path(shortcut, skipped))
        return self._layer(last, paths, name, last.shape)  # type: ignore[arg-type]

    def _relay(self, module: block.Pool, source: str, name: str) -> str:
        """Sums of spikes as messages: what a pooling without neuron hands on.

        Sums beyond the messages' 8 bits become a part of the dense layer behind.
        """
        value, largest = self.messages[source]
        taps = math.prod(module.synapse.kernel_size[:2])
        levels = taps * largest
        tiles = module.synapse.stride == module.synapse.kernel_size and not any(module.synapse.padding)
        if levels > limits.LEVELS_MAX and self.may_merge and tiles:
            self.merged = module
            return source
        if levels > limits.LEVELS_MAX:
            raise ExportError(
                f"{module.label}: sums of {taps} messages up to {largest} are more than {limits.LEVELS_MAX}; "
                "use a smaller window, fewer levels or input bits, or a Dense behind it"
            )
        shape = module.shape
        step = 1 << fixed_point.ALIGN_BITS
        self.layers.append(
            Layer(
                name=name,
                connections=(Connection(source=source, synapse=_pool_synapse(module, shape[0])),),
                neuron=network.MultiThreshold(threshold=step, levels=levels, lam=0),
                shape=shape,
            )
        )
        self.messages[name] = (value * module.synapse.tap_weight, levels)
        return name

    def _path(self, module: Any, source: str) -> Path:
        folded = device.affine(module)
        value, largest = self.messages[source]
        if self.merged is not None:
            folded = dataclasses.replace(folded, q=over_window(self.merged, folded.q))
            value, self.merged = value * self.merged.synapse.tap_weight, None
        dead = np.flatnonzero(folded.multiplier == 0)
        if len(dead):
            warnings.warn(
                f"{module.label}: channels {dead.tolist()} have a batch norm gain of 0; they are exported "
                "with scale 0",
                stacklevel=2,
            )
        if not all(np.isfinite(part).all() for part in (folded.q, folded.multiplier, folded.offset)):
            raise ExportError(
                f"{module.label}: weights or norm are not finite; retrain or load a good checkpoint"
            )
        # a negative gain flips the signs of its channel
        multiplier = folded.multiplier * value
        negative = multiplier < 0
        q = np.where(negative.reshape(-1, *[1] * (folded.q.ndim - 1)), -folded.q, folded.q)
        q = np.rint(q).astype(np.int64)
        synapse: Synapse
        if _is_dense(module):
            synapse = Dense(weight=q)
        elif isinstance(module, block.Pool):
            synapse = dataclasses.replace(_pool_synapse(module, len(q)), weight=q)
        else:
            layer = module.synapse
            synapse = Conv(
                weight=q,
                stride=layer.stride[:2],
                padding=layer.padding[:2],
                dilation=layer.dilation[:2],
                groups=layer.groups,
            )
        return Path(
            source=source,
            synapse=synapse,
            multiplier=np.abs(multiplier),
            offset=folded.offset,
            largest=largest,
            agmm=module.modulation,
        )

    def _identity(self, last: Any, source: str) -> Path:
        value, largest = self.messages[source]
        channels = last.shape[0]
        shapes = {INPUT: self.entry.shape} | {layer.name: layer.shape for layer in self.layers}
        flattened = len(shapes[source]) > len(last.shape)  # a Flatten stands before the residual
        return Path(
            source=source,
            synapse=Dense(weight=np.eye(channels, dtype=np.int64)) if flattened else Identity(),
            multiplier=np.full(channels, value),
            offset=np.zeros(channels),
            largest=largest,
        )

    def _layer(self, module: Any, paths: list[Path], name: str, shape: tuple[int, ...]) -> str:
        neuron = module.neuron
        mix = None
        value = 1.0
        if neuron is None:
            (path,) = paths
            unit, rounded, error = lower_readout(module.label, path, self.num_steps)
            made: Any = network.Readout(bias=0, exponent=0)
            paths = [rounded]
        elif isinstance(neuron, MultiThresholdLIF):
            made, mix, unit = _multi_threshold(module.label, neuron, paths)
            error = _error(paths, unit) / neuron.threshold
            value = neuron.threshold if neuron.scaled else 1.0
        else:
            made, unit = _lif(module.label, neuron, paths, self.num_steps)
            error = _error(paths, unit) / neuron.threshold
        connections = []
        for path in paths:
            scale, bias = path.on_grid(unit)
            connections.append(
                Connection(
                    source=path.source,
                    synapse=path.synapse,
                    scale=scale,
                    bias=bias if bias.any() else None,
                    gate=None if path.agmm is None else _gate(path.agmm, unit, shape),
                )
            )
        self.layers.append(
            Layer(name=name, connections=tuple(connections), neuron=made, shape=shape, mix=mix)
        )
        self.messages[name] = (value, made.max_message)
        self.report(LayerReport(name=name, unit=float(unit), error=error))
        return name


def _is_dense(module: Any) -> bool:
    return isinstance(module, (block.Dense, block.Readout))


def _pool_synapse(module: block.Pool, channels: int) -> Conv:
    layer = module.synapse
    return Conv(
        weight=np.ones((channels, 1, *layer.kernel_size[:2]), dtype=np.int64),
        stride=layer.stride[:2],
        padding=layer.padding[:2],
        groups=channels,
    )


def over_window(pool: block.Pool, q: np.ndarray) -> np.ndarray:
    """Dense weights ``[out, in]`` behind a pooling whose windows tile the image, for that image."""
    assert pool.input_shape is not None
    channels, height, width = pool.input_shape
    q = np.kron(q.reshape(len(q), channels, *pool.shape[1:]), np.ones(pool.synapse.kernel_size[:2], q.dtype))
    rest = ((0, 0), (0, 0), (0, height - q.shape[2]), (0, width - q.shape[3]))
    return np.pad(q, rest).reshape(len(q), -1)


def _largest_unit(label: str, bound: float, threshold: float) -> float:
    unit = limits.POTENTIAL_MAX / max(bound, threshold)
    if unit * threshold < 1 << fixed_point.ALIGN_BITS:
        raise ExportError(
            f"{label}: a step may add {bound / threshold:.3g} thresholds, too many for 24 bits; raise the "
            "threshold or retrain with norm='batch'"
        )
    return unit


def _check_matched(label: str, paths: list[Path], unit: float, threshold: float) -> None:
    bound = sum(path.bound for path in paths)
    if bound * unit > limits.POTENTIAL_MAX:
        fits = max(1.0, limits.POTENTIAL_MAX / bound / (1 << fixed_point.ALIGN_BITS))
        raise ExportError(
            f"{label}: in matched mode a step may add up to {bound / threshold:.3g} thresholds, too many for "
            f"24 bits; use the neuron's scale={1 << math.floor(math.log2(fits))}, or norm='batch'"
        )


def _best_unit(paths: list[Path], largest: float) -> float:
    top = largest / _HEADROOM
    exact = 2.0 ** math.floor(math.log2(top))  # if all numbers are multiples of a power of two
    return float(min([*np.linspace(top, top / 2, _CANDIDATES), exact], key=lambda unit: _error(paths, unit)))


def _lif(label: str, neuron: LIF, paths: list[Path], num_steps: int) -> tuple[network.LIF, float]:
    """The neuron in membrane steps, and their number per unit of current."""
    decays = {"current_decay": neuron.cx_current_decay, "voltage_decay": neuron.cx_voltage_decay}
    exact = neuron.fixed_point()
    if exact is not None:
        _check_matched(label, paths, exact.unit, neuron.threshold)
        made = network.LIF(
            threshold=exact.threshold << fixed_point.ALIGN_BITS,
            membrane=network.Membrane(bits=exact.bits, shift=exact.shift),
            exponent=0,
            **decays,
        )
        return made, float(exact.unit)
    kept = max(neuron.cx_current_decay / fixed_point.ONE, 1 / num_steps)  # a current adds up
    largest = _largest_unit(label, sum(path.bound for path in paths) / kept, neuron.threshold)
    membrane = None
    if neuron.membrane_bits is None:
        unit = _best_unit(paths, largest)
    else:
        levels = (1 << (neuron.membrane_bits - 1)) - 1
        alpha = float(neuron.membrane_scale)
        shift = math.floor(math.log2(0.99 * largest * alpha / levels)) if alpha > 0 else -1
        shift = min(shift, (limits.POTENTIAL_MAX // levels).bit_length() - 1)
        if shift < 0:
            raise ExportError(
                f"{label}: a membrane of {neuron.membrane_bits} bits and range {alpha:.3g} has no step of a "
                "power of two here; train the model first, or use fewer bits"
            )
        unit = (levels << shift) / alpha
        membrane = network.Membrane(bits=neuron.membrane_bits, shift=shift)
    threshold = math.ceil(unit * neuron.threshold - 1e-6) - 1  # fires at the threshold itself
    return network.LIF(threshold=threshold, membrane=membrane, exponent=0, **decays), unit


def _multi_threshold(
    label: str, neuron: MultiThresholdLIF, paths: list[Path]
) -> tuple[network.MultiThreshold, Mix | None, float]:
    """The neuron in membrane steps, the mixing in front of it, and membrane steps per unit of current."""
    exact = neuron.fixed_point()
    if exact is None:
        omega = None if neuron.mix is None else neuron.mix.on_grid()
        gain = 1.0 if omega is None else max(1.0, float(omega.abs().sum(1).max()) / fixed_point.ONE)
        bound = sum(path.bound for path in paths) * gain
        exact = neuron.on_grid(_best_unit(paths, _largest_unit(label, bound, neuron.threshold)))
    else:
        _check_matched(label, paths, exact.unit, neuron.threshold)
    lam = exact.lam.cpu().numpy()
    made = network.MultiThreshold(
        threshold=exact.threshold,
        levels=exact.levels,
        initial=exact.initial,
        lam=int(lam) if lam.ndim == 0 else lam,
    )
    return made, None if exact.omega is None else Mix(omega=exact.omega.cpu().numpy()), float(exact.unit)


def _gate(agmm: AGMM, unit: float, shape: tuple[int, ...]) -> Gate:
    count = math.prod(shape[axis] for axis in device.gate_axes(shape, agmm.per))
    multiplier, shift = device.gate_multiplier(agmm.alpha.detach().cpu().numpy(), unit, count)
    return Gate(multiplier=multiplier, shift=shift, per=agmm.per)
