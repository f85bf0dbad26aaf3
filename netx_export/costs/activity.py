"""Messages of a run, counted in batches so that memory stays bounded."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..network import INPUT, FixedPointNetwork
from ..simulator import simulate

_TRACED_BYTES = 1 << 27
_BYTES_PER_STEP = 7
"""Of a traced neuron: spike, its copy as a count, and potential."""


def count_messages(
    net: FixedPointNetwork, data: np.ndarray, progress: Callable[[int], None] | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Values that are not 0 by sender, summed over samples, int64 ``[*shape, T]``; and classes ``[N]``.

    The input comes first; one that enters as bias sends nothing.
    """
    num_steps = data.shape[-1]
    sent = {
        name: np.zeros((*shape, net.steps(name, num_steps)), dtype=np.int64)
        for name, shape in net.shapes.items()
    }
    if not net.input.enters_as_bias:
        sent[INPUT] += np.count_nonzero(data, axis=0)
    traced = _BYTES_PER_STEP * net.period(num_steps) * sum(math.prod(layer.shape) for layer in net.layers)
    size = max(1, _TRACED_BYTES // traced)
    classes = []
    for start in range(0, len(data), size):
        batch = data[start : start + size]
        result = simulate(net, batch, trace=True)
        for name, trace in result.layers.items():
            sent[name] += np.count_nonzero(trace.spikes, axis=0)
        classes.append(result.prediction)
        if progress is not None:
            progress(start + len(batch))
    return sent, np.concatenate(classes)
