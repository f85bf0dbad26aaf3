"""Parts of a network, counted in the blocks of its file as lava-dl counts them."""

from __future__ import annotations

import math
from dataclasses import replace

from lava_bsnn.errors import ExportError
from netx_export.network import INPUT, Dense, FixedPointNetwork, Input, Layer
from netx_export.targets import target


def blocks(net: FixedPointNetwork) -> list[Layer | None]:
    """The blocks of the network's file; None for those without neurons.

    Stock files have an input block in front and a flatten block between an image and a dense layer. In
    other profiles each layer is a block.
    """
    if target(net.profile).processes != "lava-dl":
        return list(net.layers)
    found: list[Layer | None] = [] if net.input.enters_as_bias else [None]
    shape = net.input.shape
    for layer in net.layers:
        if isinstance(layer.connections[0].synapse, Dense) and len(shape) == 3:
            found.append(None)
        found.append(layer)
        shape = layer.shape
    return found


def part(
    net: FixedPointNetwork, order: list[Layer | None], first: int, last: int | None
) -> FixedPointNetwork:
    """The network of the blocks ``order[first:last]``.

    A part that does not begin at the input has a plain one, of the messages of the layer before; one that
    does not end at the output has no names of classes.

    Raises:
        ExportError: no layer is left, or a connection leads from before the part past its first layer.
    """
    kept = [layer for layer in order[first:last] if layer is not None]
    if first < 0 or (last is not None and last < 0) or not kept:
        raise ExportError(f"num_layers={last}, skip_layers={first} leave no layer; keep at least one")
    if len(kept) == len(net.layers):
        return net
    classes = net.classes if kept[-1] is net.output else ()
    before = [layer.name for layer in order[:first] if layer is not None]
    if not before:
        return replace(net, layers=tuple(kept), classes=classes)
    source, renamed = before[-1], []
    for layer in kept:
        connections = []
        for c in layer.connections:
            if c.source == INPUT or c.source in before[:-1]:
                raise ExportError(
                    f"{layer.name}: fed by {c.source!r}, which skip_layers={first} leaves out; skip fewer"
                )
            connections.append(replace(c, source=INPUT) if c.source == source else c)
        renamed.append(replace(layer, connections=tuple(connections)))
    bits = 0 if net.max_value(source) <= 1 else net.max_value(source).bit_length()
    shape = net[source].shape
    return replace(net, input=Input(shape=shape, bits=bits), layers=tuple(renamed), classes=classes)


def port_shapes(net: FixedPointNetwork, *, flat: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the ports ``inp`` and ``out``: W, H, C as in lava-dl.

    With ``flat``, a network that begins with a dense layer takes its input flat, in C, H, W order.
    """
    shape, first = net.input.shape, net.layers[0].connections[0].synapse
    flat = flat and isinstance(first, Dense)
    return (math.prod(shape),) if flat else shape[::-1], net.output.shape[::-1]
