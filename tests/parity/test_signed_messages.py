"""Signed graded messages on Lava, against plain Python integers; ``"stock"`` is unmodified lava-dl."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.generators import random_extended
from support.oracle import slow_simulation

from netx_export import FixedPointNetwork, network, run, verify
from netx_export.verify import random_data

pytestmark = pytest.mark.lava


def first_layer(kind, rng):
    """(input shape, synapse) of a layer that signed messages reach first."""
    if kind == "padded conv":
        weight = rng.integers(-60, 61, (4, 2, 3, 3))
        return (2, 5, 4), network.Conv(weight=weight, padding=(2, 1), stride=(1, 2))
    if kind == "conv of groups":
        weight = rng.integers(-60, 61, (4, 1, 3, 2))
        return (2, 5, 4), network.Conv(weight=weight, padding=(1, 2), dilation=(2, 1), groups=2)
    if kind == "dense on an image":
        return (2, 3, 4), network.Dense(weight=rng.integers(-60, 61, (6, 24)))
    if kind == "negative dense":  # one sign of weights: another mode of lava's Dense
        return (7,), network.Dense(weight=-rng.integers(1, 60, (6, 7)))
    if kind == "positive dense":
        return (7,), network.Dense(weight=rng.integers(1, 61, (6, 7)))
    return (7,), network.Dense(weight=2 * rng.integers(-60, 61, (6, 7)))


def net_of(kind, bits=8):
    rng = np.random.default_rng(5)
    shape, synapse = first_layer(kind, rng)
    out = synapse.output_shape(shape)
    lif = network.LIF(
        threshold=200 * (1 << bits) // 8,
        bias=rng.integers(-20, 90, out[0]),
        current_decay=2500,
        voltage_decay=700,
    )
    layers = [
        network.Layer(
            name="first",
            connections=(network.Connection(source="input", synapse=synapse),),
            neuron=lif,
            shape=out,
        )
    ]
    dense = network.Dense(weight=rng.integers(-9, 60, (5, int(np.prod(out)))))
    layers.append(
        network.Layer(
            name="second",
            connections=(network.Connection(source="first", synapse=dense),),
            neuron=network.LIF(threshold=50, bias=np.full(5, 9), voltage_decay=300),
            shape=(5,),
        )
    )
    entry = network.Input(shape=shape, bits=bits, signed=True)
    return FixedPointNetwork(input=entry, layers=tuple(layers))


KINDS = (
    "padded conv",
    "conv of groups",
    "dense on an image",
    "negative dense",
    "positive dense",
    "even dense",
)


@pytest.mark.parametrize("backend", ["simulator", "lava", "lava-fused", "stock"])
@pytest.mark.parametrize("kind", KINDS)
def test_negative_messages_give_the_same_everywhere(kind, backend):
    net = net_of(kind)
    x = random_data(net, 3, 6, seed=2)
    x[0, ..., 0] = -128
    result = run(net, x, backend, trace=True, timeout=100)
    for n, sample in enumerate(x):
        for name, (messages, _) in slow_simulation(net, sample).items():
            np.testing.assert_array_equal(result.layers[name].spikes[n], messages, err_msg=f"{name} {n}")
    for trace in result.layers.values():
        assert trace.spikes.any() and not trace.spikes.all()


def test_messages_of_few_bits_give_the_same_everywhere():
    for bits in (2, 5):
        result = verify.verify(net_of("padded conv", bits), num_samples=3)
        assert result.mismatches == 0 and result.equal
        assert [name for name, outcome in result.backends.items() if outcome.ran] == [
            "lava",
            "lava-fused",
            "stock",
        ]


@pytest.mark.parametrize("seed", [4, 6, 17, 33, 42])
def test_extended_networks_take_signed_messages_on_lava(seed):
    """The seeds have shortcuts, delays, a loop, gates and mixings."""
    net, num_steps = random_extended(seed, depth=2)
    net = replace(net, input=replace(net.input, bits=8, signed=True))
    x = random_data(net, 2, num_steps, seed)
    for backend in ("lava", "lava-fused"):
        result = run(net, x, backend, trace=True, timeout=100)
        assert sum(trace.spikes.any() for trace in result.layers.values()) >= 2
        for n, sample in enumerate(x):
            for name, (messages, before) in slow_simulation(net, sample).items():
                np.testing.assert_array_equal(result.layers[name].spikes[n], messages, err_msg=name)
                np.testing.assert_array_equal(result.layers[name].potential[n], before, err_msg=name)
