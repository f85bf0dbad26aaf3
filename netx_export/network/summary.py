"""What a network is made of: a table with a row per layer, and totals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lava_bsnn.fixed_point import NO_MEMORY

from .synapses import INPUT, Dense, Shape, weight_bits, weight_of

if TYPE_CHECKING:
    from .graph import Connection, FixedPointNetwork, Layer


_STREAM = "stream, never reset"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Totals of a network.

    Attributes:
        layers: layers with neurons.
        weights: stored weights.
        weight_bits: bits that they take, at the least width per synapse.
        neurons: neurons, of all layers.
        synapses: connections between neurons, kernel taps counted at every position.
        latency: steps by which Lava delays the output.
        max_depth: depth of the deepest layer.
    """

    layers: int
    weights: int
    weight_bits: int
    neurons: int
    synapses: int
    latency: int
    max_depth: int


def summarize(net: FixedPointNetwork) -> Summary:
    """Count what a network is made of."""
    pairs = [(layer, connection) for layer in net.layers for connection in layer.connections]
    sizes = [num_weights(connection) for _, connection in pairs]
    bits = [weight_bits(connection.synapse) for _, connection in pairs]
    return Summary(
        layers=len(net.layers),
        weights=sum(sizes),
        weight_bits=sum(size * width for size, width in zip(sizes, bits, strict=True)),
        neurons=sum(math.prod(layer.shape) for layer in net.layers),
        synapses=sum(num_synapses(layer, connection) for layer, connection in pairs),
        latency=net.latency,
        max_depth=max(net.depth(layer.name) for layer in net.layers),
    )


def num_weights(connection: Connection) -> int:
    """Stored weights."""
    weight = weight_of(connection.synapse)
    return 0 if weight is None else weight.size


def num_synapses(layer: Layer, connection: Connection) -> int:
    """Connections between neurons, kernel taps counted at every position."""
    weight = weight_of(connection.synapse)
    if weight is None:
        return math.prod(layer.shape)
    return weight.size * (1 if isinstance(connection.synapse, Dense) else math.prod(layer.shape[1:]))


def table(net: FixedPointNetwork) -> str:
    """One row per layer: synapses, neuron, shape, weights, and what the neurons compute with."""
    header = (
        "layer",
        "synapse",
        "neuron",
        "shape",
        "weights",
        "bits",
        "range",
        "threshold",
        "vDecay",
        "extras",
    )
    width = f"{net.input.bits or 1} bit{' signed' if net.input.signed else ''}"
    entry = (INPUT, width, "", _times(net.input.shape), *[""] * (len(header) - 5), _STREAM * net.persistent)
    rows = [header, entry]
    for layer in net.layers:
        weights = [weight for c in layer.connections if (weight := weight_of(c.synapse)) is not None]
        bits = {weight_bits(c.synapse) for c in layer.connections} - {0}
        neuron = layer.neuron
        rows.append(
            (
                layer.name,
                "+".join(type(c.synapse).__name__.lower() for c in layer.connections),
                neuron.label,
                _times(layer.shape),
                str(sum(w.size for w in weights)),
                "+".join(map(str, sorted(bits))),
                f"{min(int(w.min()) for w in weights)}..{max(int(w.max()) for w in weights)}"
                if weights
                else "",
                "none" if neuron.reads_out else _values(getattr(neuron, "threshold", "")),
                _values(getattr(neuron, "voltage_decay", "")),
                " ".join(_extras(net, layer)),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _extras(net: FixedPointNetwork, layer: Layer) -> list[str]:
    extras = [f"gate/{c.gate.per}" for c in layer.connections if c.gate is not None]
    if layer.mix is not None:
        frames, steps = layer.mix.num_frames, layer.mix.num_steps
        window = f"mix/{steps} steps" if frames == steps else f"mix/{frames} to {steps} steps"
        extras.append("mix/causal" if layer.mix.causal else window)
    current = getattr(layer.neuron, "current_decay", NO_MEMORY)
    if np.min(current) < NO_MEMORY:
        extras.append(f"iDecay {_values(current)}")
    if getattr(layer.neuron, "wraps", False):
        extras.append("wraps")
    membrane = getattr(layer.neuron, "membrane", None)
    if membrane is not None:
        extras.append(f"{membrane.bits}-bit membrane")
    delays = [int(c.delay.max()) for c in layer.connections if c.delay is not None]
    if any(delays):
        extras.append(f"delays to {max(delays)}")
    waits = [net.balancing_delay(layer, c) for c in layer.connections]
    if any(waits):
        extras.append(f"skip waits {max(waits)}")
    return extras


def _values(value: Any) -> str:
    ends = (int(np.min(value)), int(np.max(value))) if np.ndim(value) else (value,)
    return "..".join(map(str, dict.fromkeys(ends)))


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))
