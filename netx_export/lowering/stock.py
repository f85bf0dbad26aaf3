"""Lowering to the stock profile: one integer scale and threshold per layer.

A block computes ``z = multiplier * sum(q * x) + offset`` with weights ``q`` and integer messages ``x``
(spikes or intensities) and fires at ``z >= theta``. With a scale ``S`` in weight
steps per threshold the integer layer has weights ``round(S * multiplier * q / theta)``, biases
``round(S * offset / theta)``, and threshold ``S - 1``: Lava fires strictly above, so a
membrane of exactly ``S`` steps fires on both sides. ``S`` is the one, of those that keep all
values within :data:`lava_bsnn.limits.LOIHI`, with which rounding costs least: for the caller's samples, else
for messages of usual size. Stock Lava has one threshold per layer, hence one ``S`` per layer.

Behind many graded inputs S is so small that most weights would round to 0. Where the inputs are the
pixels of an image, roundings of neighbours then make up for each other
(:func:`lava_bsnn.device.round_along`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lava_bsnn import block, device
from lava_bsnn.device import Affine, Grid
from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS
from lava_bsnn.limits import LOIHI
from lava_bsnn.modulation import AGMM

from .. import network
from ..network import INPUT, Connection, Layer, Shape, Synapse
from .calibration import mean_gates
from .drive import share_of_a_step
from .incoming import arithmetic
from .job import Job
from .names import layer_name
from .observe import Observed, usual_messages
from .pooling import is_bare_pool, is_dense, over_window
from .resolution import LayerReport, judge

_CANDIDATES = 64
_COLUMNS = 64
"""Most observed input vectors by which dense weights are chosen."""
Gates = Mapping[torch.nn.Module, np.ndarray]


def lower_stock(job: Job) -> tuple[Layer, ...]:
    """Lower checked blocks; ``job.report`` is called for each layer.

    Gates of AGMM become their means over the calibration samples, and a warning tells what that costs.
    """
    gates: dict[torch.nn.Module, np.ndarray] = {}
    if any(isinstance(m, AGMM) for one in job.blocks for m in one.modules()):
        gates, cost = mean_gates(job.model, job.blocks, job.calibration)
        warnings.warn(f"convert: gates became constants: {cost}", stacklevel=4)
    source = INPUT
    pool: block.Pool | None = None
    layers: list[Layer] = []
    for index, module in enumerate(job.blocks):
        if is_bare_pool(module):
            pool = module
        elif isinstance(module, block.SpikingBlock):
            layer, made = lower_block(
                module,
                index,
                source,
                job.num_steps,
                job.seen,
                pool,
                gates,  # type: ignore[arg-type]
                job.readout_decay,
            )
            job.report(made)
            layers.append(layer)
            source, pool = layer.name, None
    return tuple(layers)


def lower_block(
    module: block.SpikingBlock,
    index: int,
    source: str,
    num_steps: int,
    seen: Observed,
    pool: block.Pool | None = None,
    gates: Gates | None = None,
    readout_decay: int = 0,
) -> tuple[Layer, LayerReport]:
    """Lower one block at place ``index`` that ``source`` feeds.

    Args:
        num_steps: steps for which a readout must not overflow.
        seen: what the block saw of some samples.
        pool: pooling without neuron in front of it.
        readout_decay: leak of a readout in 1/4096; 0 in samples, not in streams.
    """
    folded, low, high = arithmetic(module)
    largest = max(high, -low)
    if module.modulation is not None:
        gate = (gates or {})[module.modulation]
        folded = Affine(
            q=folded.q, multiplier=folded.multiplier * gate, offset=folded.offset * gate, whole=folded.whole
        )
    theta, kept = 1.0, 1.0
    fires: Any = module.neuron
    if fires is not None:
        theta = fires.threshold
        kept = share_of_a_step(fires.cx_current_decay, None if readout_decay else num_steps)
    x = seen.inputs[module]  # type: ignore[index]
    search = _Search(
        module,
        folded,
        theta,
        largest,
        math.floor(LOIHI.activation_max * kept),
        num_steps if isinstance(module, block.Readout) else None,
        torch.round(x / module.incoming.value).double().cpu().numpy() if seen.given else None,
    )
    weight, bias, scale = search.best()
    name = layer_name(module, index)
    synapse = _synapse(module, weight, pool)
    unit = scale / theta * (1 << ALIGN_BITS)
    report = _judged(module, name, unit, weight, bias, largest, seen, search.readout_steps)
    neuron: network.LIF | network.Readout = network.Readout(bias=bias, voltage_decay=readout_decay)
    if fires is not None:
        neuron = network.LIF(
            threshold=int(scale) - 1,
            bias=bias,
            current_decay=fires.cx_current_decay,
            voltage_decay=fires.cx_voltage_decay,
        )
    shape: Shape = module.shape if isinstance(module, (block.Conv, block.Pool)) else (len(bias),)
    connection = Connection(source=source, synapse=synapse)
    return Layer(name=name, connections=(connection,), neuron=neuron, shape=shape), report


def _judged(
    module: Any,
    name: str,
    unit: float,
    weight: np.ndarray,
    bias: np.ndarray,
    largest: int,
    seen: Observed,
    readout_steps: int | None,
) -> LayerReport:
    """Compare the currents of the integers with the model's, its gate included."""
    step = 1 << ALIGN_BITS
    grid = Grid(weight=weight, scale=np.full(len(weight), step), bias=bias * step)
    with torch.no_grad():
        ours: Tensor = device.grid_steps(module, grid, seen.inputs[module], unit, largest, gated=False) / unit
    real = seen.currents[module]
    ours = ours[:, :, 0, 0] if ours.dim() == 5 and real.dim() == 3 else ours
    steps = "" if readout_steps is None else f" and {readout_steps} steps"
    cause = (
        f"biases of 13 bits and sums of 24 bits over {weight[0].size} inputs of up to {largest}{steps} "
        "leave too few weight levels"
    )
    remedy = "use fewer input bits, inputs, or steps, smaller biases, or profile='extended'"
    theta = None if readout_steps is not None else module.neuron.threshold
    gated = module.modulation is not None
    if gated:  # what that costs is told with the calibration
        cause = f"gates became constants, and {cause}"
    return judge(name, module.label, unit, ours, real, theta, cause, remedy, refuse=not gated)


