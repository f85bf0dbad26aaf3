"""Two rails: the same spikes without a sign in the messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bsnn.errors import ExportError, ShapeError
from netx_export import FixedPointNetwork, network, rails_of, read, run, simulate, two_rails, write
from netx_export.verify import random_data


def connect(synapse, source="input", **options):
    return network.Connection(source=source, synapse=synapse, **options)


def layer(name, connections, shape, threshold=900, **options):
    neuron = network.LIF(
        threshold=threshold, bias=np.arange(shape[0]) * 9, current_decay=3000, voltage_decay=500
    )
    return network.Layer(name=name, connections=tuple(connections), neuron=neuron, shape=shape, **options)


def first_of(kind, rng):
    if kind == "conv":
        conv = network.Conv(weight=rng.integers(-30, 31, (4, 2, 3, 3)), padding=(1, 1), stride=(2, 1))
        return (2, 5, 4), conv
    if kind == "groups":
        return (4, 5, 4), network.Conv(weight=rng.integers(-30, 31, (6, 2, 3, 2)), groups=2, dilation=(2, 1))
    if kind == "depthwise":
        return (3, 5, 4), network.Conv(weight=rng.choice([-1, 1], (3, 1, 3, 3)) * 20, groups=3)
    if kind == "dense on an image":
        return (2, 3, 4), network.Dense(weight=rng.integers(-30, 31, (6, 24)))
    return (9,), network.Dense(weight=rng.integers(-30, 31, (6, 9)))


def net_of(kind, bits=8, **options):
    rng = np.random.default_rng(2)
    shape, synapse = first_of(kind, rng)
    out = synapse.output_shape(shape)
    behind = network.Dense(weight=rng.integers(-40, 45, (5, int(np.prod(out)))))
    layers = (
        layer("first", [connect(synapse)], out, 900 * (1 << bits) // 256),
        layer("second", [connect(behind, "first")], (5,), 80),
    )
    entry = network.Input(shape=shape, bits=bits, signed=True, **options)
    return FixedPointNetwork(input=entry, layers=layers)


def assert_same_layers(ours, theirs, potentials=True):
    assert list(ours.layers) == list(theirs.layers)
    for name, trace in ours.layers.items():
        np.testing.assert_array_equal(trace.spikes, theirs.layers[name].spikes, err_msg=name)
        if potentials:
            np.testing.assert_array_equal(trace.potential, theirs.layers[name].potential, err_msg=name)


@pytest.mark.parametrize("bits", [8, 2])
@pytest.mark.parametrize("kind", ["conv", "groups", "depthwise", "dense on an image", "flat dense"])
def test_every_layer_does_the_same_on_two_rails(kind, bits):
    net = net_of(kind, bits)
    railed = two_rails(net)
    assert (railed.input.bits, railed.input.signed) == (bits - 1, False)
    assert railed.input.shape == (2 * net.input.shape[0], *net.input.shape[1:])
    x = random_data(net, 5, 7)
    ours = simulate(net, x, trace=True)
    assert_same_layers(ours, simulate(railed, rails_of(x), trace=True))
    for trace in ours.layers.values():
        assert trace.spikes.any() and not trace.spikes.all()


@settings(max_examples=30)
@given(st.integers(0, 1 << 32), st.integers(2, 8))
def test_shortcuts_delays_gates_and_loops_do_the_same(slow, seed, bits):
    try:
        net, num_steps = slow.random_network(seed)
        net = replace(net, input=replace(net.input, bits=bits, signed=True))
        railed = two_rails(net)
    except ExportError:
        assume(False)
    assume(net.max_steps is None or net.max_steps >= num_steps)
    x = random_data(net, 3, num_steps, seed % 1000)
    assert_same_layers(simulate(net, x, trace=True), simulate(railed, rails_of(x), trace=True))


@pytest.mark.parametrize("shape", [(3,), (3, 2, 4)])
def test_a_shortcut_from_the_input_and_delays_of_inputs_do_the_same(slow, shape):
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    skip = connect(network.Identity(), scale=np.array([90, -70, 64]), delay=np.array([0, 2, 1]))
    first = layer("first", [skip], shape, 40)
    late = connect(network.Dense(weight=rng.integers(-9, 10, (4, size))), delay=rng.integers(0, 4, (1, size)))
    second = layer(
        "second", [connect(network.Dense(weight=rng.integers(-9, 30, (4, size))), "first"), late], (4,)
    )
    entry = network.Input(shape=shape, bits=8, signed=True)
    net = FixedPointNetwork(input=entry, layers=(first, second), profile="extended")
    x = random_data(net, 3, 8)
    ours = simulate(net, x, trace=True)
    assert_same_layers(ours, simulate(two_rails(net), rails_of(x), trace=True))
    assert all(trace.spikes.any() for trace in ours.layers.values())
    for name, (messages, _) in slow.simulation(net, x[1]).items():
        np.testing.assert_array_equal(ours.layers[name].spikes[1], messages)


def test_images_enter_on_the_rails_that_the_encoding_makes(tmp_path):
    encoding = network.Encoding.images((0.5, 0.4), (0.25, 0.3))
    net = replace(net_of("conv", encoding=encoding), classes=("a", "b", "c", "d", "e"))
    railed = two_rails(net)
    assert railed.input.encoding == replace(encoding, bits=7, rails=True)
    assert railed.classes == net.classes and railed.profile == net.profile
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 5, 4), dtype=np.uint8)
    x = net.encode(pixels, 6)
    assert x.min() < -50 and x.max() > 50
    np.testing.assert_array_equal(railed.encode(pixels, 6), rails_of(x))
    assert rails_of(x).strides[-1] == 0  # a frame that is repeated stays one
    ours = simulate(net, x, trace=True)
    assert ours.layers["first"].spikes.any()
    assert_same_layers(ours, simulate(railed, rails_of(x), trace=True))
    write(railed, tmp_path / "a.net")
    assert read(tmp_path / "a.net") == railed


def test_many_inputs_fit_on_rails():
    """Of a weight and its negative, only one counts at a time."""
    rng = np.random.default_rng(0)
    dense = network.Dense(weight=rng.choice([-1, 1], (3, 1000)))
    readout = network.Readout(bias=np.arange(3))
    net = FixedPointNetwork(
        input=network.Input(shape=(1000,), bits=8, signed=True),
        layers=(network.Layer(name="sums", connections=(connect(dense),), neuron=readout, shape=(3,)),),
    )
    railed = two_rails(net)
    assert railed.max_steps >= net.max_steps == 1
    x = random_data(net, 2, 1)
    np.testing.assert_array_equal(simulate(net, x).readout, simulate(railed, rails_of(x)).readout)


def test_rails_are_positive_and_negative_parts_of_any_integers():
    x = np.array([[[-128, 127, 0], [5, -6, 1]]], dtype=np.int8)
    assert rails_of(x).tolist() == [[[0, 127, 0], [5, 0, 1], [128, 0, 0], [0, 6, 0]]]
    for wrong in (np.zeros((2, 3)), np.zeros(3, int)):
        with pytest.raises(ShapeError, match=r"rails_of: .* does not fit; use integers \[N, C, \.\.\.\]"):
            rails_of(wrong)


def test_what_cannot_go_on_rails_is_refused(make_network):
    with pytest.raises(ExportError, match="two_rails: the input of 4 bits sends no signed messages"):
        two_rails(make_network(bits=4))
    one = replace(
        layer("in", [connect(network.BiasInput())], (3,)),
        neuron=network.LIF(threshold=9, bias=np.zeros(3, int)),
    )
    biased = FixedPointNetwork(input=network.Input(shape=(3,), bits=13, signed=True), layers=(one,))
    with pytest.raises(ExportError, match="two_rails: the input of 13 bits sends no signed messages"):
        two_rails(biased)
    dense = layer("out", [connect(network.Dense(weight=np.array([[-128, 1]])))], (1,))
    net = FixedPointNetwork(input=network.Input(shape=(2,), bits=8, signed=True), layers=(dense,))
    with pytest.raises(ExportError, match=r"two_rails: out: weights -128\.\.128 are out of range"):
        two_rails(net)


@pytest.mark.lava
@pytest.mark.parametrize("kind", ["conv", "groups", "dense on an image", "flat dense"])
def test_unmodified_lava_dl_does_the_same_on_two_rails(kind):
    net = net_of(kind)
    x = random_data(net, 2, 6)
    ours = simulate(net, x, trace=True)
    on_lava = run(two_rails(net), rails_of(x), "stock", trace=True, timeout=100)
    assert_same_layers(ours, on_lava, potentials=False)
    assert all(trace.spikes.any() for trace in ours.layers.values())
