"""Lowering to the extended profile: skips, gates, mixing of steps, k-bit and multi-threshold neurons.

Every layer has a unit of its own: membrane steps per unit of current. With it each channel's weights, scale
and bias become integers (:func:`lava_bsnn.device.on_grid`). Of the units for which no sum
overflows the one is taken with which rounding costs least: for the caller's samples, else for messages of
usual size. A k-bit membrane leaves no choice, as its step must be a power of two; nor does matched mode,
which was trained with a unit of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import block, device, fixed_point
from lava_bsnn.device import Affine
from lava_bsnn.errors import ExportError
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from lava_bsnn.training.hybrid import SubSteps

from .. import limits, network
from ..network import INPUT, Connection, Conv, Dense, Gate, Identity, Layer, Mix, Synapse
from .names import inner_name, layer_name
from .observe import Observed
from .path import Path, arithmetic
from .readout import readout_grid
from .resolution import Report, judge

_CANDIDATES = 64


def lower_extended(
    blocks: list[torch.nn.Module], entry: network.Input, num_steps: int, seen: Observed, report: Report
) -> tuple[Layer, ...]:
    """Lower checked blocks; ``report`` is called for each layer."""
    lowering = _Lowering(num_steps, report, entry, seen)
    source = INPUT
    for index, module in enumerate(blocks):
        behind = next((b for b in blocks[index + 1 :] if not isinstance(b, block.Flatten)), None)
        lowering.may_merge = _is_dense(behind)
        source = lowering.add(module, source, index)
    return tuple(lowering.layers)


class _Lowering:
    def __init__(self, num_steps: int, report: Report, entry: network.Input, seen: Observed) -> None:
        self.num_steps, self.report, self.seen = num_steps, report, seen
        self.layers: list[Layer] = []
        self.shapes = {INPUT: entry.shape}
        self.may_merge = False  # whether a dense layer is behind the block
        self.merged: block.Pool | None = None  # pooling that becomes a part of the dense layer behind it

    def add(self, module: Any, source: str, place: int | str) -> str:
        """Append the layers of one block; return the name of the last."""
        if isinstance(module, (block.Input, block.Flatten, SubSteps)):
            return source
        name = layer_name(module, place)
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
            inner = self.add(one, inner, inner_name(name, position))
        paths = [self._path(last, inner)]
        skipped = source
        *before, shortcut = (*module.shortcut,) or (None,)
        for position, one in enumerate(before):
            skipped = self.add(one, skipped, inner_name(name, f"shortcut{position}"))
        paths.append(self._identity(module, skipped) if shortcut is None else self._path(shortcut, skipped))
        return self._layer(last, paths, name, last.shape)  # type: ignore[arg-type]

    def _append(self, layer: Layer) -> str:
        self.layers.append(layer)
        self.shapes[layer.name] = layer.shape
        return layer.name

    def _relay(self, module: block.Pool, source: str, name: str) -> str:
        """Sums of spikes as messages: what a pooling without neuron hands on.

        Sums beyond the messages' 8 bits become a part of the dense layer behind.
        """
        taps, came = math.prod(module.synapse.kernel_size[:2]), module.source
        tiles = module.synapse.stride == module.synapse.kernel_size and not any(module.synapse.padding)
        if (taps * came.high > limits.LEVELS_MAX or came.low) and self.may_merge and tiles:
            self.merged = module
            return source
        if taps * came.high > limits.LEVELS_MAX or came.low:
            raise ExportError(
                f"{module.label}: sums of {taps} messages {came.low}..{came.high} are not in 0.."
                f"{limits.LEVELS_MAX}; use a smaller window, fewer levels or input bits, or a Dense behind it"
            )
        step = 1 << fixed_point.ALIGN_BITS
        return self._append(
            Layer(
                name=name,
                connections=(Connection(source=source, synapse=_pool_synapse(module)),),
                neuron=network.MultiThreshold(threshold=step, levels=taps * came.high, lam=0),
                shape=module.shape,
            )
        )

    def _path(self, module: Any, source: str) -> Path:
        folded, low, high = arithmetic(module)
        pool, self.merged = self.merged, None

        def synapse(weight: np.ndarray) -> Synapse:
            if _is_dense(module):
                return Dense(weight=weight if pool is None else over_window(pool, weight))
            if isinstance(module, block.Pool):
                return _pool_synapse(module, weight)
            layer = module.synapse
            return Conv(
                weight=weight,
                stride=layer.stride[:2],
                padding=layer.padding[:2],
                dilation=layer.dilation[:2],
                groups=layer.groups,
            )

        return Path(
            source=source,
            folded=folded,
            low=low,
            high=high,
            image=module.source.image,
            synapse=synapse,
            module=module,
            seen=self.seen.inputs[module],
            value=module.source.value,
            given=self.seen.given,
        )

    def _identity(self, module: block.Residual, source: str) -> Path:
        came, channels = module.source, module.shape[0]
        flattened = len(self.shapes[source]) > len(module.shape)  # a Flatten stands before the residual
        one = Dense(weight=np.eye(channels, dtype=np.int64)) if flattened else Identity()
        return Path(
            source=source,
            folded=Affine(
                q=np.ones((channels, 1)), multiplier=np.full(channels, came.value), offset=np.zeros(channels)
            ),
            low=came.low,
            high=came.high,
            synapse=lambda weight: one,
            seen=self.seen.inputs[module],
            value=came.value,
            given=self.seen.given,
        )

    def _layer(self, module: Any, paths: list[Path], name: str, shape: tuple[int, ...]) -> str:
        neuron = module.neuron
        mix = None
        if neuron is None:
            unit, grid = readout_grid(paths[0], self.num_steps, matched=module.unit is not None)
            grids, made, theta = [grid], network.Readout(bias=0, exponent=0), None
        else:
            theta = neuron.threshold
            if isinstance(neuron, MultiThresholdLIF):
                made, mix, unit = _multi_threshold(module.label, neuron, paths)  # type: ignore[assignment]
            else:
                made, unit = _lif(module.label, neuron, paths, self.num_steps)  # type: ignore[assignment]
            grids = [path.on_grid(unit) for path in paths]
        connections = [
            Connection(
                source=path.source,
                synapse=path.synapse(grid.weight),
                scale=grid.scale,
                bias=grid.bias if grid.bias.any() else None,
                gate=None if path.agmm is None else _gate(path.agmm, unit, shape),
            )
            for path, grid in zip(paths, grids, strict=True)
        ]
        added = self._append(
            Layer(name=name, connections=tuple(connections), neuron=made, shape=shape, mix=mix)
        )
        steps = sum(path.steps(grid, unit) for path, grid in zip(paths, grids, strict=True))
        self._judge(module, name, unit, steps, theta, paths)  # type: ignore[arg-type]
        return added

    def _judge(
        self, module: Any, name: str, unit: float, steps: Tensor, theta: float | None, paths: list[Path]
    ) -> None:
        """Compare the currents of the integers with the model's, behind the mixing."""
        real, ours = self.seen.currents[module], steps.double() / unit
        if theta is None:
            ours = ours[:, :, 0, 0] if ours.dim() == 5 else ours
        elif getattr(module.neuron, "mix", None) is not None:
            exact = module.neuron.on_grid(unit) if module.unit is None else module.neuron.fixed_point()
            with torch.no_grad():
                real = module.neuron.mix(real, exact if module.unit is not None else None)
            if exact.omega is not None:
                ours = exact.mix(ours.movedim(-1, 0), exact.omega).movedim(0, -1)
        inputs = sum(path.folded.q[0].size for path in paths)
        largest = max(path.largest for path in paths)
        over = f" and {self.num_steps} steps" if theta is None else ""
        cause = f"24 bits leave too few weight steps over {inputs} inputs of up to {largest}{over}"
        remedy = "use fewer inputs, input bits, levels or steps, or retrain with norm='batch'"
        self.report(judge(name, module.label, unit, ours, real, theta, cause, remedy))


