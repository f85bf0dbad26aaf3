"""Networks for targets whose messages have no sign: positive and negative parts enter apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lava_bsnn.errors import ExportError, ShapeError

from .synapses import INPUT, Conv, Dense, Shape, Synapse

if TYPE_CHECKING:
    from .graph import Connection, FixedPointNetwork


def two_rails(net: FixedPointNetwork) -> FixedPointNetwork:
    """The same network with an input of 2 C channels without sign, one bit less wide.

    The first C channels take the positive parts of the messages, the others the negative parts
    (:func:`rails_of`, or the new network's ``encode``); weights of the input become ``[w, -w]``. Spikes and
    potentials of every layer are equal, except for the message -2^(bits - 1), which has no place on a rail
    and which no encoding makes.

    Convolutions with groups become ones without, of which the weights between groups are 0; a shortcut
    from the input becomes a convolution or a dense synapse with weights 1 and -1.

    Raises:
        ExportError: the input has no messages with a sign, or weights cannot be negated in 8 bits.
    """
    entry = net.input
    if not entry.signed or entry.enters_as_bias:
        raise ExportError(
            f"two_rails: the input of {entry.bits} bits sends no signed messages; use the network as it is"
        )
    coded = entry.encoding
    bits = entry.bits - 1
    railed = replace(
        entry,
        shape=(2 * entry.shape[0], *entry.shape[1:]),
        bits=bits,
        signed=False,
        encoding=None if coded is None else replace(coded, bits=bits, rails=True),
    )
    layers = tuple(
        replace(layer, connections=tuple(_railed(c, entry.shape) for c in layer.connections))
        for layer in net.layers
    )
    try:
        return replace(net, input=railed, layers=layers)
    except ExportError as error:
        raise ExportError(f"two_rails: {error}") from error


def rails_of(x: np.ndarray) -> np.ndarray:
    """Split integers ``[N, C, ...]`` into their positive and negative parts, int32 ``[N, 2 C, ...]``.

    A frame that is repeated without a copy, as ``encode`` gives it, stays one.

    Raises:
        ShapeError: not an array of integers with a channel axis.
    """
    x = np.asarray(x)
    if x.ndim < 2 or x.dtype.kind not in "iub":
        raise ShapeError(f"rails_of: {x.dtype} {x.shape} does not fit; use integers [N, C, ...]")
    repeated = x.ndim > 2 and x.shape[-1] > 1 and x.strides[-1] == 0
    once = (x[..., :1] if repeated else x).astype(np.int32)
    split = np.concatenate([once.clip(0, None), (-once).clip(0, None)], axis=1)
    return np.broadcast_to(split, (*split.shape[:-1], x.shape[-1])) if repeated else split


def _railed(connection: Connection, shape: Shape) -> Connection:
    if connection.source != INPUT:
        return connection
    delay = connection.delay
    if delay is not None and delay.ndim == 2:
        delay = np.concatenate([delay, delay], axis=1)
    return replace(connection, synapse=_twice(connection.synapse, shape), delay=delay)


def _twice(synapse: Synapse, shape: Shape) -> Conv | Dense:
    """The synapse for both rails."""
    if isinstance(synapse, Conv):
        weight = _without_groups(synapse)
        return replace(synapse, weight=np.concatenate([weight, -weight], axis=1), groups=1)
    if isinstance(synapse, Dense):
        return Dense(weight=np.concatenate([synapse.weight, -synapse.weight], axis=1))
    one = np.eye(shape[0], dtype=np.int32)
    both = np.concatenate([one, -one], axis=1)
    return Dense(weight=both) if len(shape) == 1 else Conv(weight=both[..., None, None])


def _without_groups(conv: Conv) -> np.ndarray:
    """Weights ``[out, in, kh, kw]`` of a convolution, 0 between its groups."""
    outputs, per_group, *kernel = conv.weight.shape
    full = np.zeros((outputs, conv.groups * per_group, *kernel), dtype=np.int32)
    size = outputs // conv.groups
    for group in range(conv.groups):
        rows = slice(group * size, (group + 1) * size)
        full[rows, group * per_group : (group + 1) * per_group] = conv.weight[rows]
    return full
