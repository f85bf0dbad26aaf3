"""Graphs for readers of libraries, against the equations of those libraries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support import nir_libraries as libraries
from support.nir_graphs import (
    assert_same_spikes,
)

from lava_bsnn.errors import ExportError, OptionError
from netx_export import FixedPointNetwork, from_nir, network, simulate, to_nir

READERS = {
    "nir": libraries.nir_step,
    "snntorch": libraries.snntorch_reader,
    "norse": libraries.norse_reader,
    "spikingjelly": libraries.spikingjelly_step,
}


def dense_network(*, seed=0, loop=False, exponent=6, delay=None, **neuron):
    rng = np.random.default_rng(seed)
    neuron = {"threshold": 9, "bias": rng.integers(-2, 3, 5), **neuron}
    options = {} if exponent == 6 else {"scale": rng.integers(40, 90, 5)}
    connections = [
        network.Connection(
            source="input", synapse=network.Dense(weight=rng.integers(-5, 9, (5, 7))), delay=delay, **options
        )
    ]
    if loop:
        weights = network.Dense(weight=rng.integers(-5, 5, (5, 5)))
        connections.append(network.Connection(source="a", synapse=weights))
    layer = network.Layer(
        name="a", connections=tuple(connections), neuron=network.LIF(exponent=exponent, **neuron), shape=(5,)
    )
    return FixedPointNetwork(
        input=network.Input(shape=(7,)), layers=(layer,), profile="stock" if exponent == 6 else "extended"
    )


@pytest.mark.parametrize("semantics", READERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voltage_decay": 1024},
        {"voltage_decay": 2048, "current_decay": 1024, "bias": np.zeros(5, dtype=int), "threshold": 30},
        {"loop": True, "voltage_decay": 2048},
        {"exponent": 0, "threshold": np.array([400, 500, 600, 700, 800])},
        {"exponent": 0, "threshold": 800, "voltage_decay": np.array([0, 1024, 2048, 3072, 4096])},
        {
            "exponent": 0,
            "threshold": 1800,
            "voltage_decay": np.array([512, 1024, 2048, 3072, 4096]),
            "current_decay": np.array([2048, 4096, 1024, 2048, 4096]),
            "bias": np.zeros(5, dtype=int),
        },
    ],
)
def test_what_is_written_computes_the_same_in_its_reader(semantics, options):
    net = dense_network(**options)
    if semantics == "spikingjelly" and np.ndim(net.output.neuron.voltage_decay):
        with pytest.raises(ExportError, match="a: the reader of .* has one decay for all neurons of a layer"):
            to_nir(net, semantics=semantics)
        return
    graph = to_nir(net, semantics=semantics)
    assert_same_spikes(graph, net, READERS[semantics], dt=graph.metadata["dt"])
    back = from_nir(graph)
    x = np.random.default_rng(2).integers(0, 2, (20, 7, 10))
    np.testing.assert_array_equal(simulate(back, x).spikes, simulate(net, x).spikes)
    if net.profile == "stock" and semantics in ("nir", "snntorch"):
        assert back == net


@pytest.mark.parametrize(
    "delay", [np.array([0, 3, 1, 0, 2]), np.full(5, 2), np.array([[0, 3, 1, 0, 2, 1, 4]])]
)
@pytest.mark.parametrize("loop", [False, True])
def test_delays_are_written_and_read(delay, loop):
    options = {"exponent": 0, "threshold": 700} if loop or delay.ndim == 2 else {}
    net = dense_network(delay=delay, loop=loop, bias=np.zeros(5, dtype=int), **options)
    graph = to_nir(net, dt=2e-3)
    assert_same_spikes(graph, net, libraries.nir_step, dt=2e-3)
    back = from_nir(graph)
    np.testing.assert_array_equal(back.output.connections[0].delay, delay)
    x = np.random.default_rng(2).integers(0, 2, (20, 7, 10))
    np.testing.assert_array_equal(simulate(back, x).spikes, simulate(net, x).spikes)
    assert back == net or options
    if np.ptp(delay) and delay.ndim == 1:
        with pytest.raises(ExportError, match="a: NIR delays a bias with its channel"):
            to_nir(dense_network(delay=delay))
    with pytest.raises(ExportError, match="a: the reader of semantics='norse' has no delays"):
        to_nir(net, semantics="norse")


def residual_network(shape=(2, 3, 3), **second):
    """A grouped convolution, and an identity with scale and bias beside it."""
    rng = np.random.default_rng(0)
    one = network.Conv(weight=rng.integers(-5, 9, (2, 1, 3, 3)), padding=(1, 1), groups=2)
    lif = {"threshold": np.array([300, 500]), "bias": rng.integers(-9, 30, 2), "exponent": 0}
    layers = [
        network.Layer(
            name="a",
            connections=(network.Connection(source="input", synapse=one),),
            neuron=network.LIF(**lif),
            shape=shape,
        )
    ]
    skip = network.Connection(
        source="a", synapse=network.Identity(), scale=np.array([90, 200]), bias=np.array([5, 0])
    )
    main = network.Connection(
        source="a", synapse=dataclasses.replace(one, groups=1, weight=rng.integers(-5, 9, (2, 2, 3, 3)))
    )
    neuron = network.LIF(**{**lif, "voltage_decay": 1024, **second})
    layers.append(network.Layer(name="b", connections=(main, skip), neuron=neuron, shape=shape))
    return FixedPointNetwork(input=network.Input(shape=shape), layers=tuple(layers), profile="extended")


@pytest.mark.parametrize("semantics", ["nir", "snntorch", "norse"])
def test_scales_of_shortcuts_are_convolutions_where_readers_know_no_scale(semantics):
    net = residual_network()
    graph = to_nir(net, semantics=semantics)
    assert_same_spikes(graph, net, READERS[semantics], dt=graph.metadata["dt"], shape=(2, 3, 3), num_steps=6)
    with pytest.raises(
        ExportError, match="a: the reader of semantics='spikingjelly' has no grouped conv.*; b: "
    ):
        to_nir(net, semantics="spikingjelly")


def test_what_a_reader_cannot_take_is_named():
    net = dense_network(voltage_decay=1024, current_decay=1024)
    for semantics in ("snntorch", "norse", "spikingjelly"):
        with pytest.raises(
            ExportError, match=f"a: the reader of semantics='{semantics}' has no bias behind a dec"
        ):
            to_nir(net, semantics=semantics)
    with pytest.raises(ExportError, match="'spikingjelly' has no LIF without memory"):
        to_nir(dense_network(voltage_decay=4096), semantics="spikingjelly")
    with pytest.raises(
        ExportError, match="to_nir: dt=0.001 is not what the reader of semantics='snntorch' assumes"
    ):
        to_nir(dense_network(), semantics="snntorch", dt=1e-3)
    with pytest.raises(
        OptionError, match="to_nir: semantics='sinabs' is unknown; use one of 'nir', 'snntorch'"
    ):
        to_nir(dense_network(), semantics="sinabs")
    with pytest.raises(ExportError, match="to_nir: dt=0 is not allowed"):
        to_nir(dense_network(), dt=0)
    readout = network.Layer(
        name="r",
        connections=(
            network.Connection(source="input", synapse=network.Dense(weight=np.eye(3, 7, dtype=int))),
        ),
        neuron=network.Readout(bias=np.zeros(3, dtype=int)),
        shape=(3,),
    )
    net = FixedPointNetwork(input=network.Input(shape=(7,)), layers=(readout,))
    with pytest.raises(ExportError, match="r: the reader of semantics='norse' has no readout"):
        to_nir(net, semantics="norse")
    assert from_nir(to_nir(net, dt=5e-3)) == net