def _synapse(module: block.SpikingBlock, weight: np.ndarray, pool: block.Pool | None) -> Synapse:
    """Synapse of integer weights, repeated over the window of a pooling in front."""
    if is_dense(module):
        return network.Dense(weight=weight if pool is None else over_window(pool, weight))
    factor = (1, 1)
    if pool is not None:
        factor = pool.synapse.kernel_size[:2]
        weight = np.kron(weight, np.ones(factor, dtype=np.int64))
    layer = module.synapse
    return network.Conv(
        weight=weight,
        stride=(layer.stride[0] * factor[0], layer.stride[1] * factor[1]),
        padding=(layer.padding[0] * factor[0], layer.padding[1] * factor[1]),
        dilation=layer.dilation[:2],
        groups=len(weight) if isinstance(module, block.Pool) else layer.groups,
    )


class _Search:
    """The scale of a layer, and its integers."""

    def __init__(
        self,
        module: Any,
        folded: Affine,
        theta: float,
        largest: int,
        max_sum: int,
        readout_steps: int | None,
        messages: np.ndarray | None,
    ) -> None:
        """Prepare; see :func:`lower_block`.

        Args:
            max_sum: largest weighted input of a step with which the current cannot overflow.
            readout_steps: for a readout, the steps whose sum must not overflow; its scale need
                not be an integer.
            messages: of the caller's samples, ``[N, *shape, T]``; None for messages of usual size.
        """
        self.label, self.largest = module.label, largest
        self.max_sum, self.readout_steps = max_sum, readout_steps
        self.shape = folded.q.shape
        self.real = folded.q.reshape(len(folded.q), -1) * (folded.multiplier / theta)[:, None]
        self.offset = folded.offset / theta
        image = module.incoming.image
        self.image = image if image is not None and math.prod(image) == self.real.shape[1] else None
        self.graded = largest > 1 and is_dense(module)
        self.given = messages is not None
        self._cost = _cost_of(module, messages)

    def best(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Integer weights and biases with the least cost, and the weight steps per threshold."""
        scales = self._scales()
        found: tuple[float, np.ndarray, np.ndarray, float] | None = None
        rounds: list[Callable[[np.ndarray], np.ndarray]] = [np.rint]
        if self.graded and self.image is not None and not self.given:
            rounds.clear()  # neighbouring pixels are alike in any image
        if self.graded:
            rounds.append(lambda rows: device.round_along(rows, self.image))
        for scale in scales:
            bias = np.rint(self.offset * scale).astype(np.int64)
            for rounded in rounds:
                weight = rounded(self.real * scale).astype(np.int64)
                if not self._fits(weight, bias):
                    continue
                cost = self._cost(weight / scale - self.real, bias / scale - self.offset)
                if found is None or cost < found[0]:
                    found = (cost, weight, bias, scale)
        if found is None:
            raise ExportError(
                f"{self.label}: no scale keeps the integers in range; use fewer inputs or steps"
            )
        return found[1].reshape(self.shape), found[2], found[3]

    def _scales(self) -> np.ndarray:
        fan_in = np.abs(self.real).sum(1) * self.largest
        most, bias = np.abs(self.real).max(), np.abs(self.offset).max()
        bounds = [
            LOIHI.weight_max / max(most, 1e-30),
            LOIHI.bias_max / max(bias, 1e-30),
            self.max_sum / max(fan_in.max(), 1e-30),
        ]
        if self.readout_steps is None:
            bounds.append(float(LOIHI.threshold_max))
        else:
            total = (fan_in + np.abs(self.offset)).max() * self.readout_steps
            bounds.append(LOIHI.threshold_max / max(total, 1e-30))
        largest = min(bounds)
        if self.readout_steps is None and largest < 2:
            raise ExportError(
                f"{self.label}: weights or biases are {1 / largest:.3g} thresholds per step, too large for "
                "8-bit weights and 13-bit biases; raise the threshold or retrain with norm='batch'"
            )
        if not most and not bias:
            raise ExportError(f"{self.label}: all weights and offsets are zero; train the model first")
        scales = np.linspace(largest / 2, largest, _CANDIDATES)[::-1]
        return np.unique(np.floor(scales))[::-1] if self.readout_steps is None else scales

    def _fits(self, weight: np.ndarray, bias: np.ndarray) -> bool:
        """Whether rounding kept all values in range."""
        worst = np.abs(weight).sum(1) * self.largest
        if worst.max() > self.max_sum or np.abs(weight).max() > LOIHI.weight_max:
            return False
        return self.readout_steps is None or bool(
            ((worst + np.abs(bias)) * self.readout_steps).max() <= LOIHI.threshold_max
        )


def _cost_of(module: Any, messages: np.ndarray | None) -> Callable[[np.ndarray, np.ndarray], float]:
    """Mean square error of the current that errors of weights ``[out, in]`` and biases cause."""
    if messages is None:
        return _independent(*usual_messages(module.incoming.low, module.incoming.high))
    steps = np.moveaxis(messages, -1, 1).reshape(-1, *messages.shape[1:-1])
    if is_dense(module):
        every = max(1, len(steps) // _COLUMNS)
        vectors = steps.reshape(len(steps), -1)[::every].T

        def dense(weight: np.ndarray, bias: np.ndarray) -> float:
            return float(np.square(weight @ vectors + bias[:, None]).mean())

        return dense
    # of a convolution: as if pixels were independent
    mean, spread = steps.mean((0, 2, 3)), steps.var((0, 2, 3))
    groups = len(mean) if isinstance(module, block.Pool) else module.synapse.groups
    outputs = len(mean) if isinstance(module, block.Pool) else module.synapse.out_channels
    taps = math.prod(module.synapse.kernel_size[:2])
    mean, spread = (
        np.repeat(np.repeat(part.reshape(groups, -1), outputs // groups, 0), taps, 1)
        for part in (mean, spread)
    )

    return _independent(mean, spread)


def _independent(mean: Any, spread: Any) -> Callable[[np.ndarray, np.ndarray], float]:
    """That error for independent inputs of these means and variances, numbers or ``[out, in]``."""

    def cost(weight: np.ndarray, bias: np.ndarray) -> float:
        coherent = (weight * mean).sum(1) + bias
        return float((np.square(coherent) + (np.square(weight) * spread).sum(1)).mean())

    return cost
