"""How many synapses a message reaches, exact at the borders of images."""

from __future__ import annotations

import numpy as np

from ..network import Conv, Dense, Identity, Shape, Synapse

Range = tuple[int, int]


def fan_out(
    synapse: Synapse, source: Shape, target: Shape, channels: Range | None = None, rows: Range | None = None
) -> np.ndarray:
    """Count the synapses that a message of each source neuron reaches, int64 ``[*source]``.

    Weights of 0 count. An input that enters as bias has no synapse.

    Args:
        synapse: the synapse.
        source: shape ``(C, H, W)`` or ``(C,)`` of what sends.
        target: shape of what receives.
        channels: half-open range of the targets' channels that count; by default all.
        rows: half-open range of the targets' rows that count; by default all.
    """
    first, last = channels or (0, target[0])
    if isinstance(synapse, Dense):
        return np.full(source, last - first, dtype=np.int64)
    top, bottom = rows or (0, target[1] if len(target) > 1 else 1)
    if isinstance(synapse, Conv):
        group = np.arange(first, last) * synapse.groups // target[0]
        per_group = np.bincount(group, minlength=synapse.groups)
        along = [np.repeat(per_group, synapse.weight.shape[1])]
        for axis, outputs in enumerate((range(top, bottom), range(target[2]))):
            along.append(_taps(synapse, axis, source[1 + axis], outputs))
        return np.einsum("c,h,w->chw", *along)
    result = np.zeros(source, dtype=np.int64)
    if isinstance(synapse, Identity):
        result[(slice(first, last), slice(top, bottom))[: len(source)]] = 1
    return result


def _taps(conv: Conv, axis: int, size: int, outputs: range) -> np.ndarray:
    """Number of ``outputs`` that each position of an input axis reaches, ``[size]``."""
    start = np.asarray(outputs) * conv.stride[axis] - conv.padding[axis]
    reached = start[:, None] + np.arange(conv.weight.shape[2 + axis]) * conv.dilation[axis]
    return np.bincount(reached[(reached >= 0) & (reached < size)], minlength=size)
