"""Lowering to the stock profile: one integer scale and threshold per layer.

A block computes ``z = gain * step * sum(q * x) + offset`` with integers ``q`` (its weights)
and ``x`` (spikes or intensities) and fires at ``z >= theta``. With a scale ``S`` in weight
steps per threshold the integer layer has weights ``round(S * gain * step / theta) * q`` for
+-1 weights (``round(S * gain * step * q / theta)`` for others), biases
``round(S * offset / theta)``, and threshold ``S - 1``: Lava fires strictly above, so a
membrane of exactly ``S`` steps fires on both sides. ``S`` is the one, of those that keep all
values within :mod:`netx_export.limits`, with the least error of the membrane relative to
the threshold. Stock Lava has one threshold per layer, hence one ``S`` per layer.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch

from lava_bsnn import block, device
from lava_bsnn.device import Affine
from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS, ONE
from lava_bsnn.neuron import LIF

from .. import limits, network
from ..network import INPUT, Connection, FixedPointNetwork, Layer, Shape, Synapse
from .extended import LayerReport, over_window
from .resolution import check_resolution

_CANDIDATES = 64


def lower_stock(
    blocks: list[torch.nn.Module],
    num_steps: int,
    report: Callable[[LayerReport], None],
    gates: Mapping[torch.nn.Module, np.ndarray],
) -> FixedPointNetwork:
    """Lower checked blocks; ``report`` is called for each layer, ``gates`` are constants per channel."""
    first = blocks[0]
    assert isinstance(first, block.Block) and first.input_shape is not None
    entry = network.Input(shape=first.input_shape, bits=first.bits if isinstance(first, block.Input) else 0)
    source, max_value = INPUT, entry.max_value
    pool: block.Pool | None = None
    layers: list[Layer] = []
    for index, module in enumerate(blocks):
        if isinstance(module, (block.Input, block.Flatten)):
            continue
        if isinstance(module, block.Pool) and module.neuron is None:
            if pool is not None:
                raise ExportError(f"{module.label}: two poolings in a row; use one of the product's size")
            pool = module
            continue
        assert isinstance(module, block.SpikingBlock)
        layer, made = lower_block(module, index, source, max_value, num_steps, pool, gates)
        report(made)
        layers.append(layer)
        source, max_value, pool = layer.name, 1, None
    if pool is not None:
        raise ExportError(f"{pool.label}: a pooling without neuron cannot be the last block; add a Readout")
    return FixedPointNetwork(input=entry, layers=tuple(layers))


def lower_block(
    module: block.SpikingBlock,
    index: int,
    source: str,
    max_value: int,
    num_steps: int,
    pool: block.Pool | None = None,
    gates: Mapping[torch.nn.Module, np.ndarray] | None = None,
) -> tuple[Layer, LayerReport]:
    """Lower one block at place ``index`` that ``source`` feeds with messages up to ``max_value``.

    Args:
        num_steps: steps for which a readout must not overflow.
        pool: pooling without neuron in front of it.
    """
    affine = _affine(module, gates or {})
    if pool is not None:
        affine = _merge_pool(pool, module, affine)
    reads_out = isinstance(module, block.Readout)
    theta, kept = 1.0, 1.0
    if isinstance(module.neuron, LIF):
        theta = module.neuron.threshold
        kept = max(module.neuron.cx_current_decay / ONE, 1 / num_steps)  # a current adds up
    weight, bias, scale, error = _choose_scale(
        module.label,
        affine,
        theta,
        max_value,
        math.floor(limits.ACTIVATION_MAX * kept),
        num_steps if reads_out else None,
    )
    neuron: network.LIF | network.Readout = network.Readout(bias=bias)
    if isinstance(module.neuron, LIF):
        neuron = network.LIF(
            threshold=int(scale) - 1,
            bias=bias,
            current_decay=module.neuron.cx_current_decay,
            voltage_decay=module.neuron.cx_voltage_decay,
        )
    shape: Shape = module.shape if isinstance(module, (block.Conv, block.Pool)) else (len(bias),)
    name = f"{type(module).__name__.lower()}{index}"
    connection = Connection(source=source, synapse=_synapse(module, weight, pool))
    report = LayerReport(name=name, unit=(scale / theta) * (1 << ALIGN_BITS), error=error)
    return Layer(name=name, connections=(connection,), neuron=neuron, shape=shape), report


def _affine(module: block.SpikingBlock, gates: Mapping[torch.nn.Module, np.ndarray]) -> Affine:
    affine = device.affine(module, exact=True)
    dead = np.flatnonzero(affine.multiplier == 0)
    if len(dead):
        warnings.warn(
            f"{module.label}: channels {dead.tolist()} have a batch norm gain of 0; "
            "they are exported with zero weights",
            stacklevel=2,
        )
    if module.modulation is None:
        return affine
    gate = gates[module.modulation]
    return Affine(q=affine.q, multiplier=affine.multiplier * gate, offset=affine.offset * gate)


def _merge_pool(pool: block.Pool, module: block.SpikingBlock, affine: Affine) -> Affine:
    """Repeat the weights over the pooling window: pool and synapse become one synapse."""
    kernel = pool.synapse.kernel_size[:2]
    if pool.synapse.stride[:2] != kernel or pool.synapse.padding[:2] != (0, 0):
        raise ExportError(
            f"{pool.label}: overlapping or padded pooling without neuron cannot be merged into "
            f"{module.label}; use stride=kernel_size and padding=0"
        )
    assert pool.input_shape is not None
    _, height, width = pool.input_shape
    _, pooled_height, pooled_width = pool.shape
    if isinstance(module, (block.Dense, block.Readout)):
        q = over_window(pool, affine.q)
        return Affine(q=q, multiplier=affine.multiplier * pool.synapse.tap_weight, offset=affine.offset)
    if isinstance(module, block.Pool) or module.synapse.dilation[:2] != (1, 1):
        raise ExportError(
            f"{module.label}: cannot follow a pooling without neuron; use dilation=1 or a neuron"
        )
    elif (height, width) != (pooled_height * kernel[0], pooled_width * kernel[1]):
        raise ExportError(
            f"{pool.label}: input {height}x{width} is not a multiple of the window {kernel}; "
            "pad or crop it for export"
        )
    q = np.kron(affine.q, np.ones(kernel))
    return Affine(q=q, multiplier=affine.multiplier * pool.synapse.tap_weight, offset=affine.offset)


def _synapse(module: block.SpikingBlock, weight: np.ndarray, pool: block.Pool | None) -> Synapse:
    if isinstance(module, (block.Dense, block.Readout)):
        return network.Dense(weight=weight)
    factor = (1, 1) if pool is None else pool.synapse.kernel_size[:2]
    layer = module.synapse
    return network.Conv(
        weight=weight,
        stride=(layer.stride[0] * factor[0], layer.stride[1] * factor[1]),
        padding=(layer.padding[0] * factor[0], layer.padding[1] * factor[1]),
        dilation=layer.dilation[:2],
        groups=len(weight) if isinstance(module, block.Pool) else layer.groups,
    )


def _choose_scale(
    label: str, affine: Affine, theta: float, max_value: int, max_sum: int, readout_steps: int | None
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Integer weights and biases with the least error, the weight steps per ``theta``, and the error.

    Args:
        max_sum: largest weighted input of a step with which the current cannot overflow.
        readout_steps: for a readout, the steps whose sum must not overflow; its scale need
            not be an integer.
    """
    relative = affine.multiplier / theta
    real = affine.q * relative.reshape(-1, *[1] * (affine.q.ndim - 1))
    offset = affine.offset / theta
    fan_in = np.abs(real).reshape(len(real), -1).sum(1) * max_value
    if not (np.isfinite(real).all() and np.isfinite(offset).all()):
        raise ExportError(f"{label}: weights or norm are not finite; retrain or load a good checkpoint")
    bounds = [
        limits.WEIGHT_MAX / max(np.abs(real).max(), 1e-30),
        limits.BIAS_MAX / max(np.abs(offset).max(), 1e-30),
        max_sum / max(fan_in.max(), 1e-30),
    ]
    if readout_steps is None:
        bounds.append(float(limits.THRESHOLD_MAX))
    else:
        bounds.append(limits.THRESHOLD_MAX / max((fan_in + np.abs(offset)).max() * readout_steps, 1e-30))
    largest = min(bounds)
    if readout_steps is None and largest < 2:
        raise ExportError(
            f"{label}: weights or biases are {1 / largest:.3g} thresholds per step, too large for 8-bit "
            "weights and 13-bit biases; raise the threshold or retrain with norm='batch'"
        )
    if not np.abs(real).max() and not np.abs(offset).max():
        raise ExportError(f"{label}: all weights and offsets are zero; train the model first")
    scales = np.linspace(largest / 2, largest, _CANDIDATES)[::-1]
    if readout_steps is None:
        scales = np.unique(np.floor(scales))[::-1]
    best: tuple[float, np.ndarray, np.ndarray, float] | None = None
    for scale in scales:
        weight, bias = _round(affine.q, relative * scale), np.rint(offset * scale).astype(np.int64)
        if not _fits(weight, bias, max_value, max_sum, readout_steps):
            continue
        spread = np.square(weight / scale - real).reshape(len(real), -1).sum(1)
        error = np.square(max_value * np.sqrt(spread) + np.abs(bias / scale - offset)).mean()
        if best is None or error < best[0]:
            best = (float(error), weight, bias, scale)
    if best is None:
        raise ExportError(f"{label}: no scale keeps the integers in range; use fewer inputs or steps")
    steps = "" if readout_steps is None else f" and {readout_steps} steps"
    cause = (
        f"biases of 13 bits and sums of 24 bits over {real[0].size} inputs of up to {max_value}{steps} "
        "leave too few weight levels"
    )
    remedy = "use fewer input bits, inputs, or steps, or smaller biases"
    lost = check_resolution(label, best[1] / best[3], real, cause, remedy)
    return best[1], best[2], best[3], best[0] ** 0.5 if readout_steps is None else lost


def _round(q: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.rint(q * multiplier.reshape(-1, *[1] * (q.ndim - 1))).astype(np.int64)
    return result


def _fits(
    weight: np.ndarray, bias: np.ndarray, max_value: int, max_sum: int, readout_steps: int | None
) -> bool:
    """Whether rounding kept all sums in range."""
    worst = np.abs(weight).reshape(len(weight), -1).sum(1) * max_value
    if worst.max() > max_sum:
        return False
    return readout_steps is None or bool(
        ((worst + np.abs(bias)) * readout_steps).max() <= limits.THRESHOLD_MAX
    )
