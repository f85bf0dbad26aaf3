"""From a network to a NIR graph; see :func:`netx_export.nir.to_nir`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import nir
import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY

from ..network import (
    INPUT,
    LIF,
    BiasInput,
    Connection,
    Conv,
    Dense,
    FixedPointNetwork,
    Layer,
    Readout,
    Shape,
)
from .semantics import Dialect

_UNIT = 1 << ALIGN_BITS
_ENDLESS = 2.0**40
_PER_CHANNEL = ("threshold", "bias", "current_decay", "voltage_decay")
"""Steps of a time constant that means none."""
Nodes = list[tuple[str, nir.NIRNode]]


class Writer:
    """Writes one network for one reader."""

    def __init__(self, net: FixedPointNetwork, dialect: Dialect, dt: float) -> None:
        self._net, self._dialect, self._dt = net, dialect, dt
        problems = [
            f"{layer.name}: {text}"
            for layer in net.layers
            for text in (*_not_in_nir(layer), *_reader_problems(layer, dialect))
        ]
        if problems:
            raise ExportError(*problems)

    def graph(self, metadata: dict[str, Any]) -> nir.NIRGraph:
        """The graph; a layer's neurons have its name, the nodes in front of them begin with it."""
        nodes: dict[str, nir.NIRNode] = {
            INPUT: nir.Input(input_type={"input": np.array(self._net.input.shape)})
        }
        edges: list[tuple[str, str]] = []
        shapes = self._net.shapes
        for layer in self._net.layers:
            for index, connection in enumerate(layer.connections):
                last = connection.source
                for suffix, node in self._between(
                    layer, connection, shapes[connection.source], first=not index
                ):
                    name = f"{layer.name}.{index}.{suffix}"
                    nodes[name] = node
                    edges.append((last, name))
                    last = name
                edges.append((last, layer.name))
            nodes[layer.name] = self._neuron(layer)
        nodes["output"] = nir.Output(output_type={"output": np.array(self._net.output.shape)})
        edges.append((self._net.output.name, "output"))
        # nir 1.0.8 infers wrong shapes for grouped convolutions and kernels that are not square
        return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=False)

    def _between(self, layer: Layer, connection: Connection, source: Shape, *, first: bool) -> Nodes:
        """Nodes between a source and the neurons."""
        synapse, gain = connection.synapse, self._gain(layer)
        channels = layer.shape[0]
        scale = np.ones(channels) if connection.scale is None else connection.scale / _UNIT
        scale, bias = scale * gain, _bias(layer, connection, first=first) * gain
        early, late = _delays(connection, layer, source, self._dt)
        nodes: Nodes = [] if early is None else [("delay", nir.Delay(delay=early))]
        if isinstance(synapse, Conv):
            nodes.append(("conv", _conv(synapse, synapse.weight * _over(scale, 4), bias, source)))
        elif isinstance(synapse, Dense):
            if len(source) > 1:
                flat = nir.Flatten(input_type={"input": np.array(source)}, start_dim=0, end_dim=-1)
                nodes.append(("flatten", flat))
            nodes.append(("affine", nir.Affine(weight=synapse.weight * scale[:, None], bias=bias)))
        elif bias.any() or ((scale != 1).any() and self._dialect.plain):
            # a 1x1 convolution, or a diagonal matrix, holds a bias
            if len(layer.shape) == 3:
                one = Conv(weight=np.ones((channels, 1, 1, 1), dtype=np.int64), groups=channels)
                nodes.append(("conv", _conv(one, _over(scale, 4), bias, source)))
            else:
                nodes.append(("affine", nir.Affine(weight=np.diag(scale), bias=bias)))
        elif (scale != 1).any():
            spread = np.broadcast_to(_over(scale, len(layer.shape)), layer.shape).copy()
            nodes.append(("scale", nir.Scale(scale=spread)))
        if late is not None:
            nodes.append(("delay", nir.Delay(delay=late)))
        if connection.source == layer.name and self._dialect.breaks_loops:
            nodes.append(("loop", nir.Linear(weight=np.eye(math.prod(layer.shape)))))
        return nodes

    def _gain(self, layer: Layer) -> np.ndarray:
        """Factor on a layer's inputs, ``[C]``, for readers that fix the neurons' resistance or threshold."""
        neuron: Any = layer.neuron
        gain = np.ones(layer.shape[0])
        if self._dialect.r_is_one and np.any(neuron.voltage_decay) and not _filters(neuron):
            gain = gain * _time_constant(neuron.voltage_decay)
        if self._rescales(layer):
            gain = gain / (_mantissa(neuron.threshold, layer) + 0.5 / _UNIT)
        return gain

    def _rescales(self, layer: Layer) -> bool:
        """Whether thresholds that differ become 1."""
        neuron: Any = layer.neuron
        return self._dialect.one_threshold and bool(np.ptp(np.asarray(neuron.threshold)))

    def _neuron(self, layer: Layer) -> nir.NIRNode:
        neuron, dt, dialect = layer.neuron, self._dt, self._dialect
        assert isinstance(neuron, (LIF, Readout))

        def full(value: Any) -> np.ndarray:
            spread = _over(np.asarray(value, dtype=np.float64), len(layer.shape))
            return np.broadcast_to(spread, layer.shape).copy()

        tau = _time_constant(neuron.voltage_decay) * dt
        if neuron.reads_out:
            if not np.any(neuron.voltage_decay):
                return nir.I(r=full(1 / dt))
            return nir.LI(tau=full(tau), r=full(tau / dt), v_leak=full(0))
        threshold = full(1.0 if self._rescales(layer) else _mantissa(neuron.threshold, layer))
        if dialect.at_threshold and not self._rescales(layer):
            threshold = threshold + 0.5 / _UNIT
        if _filters(neuron):
            tau_syn = _time_constant(neuron.current_decay) * dt
            leak = _mantissa(neuron.bias, layer) * NO_MEMORY / neuron.voltage_decay
            return nir.CubaLIF(
                tau_syn=full(tau_syn),
                tau_mem=full(tau),
                r=full(tau / dt),
                v_leak=full(leak),
                v_threshold=threshold,
                w_in=full(tau_syn / dt),
            )
        if dialect.has_if and not np.any(neuron.voltage_decay):
            return nir.IF(r=full(1.0 if dialect.per_step else 1 / dt), v_threshold=threshold)
        r = full(1.0 if dialect.r_is_one else tau / dt)
        return nir.LIF(tau=full(tau), r=r, v_leak=full(0), v_threshold=threshold)