def _is_dense(module: Any) -> bool:
    return isinstance(module, (block.Dense, block.Readout))


def _pool_synapse(module: block.Pool, weight: np.ndarray | None = None) -> Conv:
    layer, channels = module.synapse, module.shape[0]
    ones = np.ones((channels, 1, *layer.kernel_size[:2]), dtype=np.int64)
    return Conv(
        weight=ones if weight is None else weight,
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
    """Of the units up to ``largest`` that leave headroom, the one that costs least for what was observed."""
    top = largest / device.HEADROOM
    whole = [path for path in paths if path.folded.whole]
    powers = [path.power() for path in whole]

    def cost(unit: float) -> float:
        total = 0.0
        for path, power in zip(whole, powers, strict=True):
            multiplier, offset = np.abs(path.folded.multiplier), path.folded.offset
            slip = np.rint(unit * multiplier) / unit - multiplier
            total += float(
                (np.square(slip) * power + np.square(np.rint(unit * offset) / unit - offset)).sum()
            )
        return total

    exact = device.power_of_two_below(top)  # if all numbers are multiples of a power of two
    return float(min([*np.linspace(top, top / 2, _CANDIDATES), exact], key=cost))


def _lif(label: str, neuron: LIF, paths: list[Path], num_steps: int) -> tuple[network.LIF, float]:
    """The neuron in membrane steps, and their number per unit of current."""
    decays = {"current_decay": neuron.cx_current_decay, "voltage_decay": neuron.cx_voltage_decay}
    exact = neuron.fixed_point()
    if exact is not None:
        _check_matched(label, paths, exact.unit, neuron.threshold)
        made = network.LIF(
            threshold=exact.threshold,
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
