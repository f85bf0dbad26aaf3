from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lava_bsnn.errors import ExportError, ShapeError
from netx_export import FixedPointNetwork, network, simulate


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(bits=4, weight_limit=127),
        dict(in_shape=(4, 5, 3), groups=2, convs=((4, 3, 1, 1),)),
        dict(in_shape=(9,), convs=(), dense=(8, 6), classes=0),
    ],
    ids=["spikes", "intensities", "groups", "dense only"],
)
def test_simulation_equals_the_slow_reference(make_network, make_data, slow, options):
    net = make_network(**options)
    x = make_data(net)
    result = simulate(net, x, trace=True)
    rates = []
    for n, sample in enumerate(x):
        for name, (spikes, potentials) in slow.simulation(net, sample).items():
            np.testing.assert_array_equal(result.layers[name].spikes[n], spikes.astype(bool))
            np.testing.assert_array_equal(result.layers[name].potential[n], potentials.astype(int))
            rates.append(spikes.mean())
    assert max(rates) > 0.05  # a silent network would prove nothing


def assert_equal_to_slow(slow, net, x):
    result = simulate(net, x, trace=True)
    for n, sample in enumerate(x):
        for name, (messages, potentials) in slow.simulation(net, sample).items():
            trace = result.layers[name]
            np.testing.assert_array_equal(trace.spikes[n].astype(int), messages, err_msg=name)
            np.testing.assert_array_equal(trace.potential[n], potentials, err_msg=name)
    return result


@settings(max_examples=80)
@given(st.integers(0, 1 << 32))
def test_random_extended_networks_equal_the_slow_reference(slow, seed):
    try:
        net, num_steps = slow.random_network(seed)
    except ExportError as error:
        assert "overflows 24 bits" in str(error)
        assume(False)
    assume(net.max_steps is None or net.max_steps >= num_steps)
    x = np.random.default_rng(seed).integers(0, net.input.max_value + 1, (2, *net.input.shape, num_steps))
    assert_equal_to_slow(slow, net, x)


def one_layer(neuron, *, shape=(3,), source_bits=8, **connection):
    """Identity and one layer of neurons behind graded input."""
    connections = (network.Connection(source="input", synapse=network.Identity(), **connection),)
    layer = network.Layer(name="first", connections=connections, neuron=neuron, shape=shape)
    entry = network.Input(shape=shape, bits=source_bits)
    return FixedPointNetwork(input=entry, layers=(layer,), profile="extended")


@given(st.integers(2, 24), st.integers(0, 22), st.integers(0, 1 << 20), st.integers(0, 1 << 32))
@example(2, 22, 0, 0)
@example(24, 0, 0, 0)
def test_memories_of_all_widths_equal_the_slow_reference(slow, bits, shift, threshold, seed):
    neuron = network.LIF(
        threshold=threshold,
        bias=np.array([-(1 << 20), -1, 1 << 20]),
        voltage_decay=1024,
        membrane=network.Membrane(bits=bits, shift=shift),
        exponent=0,
    )
    net = one_layer(neuron, scale=np.array([1, -4000, 20000]))
    assert_equal_to_slow(slow, net, np.random.default_rng(seed).integers(0, 256, (1, 3, 12)))


@pytest.mark.parametrize("levels", range(1, 9))
def test_multi_threshold_layers_send_up_to_their_levels(slow, levels):
    neuron = network.MultiThreshold(
        threshold=np.array([50, 90, 7]), levels=levels, initial=25, lam=6144, bias=-3
    )
    net = one_layer(neuron, scale=np.array([1, 2, -1]), bias=np.array([0, 5, 300]))
    x = np.random.default_rng(levels).integers(0, 256, (3, 3, 15))
    result = assert_equal_to_slow(slow, net, x)
    assert result.spikes.max() == levels
    assert result.spikes.dtype == (bool if levels == 1 else np.int16)


def test_sums_at_the_limit_of_24_bits_are_exact(slow):
    weight = np.full((2, 4), 127)
    weight[1] = -128
    connection = network.Connection(
        source="input",
        synapse=network.Dense(weight=weight),
        scale=np.array([64, 64]),
        bias=np.array([(1 << 23) - 1 - 4 * 127 * 255 * 64, -(1 << 23) + 1 + 4 * 128 * 255 * 64]),
    )
    neuron = network.LIF(threshold=(1 << 23) - 2, voltage_decay=0, exponent=0)
    layer = network.Layer(name="first", connections=(connection,), neuron=neuron, shape=(2,))
    net = FixedPointNetwork(input=network.Input(shape=(4,), bits=8), layers=(layer,), profile="extended")
    x = np.full((1, 4, 3), 255)
    x[..., 1] = 254
    result = assert_equal_to_slow(slow, net, x)
    assert np.abs(result.layers["first"].potential).max() == (1 << 23) - 1
    assert result.spikes[0, 0, 0]


def test_the_number_of_steps_is_that_of_the_mixing(slow):
    neuron = network.LIF(threshold=9, exponent=0)
    net = one_layer(neuron, gate=network.Gate(multiplier=np.array([1, 2, 3]), shift=4))
    assert net.num_steps == 3
    with pytest.raises(ShapeError, match="4 steps do not fit the network's gates and mixings; use 3"):
        simulate(net, np.zeros((1, 3, 4), int))


def test_batches_do_not_change_the_result(make_network, make_data):
    net = make_network()
    x = make_data(net, num_samples=7)
    done = []
    whole = simulate(net, x, trace=True)
    parts = simulate(net, x, trace=True, batch_size=3, progress=done.append)
    assert done == [3, 6, 7]
    for name, trace in whole.layers.items():
        np.testing.assert_array_equal(trace.spikes, parts.layers[name].spikes)
        np.testing.assert_array_equal(trace.potential, parts.layers[name].potential)
    np.testing.assert_array_equal(whole.readout, parts.readout)


def test_a_repeated_frame_gives_what_its_copy_gives(make_network):
    net = make_network(bits=4)
    frames = np.random.default_rng(0).random((2, *net.input.shape))
    repeated = net.encode(frames, 6)
    assert repeated.strides[-1] == 0
    a, b = simulate(net, repeated), simulate(net, repeated.copy())
    np.testing.assert_array_equal(a.readout, b.readout)


def test_prediction_is_the_largest_potential_or_the_most_spikes(make_network, make_data):
    net = make_network()
    result = simulate(net, make_data(net))
    np.testing.assert_array_equal(result.prediction, result.readout[..., -1].argmax(1))
    net = make_network(classes=0)
    result = simulate(net, make_data(net))
    assert result.readout is None
    np.testing.assert_array_equal(result.prediction, result.spikes.sum(-1).argmax(1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 2, 6, 5), int), r"does not fit; use \[N, 2, 6, 5, T\]"),
        (np.zeros((2, 2, 6, 5, 3)), "float64 values are not allowed"),
        (np.full((2, 2, 6, 5, 3), 2), "values 2..2 do not fit; use 0..1"),
        (np.full((2, 2, 6, 5, 3), -1), "values -1..-1 do not fit"),
        (np.zeros((0, 2, 6, 5, 3), int), "is empty"),
        (np.zeros((1, 2, 6, 5, 10_000), int), "could overflow the readout"),
    ],
)
def test_data_that_does_not_fit_is_named(make_network, data, message):
    with pytest.raises(ShapeError, match=message):
        simulate(make_network(), data)