def _not_in_nir(layer: Layer) -> Iterator[str]:
    neuron = layer.neuron
    if layer.mix is not None:
        yield "NIR has no mixing of time steps"
    for index, connection in enumerate(layer.connections):
        if connection.gate is not None:
            yield "NIR has no gate"
        if isinstance(connection.synapse, BiasInput):
            yield "input neurons are not supported; start with the layer behind them"
        differ = connection.delay is not None and connection.delay.ndim == 1 and np.ptp(connection.delay)
        if differ and _bias(layer, connection, first=not index).any():
            yield "NIR delays a bias with its channel; leave the bias out, or give all channels one delay"
    if not isinstance(neuron, (LIF, Readout)):
        yield f"NIR has no {type(neuron).__name__} neuron"
    elif neuron.membrane is not None:
        yield "NIR has no k-bit membrane"
    elif neuron.wraps:
        yield "NIR has no current that wraps; use smaller weights"
    elif any(np.ndim(getattr(neuron, key)) > 1 for key in _PER_CHANNEL):
        yield f"one value per neuron is not written; use one per channel of {', '.join(_PER_CHANNEL)}"
    elif neuron.reads_out and _filters(neuron):
        yield "NIR has no readout whose current has a memory; use current_decay=4096"
    elif _filters(neuron) and not (np.all(neuron.current_decay) and np.all(neuron.voltage_decay)):
        yield "NIR has no CubaLIF with a current or membrane that does not decay"


