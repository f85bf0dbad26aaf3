"""Exchange with NIR, the neuromorphic intermediate representation (Pedersen et al., 2024).

NIR's neurons follow differential equations. Both directions read them by Euler steps of
``metadata["dt"]`` seconds (0.001 if absent), which makes them Loihi's equations without its
rounding. With decays du, dv in 1/4096 and values in weight steps:

    LIF       tau = 4096 dt / dv, r = tau / dt, input W x + b                    du = 4096
    IF        r = 1 / dt, input W x + b                                          du = 4096, dv = 0
    CubaLIF   tau_syn = 4096 dt / du, w_in = tau_syn / dt, tau_mem and r as for LIF,
              v_leak = 4096 b / dv: the bias stands behind the current's decay
    I, LI     r = 1 / dt, or as LIF: a readout, without or with a leak

NIR has no pipeline delays: step t of all nodes belongs to input step t. Several edges into a
neuron add up. A round trip of a network in profile ``"stock"`` gives the same network. What NIR has no
place for (width and sign of the messages, the encoding, names of the classes, whether samples are
streams) stands in the metadata.
"""

from __future__ import annotations

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
from .entry import described
from .reader import DEFAULT_DT, Reader

_UNIT = 1 << ALIGN_BITS


def to_nir(net: FixedPointNetwork, *, dt: float = DEFAULT_DT) -> nir.NIRGraph:
    """Express a network as a NIR graph; ``nir.write(path, graph)`` stores it.

    Weights, biases and thresholds are in weight steps.

    Raises:
        ExportError: NIR has no node for something; every such layer is listed.
    """
    if not 0 < dt < float("inf"):
        raise ExportError(f"to_nir: dt={dt} is not allowed; use a time step in seconds above 0")
    problems = [f"{layer.name}: {text}" for layer in net.layers for text in _not_in_nir(layer)]
    if problems:
        raise ExportError("; ".join(problems))
    nodes: dict[str, nir.NIRNode] = {INPUT: nir.Input(input_type={"input": np.array(net.input.shape)})}
    edges: list[tuple[str, str]] = []
    shapes: dict[str, Shape] = {INPUT: net.input.shape}
    for layer in net.layers:
        for index, connection in enumerate(layer.connections):
            last = connection.source
            for suffix, node in _synapse_nodes(layer, connection, shapes[connection.source], first=not index):
                name = f"{layer.name}.{index}.{suffix}"
                nodes[name] = node
                edges.append((last, name))
                last = name
            edges.append((last, layer.name))
        nodes[layer.name] = _neuron_node(layer, dt)
        shapes[layer.name] = layer.shape
    nodes["output"] = nir.Output(output_type={"output": np.array(net.output.shape)})
    edges.append((net.output.name, "output"))
    # nir 1.0.8 infers wrong shapes for grouped convolutions and kernels that are not square
    metadata = {"dt": dt, "input_bits": net.input.bits, "profile": net.profile, **described(net)}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=False)


def _not_in_nir(layer: Layer) -> Iterator[str]:
    neuron = layer.neuron
    if layer.mix is not None:
        yield "NIR has no mixing of time steps"
    for connection in layer.connections:
        if connection.gate is not None:
            yield "NIR has no gate"
        if connection.delay is not None or connection.source == layer.name:
            yield "delays and recurrence are not supported"
        if isinstance(connection.synapse, BiasInput):
            yield "input neurons are not supported; start with the layer behind them"
    if not isinstance(neuron, (LIF, Readout)):
        yield f"NIR has no {type(neuron).__name__} neuron"
    elif neuron.membrane is not None:
        yield "NIR has no k-bit membrane"
    elif neuron.current_decay < NO_MEMORY and not (neuron.current_decay and neuron.voltage_decay):
        yield "NIR has no CubaLIF with a current or membrane that does not decay"


