from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bsnn.errors import ExportError, ShapeError
from netx_export import network, simulate
from netx_export.simulator.stepper import Stepper, stream


def aligned(array, depth, num_samples, num_steps):
    """``[*shape, steps]`` in Lava's time to ``[N, *shape, T]``."""
    cut = array[..., depth : depth + num_samples * num_steps]
    return np.moveaxis(cut.reshape(*array.shape[:-1], num_samples, num_steps), -2, 0)


def assert_streams_like_simulate(net, x, **options):
    num_samples, num_steps = len(x), x.shape[-1]
    deepest = max(net.depth(layer.name) for layer in net.layers)
    back_to_back = np.moveaxis(x, 0, -2).reshape(*net.input.shape, -1)
    padded = np.concatenate([back_to_back, np.repeat(back_to_back[..., -1:], deepest, -1)], -1)
    result = stream(net, padded, reset_interval=num_steps, **options)
    expected = simulate(net, x, trace=True)
    for name, trace in expected.layers.items():
        size = (net.depth(name), num_samples, num_steps)
        np.testing.assert_array_equal(aligned(result.messages[name], *size), trace.spikes, err_msg=name)
        np.testing.assert_array_equal(aligned(result.potentials[name], *size), trace.potential, err_msg=name)


@settings(max_examples=80)
@given(st.integers(0, 1 << 32))
def test_samples_back_to_back_equal_the_aligned_simulator(slow, seed):
    try:
        net, num_steps = slow.random_network(seed)
    except ExportError:
        assume(False)
    assume(net.max_steps is None or net.max_steps >= num_steps)
    x = np.random.default_rng(seed).integers(0, net.input.max_value + 1, (3, *net.input.shape, num_steps))
    assert_streams_like_simulate(net, x, clear_delays=True)


def test_stock_networks_stream_too(make_network, make_data):
    for options in (dict(bits=4), dict(in_shape=(4, 5, 3), groups=2, convs=((4, 3, 1, 1),))):
        net = make_network(**options)
        assert_streams_like_simulate(net, make_data(net, num_samples=4))


def test_an_input_as_bias_streams_without_delay():
    connection = network.Connection(source="input", synapse=network.BiasInput())
    lif = network.LIF(threshold=30, bias=np.zeros(4, int), voltage_decay=500)
    dense = network.Dense(weight=np.arange(8).reshape(2, 4) - 3)
    second = network.Connection(source="pixels", synapse=dense)
    net = network.FixedPointNetwork(
        input=network.Input(shape=(4,), bits=13, signed=True),
        layers=(
            network.Layer(name="pixels", connections=(connection,), neuron=lif, shape=(4,)),
            network.Layer(
                name="out",
                connections=(second,),
                neuron=network.LIF(threshold=3, bias=np.ones(2, int)),
                shape=(2,),
            ),
        ),
    )
    frames = np.random.default_rng(0).integers(-9, 60, (3, 4, 1))
    assert_streams_like_simulate(net, np.repeat(frames, 9, -1))


def test_biases_act_while_the_pipeline_fills_unless_layers_are_reset_in_turn(make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8, 6))
    x = make_data(net, num_samples=1, num_steps=8)
    expected = simulate(net, x).readout[0]
    late = stream(net, np.concatenate([x[0], x[0]], -1)).potentials["readout"][..., 3 : 3 + 8]
    assert not np.array_equal(late, expected)


def test_a_reset_offset_counts_like_lavas(make_network):
    net = make_network(in_shape=(9,), convs=(), dense=(8, 6))
    x = np.random.default_rng(0).integers(0, 2, (9, 30))
    usual = stream(net, x, reset_interval=7).messages["dense1"]
    np.testing.assert_array_equal(usual, stream(net, x, reset_interval=7, reset_offset=1).messages["dense1"])
    shifted = stream(net, x, reset_interval=7, reset_offset=3).messages["dense1"]
    assert not np.array_equal(usual, shifted)
    np.testing.assert_array_equal(
        shifted, stream(net, x, reset_interval=7, reset_offset=10).messages["dense1"]
    )


def test_what_is_under_way_survives_a_reset_in_stock_lava_only():
    dense = network.Dense(weight=np.ones((1, 1), int))
    layer = network.Layer(
        name="late",
        connections=(network.Connection(source="input", synapse=dense, delay=np.array([2])),),
        neuron=network.LIF(threshold=0, bias=np.zeros(1, int)),
        shape=(1,),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(1,)), layers=(layer,))
    x = np.array([[0, 0, 1, 0, 0, 0, 0, 0]])
    kept = stream(net, x, reset_interval=3).messages["late"]
    cleared = stream(net, x, reset_interval=3, clear_delays=True).messages["late"]
    assert kept.tolist() == [[0, 0, 0, 0, 0, 1, 0, 0]]
    assert not cleared.any()


def test_gates_and_mixings_need_their_interval(slow):
    connection = network.Connection(source="input", synapse=network.Identity())
    layer = network.Layer(
        name="mixed",
        connections=(connection,),
        neuron=network.LIF(threshold=1, exponent=0),
        shape=(2,),
        mix=network.Mix(omega=np.ones((3, 3), int)),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(2,)), layers=(layer,), profile="extended")
    for interval in (None, 4):
        with pytest.raises(ShapeError, match="does not fit gates and mixings; use 3"):
            Stepper(net, reset_interval=interval)
    with pytest.raises(ShapeError, match=r"stream: shape \(3, 1\) does not fit; use \(2, 'steps'\)"):
        stream(net, np.zeros((3, 1), int), reset_interval=3)
