"""Neurons that hand spikes on, where a path of convolutions is shorter than the one it meets, or delayed.

Paths of different length wait for each other. Lava delays identities and dense synapses by themselves, but
has no convolution with delays: each step of it becomes a layer that sends what it receives. Axonal
delays in front of a convolution become those of one such layer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import NO_MEMORY

from ..network import INPUT, Connection, Conv, Identity, Input, Layer, Shape
from ..neurons import LIF
from .incoming import Incoming


def with_relays(layer: Layer, paths: list[Incoming], before: list[Layer], entry: Input) -> list[Layer]:
    """The layer, behind the relays that its convolutions need.

    Args:
        layer: which ``paths`` feed.
        before: all layers before it, in order.
        entry: input of the network.

    Raises:
        ExportError: what waits is no spike.
    """
    depths, shapes = {INPUT: 0}, {INPUT: entry.shape}
    added: list[Layer] = []
    connections: list[Connection] = []
    for one in before:
        depths[one.name] = 1 + max(depths[c.source] for c in one.connections if c.source != one.name)
        shapes[one.name] = one.shape
    incoming = list(layer.connections)
    for index, connection in enumerate(incoming):
        if connection.delay is not None and isinstance(connection.synapse, Conv):
            name, source = f"{layer.name}_delay{index}", connection.source
            late = Connection(source=source, synapse=Identity(), delay=connection.delay)
            added.append(
                Layer(
                    name=name,
                    connections=(late,),
                    neuron=relay_neurons(shapes[source][0]),
                    shape=shapes[source],
                )
            )
            depths[name], shapes[name] = depths[source] + 1, shapes[source]
            incoming[index] = replace(connection, source=name, delay=None)
    longest = max(depths[connection.source] for connection in incoming if connection.source != layer.name)
    for connection, path in zip(incoming, paths, strict=True):
        wait = longest - depths.get(connection.source, longest)  # none for a layer's own spikes
        if wait and isinstance(connection.synapse, Conv):
            if path.largest > 1:
                raise ExportError(
                    f"{path.module.label}: messages up to {path.largest} cannot wait in front of a "
                    "convolution for a longer path; put a spiking block in front of the skip"
                )
            relays, connection = _relayed(layer.name, connection, shapes[connection.source], wait)
            added += relays
        connections.append(connection)
    return [*added, replace(layer, connections=tuple(connections))]


def _relayed(name: str, connection: Connection, shape: Shape, wait: int) -> tuple[list[Layer], Connection]:
    """Relays, and the connection behind the last of them."""
    conv, source = connection.synapse, connection.source
    assert isinstance(conv, Conv)
    first = _one_to_one(shape[0])
    if conv.weight.shape[2:] == (1, 1) and conv.padding == (0, 0):  # the pixels that it skips need no relay
        first = replace(first, stride=conv.stride)
        conv = replace(conv, stride=(1, 1))
    layers: list[Layer] = []
    for index in range(wait):
        synapse = first if not index else _one_to_one(shape[0])
        shape = synapse.output_shape(shape)
        layers.append(
            Layer(
                name=f"{name}_relay{index}",
                connections=(Connection(source=source, synapse=synapse),),
                neuron=relay_neurons(shape[0]),
                shape=shape,
            )
        )
        source = layers[-1].name
    return layers, replace(connection, source=source, synapse=conv)


def relay_neurons(channels: int) -> LIF:
    """Neurons that send the spikes that they receive."""
    return LIF(threshold=0, bias=np.zeros(channels, dtype=np.int64), voltage_decay=NO_MEMORY)


def _one_to_one(channels: int) -> Conv:
    return Conv(weight=np.ones((channels, 1, 1, 1), dtype=np.int64), groups=channels)