def _synapse_nodes(
    layer: Layer, connection: Connection, source: Shape, *, first: bool
) -> Iterator[tuple[str, nir.NIRNode]]:
    synapse = connection.synapse
    channels = layer.shape[0]
    scale = np.ones(channels) if connection.scale is None else connection.scale / _UNIT
    bias = np.zeros(channels) if connection.bias is None else connection.bias / _UNIT
    if first and getattr(layer.neuron, "current_decay", 0) == NO_MEMORY:
        bias = bias + _mantissa(layer.neuron.bias, layer)
    if isinstance(synapse, Conv):
        yield (
            "conv",
            nir.Conv2d(
                input_shape=source[1:],
                weight=synapse.weight * scale.reshape(-1, 1, 1, 1),
                stride=synapse.stride,
                padding=synapse.padding,
                dilation=synapse.dilation,
                groups=synapse.groups,
                bias=bias,
            ),
        )
        return
    if isinstance(synapse, Dense):
        if len(source) > 1:
            yield "flatten", nir.Flatten(input_type={"input": np.array(source)}, start_dim=0, end_dim=-1)
        yield "affine", nir.Affine(weight=synapse.weight * scale[:, None], bias=bias)
        return
    spread = (channels, *[1] * (len(layer.shape) - 1))
    if bias.any():  # a 1x1 convolution, or a diagonal matrix, can hold a bias
        if len(layer.shape) == 3:
            weight = scale.reshape(-1, 1, 1, 1)
            options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": channels}
            yield "conv", nir.Conv2d(input_shape=source[1:], weight=weight, bias=bias, **options)
        else:
            yield "affine", nir.Affine(weight=np.diag(scale), bias=bias)
    elif (scale != 1).any():
        yield "scale", nir.Scale(scale=np.broadcast_to(scale.reshape(spread), layer.shape).copy())


def _mantissa(value: int | np.ndarray, layer: Layer) -> np.ndarray:
    """A threshold or bias in weight steps, ``[C]``."""
    steps = np.asarray(value, dtype=np.float64) * (1 << layer.neuron.exponent) / _UNIT
    return np.broadcast_to(steps, layer.shape[:1])


def _neuron_node(layer: Layer, dt: float) -> nir.NIRNode:
    neuron: Any = layer.neuron

    def full(value: Any) -> np.ndarray:
        per_channel = np.asarray(value, dtype=np.float64).reshape(-1, *[1] * (len(layer.shape) - 1))
        return np.broadcast_to(per_channel, layer.shape).copy()

    if neuron.reads_out and not neuron.voltage_decay:
        return nir.I(r=full(1 / dt))
    tau = NO_MEMORY * dt / max(1, neuron.voltage_decay)
    if neuron.reads_out:
        return nir.LI(tau=full(tau), r=full(tau / dt), v_leak=full(0))
    threshold = full(_mantissa(neuron.threshold, layer))
    if neuron.current_decay < NO_MEMORY:
        tau_syn = NO_MEMORY * dt / neuron.current_decay
        leak = _mantissa(neuron.bias, layer) * NO_MEMORY / neuron.voltage_decay
        return nir.CubaLIF(
            tau_syn=full(tau_syn),
            tau_mem=full(tau),
            r=full(tau / dt),
            v_leak=full(leak),
            v_threshold=threshold,
            w_in=full(tau_syn / dt),
        )
    if neuron.voltage_decay == 0:
        return nir.IF(r=full(1 / dt), v_threshold=threshold)
    return nir.LIF(tau=full(tau), r=full(tau / dt), v_leak=full(0), v_threshold=threshold)


def from_nir(graph: nir.NIRGraph, *, input_bits: int | None = None) -> FixedPointNetwork:
    """Make a network of a NIR graph.

    A graph whose weights, biases and thresholds are integers within Loihi's limits becomes a
    network in profile ``"stock"``, if it is a chain. Any other becomes one in profile
    ``"extended"``: thresholds and biases are rounded to membrane steps, of which there are as many
    per unit as 24 bits allow, weights to 8 bits with a scale per channel; channels with weights of
    one magnitude keep 1 bit. Poolings merge into the synapse behind them. Resets to other
    values than 0, cycles, and unknown nodes are refused.

    Args:
        graph: with one Input and one Output.
        input_bits: width of graded input without sign; by default the graph's metadata, or 0 for spikes.

    Raises:
        ExportError: a node is not supported or does not fit; it is named.
    """
    return Reader(graph, input_bits).network()


__all__ = ["DEFAULT_DT", "from_nir", "to_nir"]