def _reader_problems(layer: Layer, dialect: Dialect) -> Iterator[str]:
    neuron: Any = layer.neuron
    if not isinstance(neuron, (LIF, Readout)) or not dialect.plain:
        return
    who = f"the reader of semantics={dialect.name!r}"
    if neuron.reads_out:
        yield f"{who} has no readout; end with neurons that spike, or use semantics='nir'"
    elif _filters(neuron) and np.any(neuron.bias):
        yield f"{who} has no bias behind a decaying current; leave it out, or use semantics='nir'"
    elif np.any(np.asarray(neuron.voltage_decay) == NO_MEMORY) and not (_filters(neuron) or dialect.forgets):
        yield f"{who} has no LIF without memory (voltage_decay=4096); use semantics='nir'"
    if dialect.one_decay and (np.ndim(neuron.voltage_decay) or np.ndim(neuron.current_decay)):
        yield f"{who} has one decay for all neurons of a layer; use semantics='nir'"
    for connection in layer.connections:
        if connection.delay is not None and connection.delay.any():
            yield f"{who} has no delays; leave them out, or use semantics='nir'"
        if not dialect.groups and _is_grouped(connection, layer):
            yield f"{who} has no grouped convolutions; use semantics='nir'"
        if dialect.breaks_loops and connection.source == layer.name and len(layer.shape) > 1:
            yield f"{who} has no recurrent weights but dense ones; use semantics='nir'"


def _is_grouped(connection: Connection, layer: Layer) -> bool:
    if isinstance(connection.synapse, Conv):
        return connection.synapse.groups > 1
    return not isinstance(connection.synapse, Dense) and len(layer.shape) == 3 and layer.shape[0] > 1


def _bias(layer: Layer, connection: Connection, *, first: bool) -> np.ndarray:
    """What a path adds to its inputs, in weight steps, ``[C]``; the first has the neurons' bias, too."""
    bias = np.zeros(layer.shape[0]) if connection.bias is None else connection.bias / _UNIT
    if first and not _filters(layer.neuron):
        bias = bias + _mantissa(layer.neuron.bias, layer)
    return bias


def _delays(
    connection: Connection, layer: Layer, source: Shape, dt: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Seconds in front of the weights, and behind them; a common delay stands in front of a bias."""
    steps = connection.delay
    if steps is None or not steps.any():
        return None, None
    if steps.ndim == 2:  # of inputs, or of their channels
        per_input = steps.reshape(
            source if steps.size == math.prod(source) else (-1, *[1] * (len(source) - 1))
        )
        return np.broadcast_to(per_input * dt, source).copy(), None
    if not np.ptp(steps):
        return np.full(source, steps[0] * dt), None
    spread = np.broadcast_to(_over(steps * dt, len(layer.shape)), layer.shape).copy()
    return None, spread


def _filters(neuron: Any) -> bool:
    """Whether a current with memory stands in front of the potential."""
    return bool(np.any(np.asarray(getattr(neuron, "current_decay", NO_MEMORY)) < NO_MEMORY))


def _time_constant(decay: int | np.ndarray) -> np.ndarray:
    """Steps, one or ``[C]``."""
    share = np.asarray(decay) / NO_MEMORY
    return np.where(share > 0, 1 / np.maximum(share, 1 / _ENDLESS), _ENDLESS)


def _conv(synapse: Conv, weight: np.ndarray, bias: np.ndarray, source: Shape) -> nir.Conv2d:
    return nir.Conv2d(
        input_shape=source[1:],
        weight=weight,
        stride=synapse.stride,
        padding=synapse.padding,
        dilation=synapse.dilation,
        groups=synapse.groups,
        bias=bias,
    )


def _over(values: np.ndarray, axes: int) -> np.ndarray:
    """``[C]`` in front of further axes of size 1."""
    return values.reshape(-1, *[1] * (axes - 1))


def _mantissa(value: int | np.ndarray, layer: Layer) -> np.ndarray:
    """A threshold or bias in weight steps, ``[C]``."""
    steps = np.asarray(value, dtype=np.float64) * (1 << layer.neuron.exponent) / _UNIT
    return np.broadcast_to(steps, layer.shape[:1])
