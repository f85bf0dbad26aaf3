"""From a NIR graph to integers; see :func:`netx_export.nir.from_nir`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import nir
import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import NO_MEMORY
from lava_bsnn.limits import LIMITS

from ..network import INPUT, FixedPointNetwork, Shape
from .entry import PERSISTENT, input_of, names_of
from .integers import NEAR, Neuron, Path, extended_layer, is_stock, stock_layer

DEFAULT_DT = 1e-3
"""Seconds per time step of graphs that do not tell."""
_NEURONS = (nir.LIF, nir.IF, nir.CubaLIF, nir.I, nir.LI)
_LINEAR = (nir.Conv2d, nir.Affine, nir.Linear, nir.Flatten, nir.Scale, nir.SumPool2d, nir.AvgPool2d)


class Reader:
    """Reads one graph."""

    def __init__(self, graph: nir.NIRGraph, input_bits: int | None) -> None:
        self._nodes = graph.nodes
        self._before: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self._before[target].append(source)
        self._metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
        self._dt = float(self._metadata.get("dt", DEFAULT_DT))
        self._bits = input_bits
        problems = [
            f"{name}: node {type(node).__name__} is not supported"
            for name, node in graph.nodes.items()
            if not isinstance(node, (*_NEURONS, *_LINEAR, nir.Input, nir.Output))
        ]
        for kind in (nir.Input, nir.Output):
            count = sum(isinstance(node, kind) for node in graph.nodes.values())
            if count != 1:
                problems.append(f"the graph has {count} {kind.__name__} nodes; use one")
        if problems:
            raise ExportError("; ".join(problems))

    def network(self) -> FixedPointNetwork:
        """The network, in profile ``"stock"`` if that holds it exactly."""
        (entry,) = (node for node in self._nodes.values() if isinstance(node, nir.Input))
        shape = tuple(int(size) for size in entry.input_type["input"])
        self._input = input_of(self._metadata, shape, self._bits)
        common: dict[str, Any] = {"input": self._input, "classes": names_of(self._metadata)}
        common["persistent"] = bool(self._metadata.get(PERSISTENT, 0))
        order = self._order()
        neurons = {name: self._neuron(name) for name in order}
        self._shapes = {**{name: neuron.shape for name, neuron in neurons.items()}}
        paths = {name: [self._path(source) for source in self._before[name]] for name in order}
        if all(is_stock(neurons[name], paths[name]) for name in order):
            layers = tuple(stock_layer(name, neurons[name], paths[name][0]) for name in order)
            try:
                return FixedPointNetwork(layers=layers, **common)
            except ExportError:
                pass  # beyond Loihi's ranges
        layers = tuple(
            extended_layer(name, neurons[name], paths[name], self._input.largest) for name in order
        )
        return FixedPointNetwork(layers=layers, profile="extended", **common)

    def _order(self) -> list[str]:
        """Neuron nodes that lead to the output, sources first."""
        (output,) = (name for name, node in self._nodes.items() if isinstance(node, nir.Output))
        order: list[str] = []
        open_nodes: set[str] = set()
        stack: list[tuple[str, bool]] = [(output, False)]
        done: set[str] = set()
        while stack:
            name, left = stack.pop()
            if left:
                open_nodes.discard(name)
                done.add(name)
                if isinstance(self._nodes[name], _NEURONS):
                    order.append(name)
                continue
            if name in done:
                continue
            if name in open_nodes:
                raise ExportError(f"{name}: the graph has a cycle; recurrence is not supported")
            open_nodes.add(name)
            stack.append((name, True))
            for source in reversed(self._before[name]):
                if source in open_nodes and source not in done and (source, True) in stack:
                    raise ExportError(f"{source}: the graph has a cycle; recurrence is not supported")
                if source not in done:
                    stack.append((source, False))
        (last,) = self._before[output] if len(self._before[output]) == 1 else (None,)
        if last is None or not order or order[-1] != last:
            raise ExportError(f"{output}: one neuron node must lead to the output; add an I as readout")
        for name in order[:-1]:
            if isinstance(self._nodes[name], (nir.I, nir.LI)):
                kind = type(self._nodes[name]).__name__
                raise ExportError(
                    f"{name}: node {kind} sends no spikes, so it must be the last; use a LIF or IF"
                )
        return order

    def _neuron(self, name: str) -> Neuron:
        node, dt = self._nodes[name], self._dt
        if isinstance(node, nir.I):
            shape = _shape(node.r)
            gain = _per_channel(name, "r", node.r) * dt
            return Neuron(shape=shape, gain=gain, bias=np.zeros(shape[0]), threshold=None)
        shape = _shape(node.r)
        gain = _per_channel(name, "r", node.r)
        spikes = not isinstance(node, nir.LI)
        threshold = _per_channel(name, "v_threshold", node.v_threshold) if spikes else None
        if spikes and np.any(node.v_reset):
            raise ExportError(f"{name}: v_reset other than 0 is not supported")
        if isinstance(node, nir.IF):
            return Neuron(shape=shape, gain=gain * dt, bias=np.zeros(shape[0]), threshold=threshold)
        tau = node.tau_mem if isinstance(node, nir.CubaLIF) else node.tau
        leak = dt / _one(name, "tau", tau)
        bias = _per_channel(name, "v_leak", node.v_leak) * leak
        gain = gain * leak
        current_decay = NO_MEMORY
        if isinstance(node, nir.CubaLIF):
            share = dt / _one(name, "tau_syn", node.tau_syn)
            current_decay = _decay(name, "tau_syn", share)
            gain = gain * _per_channel(name, "w_in", node.w_in) * share
        return Neuron(
            shape=shape,
            gain=gain,
            bias=bias,
            threshold=threshold,
            current_decay=current_decay,
            voltage_decay=_decay(name, "tau", leak),
        )

    def _path(self, last: str) -> Path:
        """The linear nodes that end in ``last``, back to a neuron or the input."""
        names = []
        name = last
        while isinstance(self._nodes[name], _LINEAR):
            names.append(name)
            if len(self._before[name]) != 1:
                raise ExportError(f"{name}: has {len(self._before[name])} inputs; only neurons add them up")
            (name,) = self._before[name]
        if isinstance(self._nodes[name], nir.Input):
            path = Path(source=INPUT, shape=self._input.shape)
        else:
            path = Path(source=name, shape=self._shapes[name])
        for name in reversed(names):
            path = _extend(path, name, self._nodes[name])
        return path


def _shape(values: np.ndarray) -> Shape:
    return tuple(int(size) for size in np.shape(values))


def _per_channel(name: str, what: str, values: Any) -> np.ndarray:
    """``[C]`` of values that are the same all over a channel."""
    flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    if not np.isfinite(flat).all():
        raise ExportError(f"{name}: {what} has values that are not finite")
    if np.ptp(flat, axis=1).max() > NEAR * np.abs(flat).max():
        raise ExportError(f"{name}: {what} differs within a channel, which is not supported")
    result: np.ndarray = flat[:, 0]
    return result


def _one(name: str, what: str, values: Any) -> float:
    """The one value of an array that holds it everywhere."""
    per_channel = _per_channel(name, what, values)
    if np.ptp(per_channel) > NEAR * np.abs(per_channel).max() or per_channel[0] <= 0:
        raise ExportError(f"{name}: {what} must be positive and the same for all neurons")
    return float(per_channel[0])


def _decay(name: str, what: str, share: float) -> int:
    amount = round(share * NO_MEMORY)
    if not 0 <= amount <= LIMITS.decay_max:
        raise ExportError(f"{name}: {what} is shorter than a time step; lower metadata['dt']")
    return amount


def _extend(path: Path, name: str, node: nir.NIRNode) -> Path:
    """The path with one more node behind it."""
    if isinstance(node, nir.Flatten):
        return path
    if isinstance(node, nir.Scale):
        scale = _per_channel(name, "scale", node.scale)
        if path.weight is None:
            if path.pool != (1, 1):
                raise ExportError(f"{name}: a Scale between pooling and synapse is not supported")
            return replace(path, weight=np.diag(scale), conv={"identity": True})
        return replace(
            path,
            weight=path.weight * scale.reshape(-1, *[1] * (path.weight.ndim - 1)),
            bias=path.bias * scale,
        )
    if path.weight is not None:
        raise ExportError(f"{name}: two synapses in a row are not supported; put a neuron between them")
    if isinstance(node, (nir.SumPool2d, nir.AvgPool2d)):
        kernel, stride, padding = (
            tuple(int(v) for v in np.broadcast_to(getattr(node, key), 2))
            for key in ("kernel_size", "stride", "padding")
        )
        if stride != kernel or any(padding):
            raise ExportError(f"{name}: overlapping or padded pooling is not supported")
        gain = path.gain / (math.prod(kernel) if isinstance(node, nir.AvgPool2d) else 1)
        return replace(path, pool=(path.pool[0] * kernel[0], path.pool[1] * kernel[1]), gain=gain)
    weight = np.asarray(node.weight, dtype=np.float64)
    bias = np.asarray(getattr(node, "bias", 0.0), dtype=np.float64)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ExportError(f"{name}: weight or bias has values that are not finite")
    if isinstance(node, nir.Conv2d):
        return _extend_conv(path, name, node, weight, bias)
    if weight.ndim != 2:
        raise ExportError(f"{name}: a weight of {weight.ndim} axes is not supported; use 2")
    if path.pool != (1, 1):
        weight = _pooled_dense(path, name, weight)
    return replace(path, weight=weight, bias=bias)


def _extend_conv(path: Path, name: str, node: nir.Conv2d, weight: np.ndarray, bias: np.ndarray) -> Path:
    pool = np.array(path.pool)
    padding = node.padding
    if isinstance(padding, str):
        if padding == "valid":
            padding = (0, 0)
        else:
            raise ExportError(f"{name}: padding={padding!r} is not supported; use numbers")
    dilation = tuple(int(v) for v in np.broadcast_to(node.dilation, 2))
    if path.pool != (1, 1):
        if dilation != (1, 1):
            raise ExportError(f"{name}: a dilated convolution behind a pooling is not supported")
        weight = np.repeat(np.repeat(weight, pool[0], 2), pool[1], 3)
    options = {
        "stride": tuple(int(v) for v in np.broadcast_to(node.stride, 2) * pool),
        "padding": tuple(int(v) for v in np.broadcast_to(padding, 2) * pool),
        "dilation": dilation,
        "groups": int(node.groups),
    }
    return replace(path, weight=weight, bias=bias, conv=options)


def _pooled_dense(path: Path, name: str, weight: np.ndarray) -> np.ndarray:
    """Weights of a dense layer behind a pooling, repeated over the pooling window."""
    channels, height, width = path.shape
    small = (height // path.pool[0], width // path.pool[1])
    if weight.shape[1] != channels * math.prod(small):
        raise ExportError(f"{name}: {weight.shape[1]} inputs do not fit the pooling in front of it")
    spread = weight.reshape(len(weight), channels, *small)
    spread = np.repeat(np.repeat(spread, path.pool[0], 2), path.pool[1], 3)
    full = np.zeros((len(weight), channels, height, width))
    full[:, :, : spread.shape[2], : spread.shape[3]] = spread
    return full.reshape(len(weight), -1)
