"""Readouts with height and width come back as they are, whatever the backend."""

from __future__ import annotations

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from netx_export import FixedPointNetwork, network, run

pytestmark = pytest.mark.lava


def slow_readout(weight, bias, x):
    """Running sums of a 1x1 convolution on one channel, in Python integers."""
    sums = np.zeros((len(x), len(weight), *x.shape[2:]), int)
    for n, c, y, z in np.ndindex(sums.shape[:-1]):
        total = 0
        for t in range(x.shape[-1]):
            total += 64 * (int(weight[c]) * int(x[n, 0, y, z, t]) + int(bias[c]))
            sums[n, c, y, z, t] = total
    return sums


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 2, 3), (4, 4, 4)])
@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_channels_height_and_width_keep_their_places(shape, trace, backend):
    rng = np.random.default_rng(0)
    channels, height, width = shape
    weight, bias = rng.integers(-9, 10, channels), rng.integers(-3, 4, channels)
    conv = network.Conv(weight=weight.reshape(-1, 1, 1, 1))
    layer = network.Layer(
        name="readout",
        connections=(network.Connection(source="input", synapse=conv),),
        neuron=network.Readout(bias=bias),
        shape=shape,
    )
    entry = network.Input(shape=(1, height, width))
    with pytest.raises(ExportError, match="readout: a readout must be dense"):  # which lava-dl could not read
        FixedPointNetwork(input=entry, layers=(layer,), profile="stock")
    net = FixedPointNetwork(input=entry, layers=(layer,), profile="extended")
    x = rng.integers(0, 2, (2, 1, height, width, 4))
    expected = slow_readout(weight, bias, x)
    assert len(np.unique(expected)) > 5
    for name in ("simulator", backend):
        np.testing.assert_array_equal(run(net, x, name, trace=trace, timeout=60).readout, expected)
