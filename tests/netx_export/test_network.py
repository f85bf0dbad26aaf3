from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, network
from netx_export.network.synapses import reach, weight_bits


def one_layer(weight, bias=None, in_shape=(3,), bits=0, **neuron):
    weight = np.asarray(weight)
    bias = np.zeros(len(weight), int) if bias is None else np.asarray(bias)
    neuron = {"threshold": 10, **neuron}
    layer = network.Layer(
        name="first",
        connections=(network.Connection(source="input", synapse=network.Dense(weight=weight)),),
        neuron=network.LIF(bias=bias, **neuron),
        shape=(len(weight),),
    )
    return FixedPointNetwork(input=network.Input(shape=in_shape, bits=bits), layers=(layer,))


def test_equality_and_hash_are_by_content(make_network):
    assert make_network(1) == make_network(1)
    assert hash(make_network(1)) == hash(make_network(1))
    assert make_network(1).digest() == make_network(1).digest()
    assert make_network(1) != make_network(2)
    assert make_network(1).digest() != make_network(2).digest()


def test_one_changed_integer_changes_the_digest():
    net = one_layer([[1, 2, 3]])
    assert net.digest() != one_layer([[1, 2, 4]]).digest()
    assert net.digest() != one_layer([[1, 2, 3]], threshold=11).digest()


def test_nothing_can_be_changed(make_network):
    net = make_network()
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.profile = "other"
    with pytest.raises(ValueError, match="read-only"):
        net.layers[0].neuron.bias[0] = 1


def test_arrays_are_copied():
    weight = np.ones((2, 3), dtype=np.int32)
    net = one_layer(weight)
    weight[:] = 5
    assert net["first"].connections[0].synapse.weight.max() == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: one_layer([[200, 1, 1]]), "first: weights 1..200 are out of range; -128..127"),
        (lambda: one_layer([[1, 1, 1]], [5000]), r"first: bias 5000..5000 is out of range; -4096..4095"),
        (lambda: one_layer([[1, 1, 1]], threshold=1 << 17), "threshold 131072 is out of range"),
        (lambda: one_layer([[1, 1, 1]], voltage_decay=4097), "voltage_decay 4097 is out of range"),
        (lambda: one_layer([[1, 1, 1]], [0, 0]), r"bias of shape \(2,\) does not fit"),
        (lambda: one_layer([[1, 1]]), r"dense of 2 inputs cannot take input \(3,\)"),
        (lambda: one_layer([[1.5, 1, 1]]), "weight must hold 32-bit integers"),
        (lambda: one_layer([[1, 1, 1]], bits=9), "bits=9 is not allowed; use 0..8"),
        (lambda: one_layer(np.full((1, 1033), 127), in_shape=(1033,)), "131191 overflows the 24-bit"),
        (lambda: one_layer(np.full((1, 5), 127), in_shape=(5,), bits=8), "161925 overflows the 24-bit"),
        (lambda: FixedPointNetwork(input=network.Input(shape=(3,)), layers=()), "at least one layer"),
    ],
)
def test_every_limit_is_checked_by_name(make, message):
    with pytest.raises(ExportError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_all_offending_layers_are_listed():
    with pytest.raises(ExportError, match="first: weights .*; first: bias"):
        one_layer([[200, 1, 1]], [5000])


def test_the_widest_allowed_sum_is_accepted():
    assert LIMITS.activation_max >= 127 * 1032
    one_layer(np.full((1, 1032), 127), in_shape=(1032,))


def test_latency_is_one_step_per_synapse(make_network):
    assert make_network().latency == 4
    assert make_network(convs=(), dense=()).latency == 1


def test_stock_networks_keep_their_digest(make_network):
    assert make_network().digest() == "d886aee127edf5bc3c26d6e3ce267d7a972286782cf6190685ab1f4f1a7ab996"


def identity(source, **options):
    return network.Connection(source=source, synapse=network.Identity(), **options)


def layer_of(name, *connections, neuron=None, **options):
    neuron = neuron or network.LIF(threshold=9, exponent=0)
    return network.Layer(name=name, connections=connections, neuron=neuron, shape=(3,), **options)


def extended(*layers, **options):
    return FixedPointNetwork(input=network.Input(shape=(3,), **options), layers=layers, profile="extended")


def test_paths_of_different_depth_are_balanced():
    net = extended(
        layer_of("a", identity("input")),
        layer_of("b", identity("a"), identity("input")),
        layer_of("c", identity("b"), identity("a"), mix=network.Mix(omega=np.full((4, 4), 1024))),
        layer_of(
            "d", identity("c"), identity("b"), identity("d"), mix=network.Mix(omega=np.eye(4, dtype=int))
        ),
    )
    assert [net.depth(layer.name) for layer in net.layers] == [1, 2, 6, 7]
    assert net.latency == 7 and net.num_steps == 4
    waits = [[net.balancing_delay(layer, c) for c in layer.connections] for layer in net.layers]
    assert waits == [[0], [0, 1], [0, 1], [0, 4, 0]]


def test_an_input_as_bias_takes_no_step():
    connection = network.Connection(source="input", synapse=network.BiasInput())
    net = extended(
        layer_of("a", connection), layer_of("b", identity("a")), bits=13, signed=True, transform=(36, 34)
    )
    assert [net.depth("a"), net.latency] == [0, 1]
    levels = net.encode(np.array([[-0.5, 0.0, 1.0]]), 2)
    assert levels[..., 0].tolist() == [[16, 34, 70]]
    with pytest.raises(ExportError, match=r"intensities 0.0..999.0 do not fit; scale them to -114.7..112.8"):
        net.encode(np.array([[0.0, 0.0, 999.0]]), 2)


def gate(**options):
    return network.Gate(**{"multiplier": np.ones(4, int), "shift": 3, **options})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layer_of("a", identity("a")), "a: is fed by itself only"),
        (layer_of("a", identity("b")), "a: source 'b' does not come before it"),
        (
            layer_of("a", identity("input", scale=np.ones(2, int))),
            r"scale of shape \(2,\) does not fit; use \(3,\)",
        ),
        (
            layer_of("a", identity("input", scale=np.full(3, 1 << 23))),
            "scale 8388608..8388608 is out of range",
        ),
        (
            layer_of("a", identity("input", scale=np.full(3, 8388607), bias=np.ones(3, int))),
            "adds up to 8388608",
        ),
        (layer_of("a", identity("input", delay=np.full(3, 63))), "delay 63..63 is out of range; 0..62"),
        (
            layer_of("a", identity("input", delay=np.ones((1, 4), int))),
            r"delay of shape \(1, 4\) does not fit; use \(3,\) or \(1, 3\)",
        ),
        (layer_of("a", identity("input", gate=gate(shift=49))), "gate shift 49 is out of range"),
        (layer_of("a", identity("input", gate=gate(per="step"))), "per='step' is unknown"),
        (
            layer_of("a", identity("input", gate=gate(multiplier=np.ones((4, 2), int)))),
            r"use \(T,\) or \(T, 3\)",
        ),
        (
            layer_of("a", identity("input"), mix=network.Mix(omega=np.ones((2, 3, 4), int))),
            r"matrix of shape \(2, 3, 4\)",
        ),
        (
            layer_of("a", identity("input"), identity("a"), mix=network.Mix(omega=np.ones((2, 2), int))),
            "a layer that feeds itself cannot mix whole windows",
        ),
        (
            layer_of("a", identity("input", gate=gate()), mix=network.Mix(omega=np.eye(3, dtype=int))),
            r"gates and mixings are made for \[3, 4\] steps",
        ),
        (
            layer_of(
                "a",
                identity("input", scale=np.full(3, 1 << 21)),
                mix=network.Mix(omega=np.full((4, 4), 4096)),
            ),
            "a step adds up to 8388608 membrane steps",
        ),
        (
            layer_of("a", identity("input"), neuron=network.LIF(threshold=9, exponent=3)),
            "exponent=3 is not allowed",
        ),
        (
            layer_of("a", identity("input"), neuron=network.LIF(threshold=1 << 23, exponent=0)),
            "threshold 8388608 is out of range; 0..8388607",
        ),
        (
            layer_of("a", identity("input"), neuron=network.LIF(threshold=1 << 17)),
            "threshold 131072 is out of range; 0..131071",
        ),
        (
            layer_of("a", identity("input"), neuron=network.MultiThreshold(threshold=0, levels=2)),
            "threshold 0 is out of range; 1..",
        ),
        (
            layer_of("a", identity("input"), neuron=network.MultiThreshold(threshold=9, levels=256)),
            "levels 256 is out of range; 1..255",
        ),
        (
            layer_of(
                "a", identity("input"), neuron=network.MultiThreshold(threshold=9, levels=2, lam=1 << 20)
            ),
            "lam 1048576 is out of range",
        ),
        (
            layer_of(
                "a",
                identity("input"),
                neuron=network.LIF(threshold=9, membrane=network.Membrane(bits=1, shift=23), exponent=0),
            ),
            "membrane bits 1 is out of range; 2..24 are allowed; a: membrane shift 23",
        ),
    ],
)
def test_every_limit_of_the_extended_profile_is_checked(layer, message):
    with pytest.raises(ExportError, match=message):
        extended(layer)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            layer_of("a", identity("input")),
            "Identity is not possible in profile 'stock'.*exponent 0.*bias 0 is one",
        ),
        (
            layer_of("a", identity("input"), neuron=network.MultiThreshold(threshold=9, levels=2)),
            "MultiThreshold is not",
        ),
        (layer_of("a", identity("input", gate=gate(), bias=np.ones(3, int))), "bias is not .*gate is not"),
        (
            layer_of(
                "a", identity("input"), neuron=network.LIF(threshold=np.ones(3, int), bias=np.ones(3, int))
            ),
            "a threshold per channel is not possible",
        ),
    ],
)
def test_the_stock_profile_refuses_what_lava_dl_cannot_compute(layer, message):
    with pytest.raises(ExportError, match=message):
        FixedPointNetwork(input=network.Input(shape=(3,)), layers=(layer,))


def test_even_weights_may_have_nine_bits():
    assert one_layer([[-256, 254, 2]]).summary().weight_bits == 27
    with pytest.raises(ExportError, match="weights -256..254 are out of range; .* or even ones in -256..254"):
        one_layer([[-256, 254, 1]])


def test_the_summary_counts_bits_and_synapses():
    conv = network.Conv(weight=np.ones((2, 1, 3, 3), int), padding=(1, 1))
    layers = (
        network.Layer(
            name="conv",
            connections=(network.Connection(source="input", synapse=conv),),
            neuron=network.LIF(threshold=9, exponent=0),
            shape=(2, 4, 5),
        ),
        network.Layer(
            name="skip",
            connections=(
                network.Connection(source="conv", synapse=network.Identity()),
                network.Connection(source="conv", synapse=network.Conv(weight=np.full((2, 2, 1, 1), 5))),
            ),
            neuron=network.MultiThreshold(threshold=9, levels=3),
            shape=(2, 4, 5),
        ),
    )
    net = FixedPointNetwork(input=network.Input(shape=(1, 4, 5)), layers=layers, profile="extended")
    summary = net.summary()
    assert (summary.weights, summary.weight_bits, summary.neurons) == (22, 18 + 4 * 4, 80)
    assert summary.synapses == 18 * 20 + 40 + 4 * 20
    assert net.max_value("skip") == 3
    row = str(net).splitlines()[3].split()
    assert row[:4] == ["skip", "identity+conv", "M-HT", "L=3"]


def test_print_shows_a_row_per_layer(make_network):
    lines = str(make_network()).splitlines()
    assert [line.split()[0] for line in lines] == ["layer", "input", "conv0", "conv1", "dense0", "readout"]


def test_encode_rounds_intensities(make_network):
    net = make_network(bits=4)
    x = np.zeros((2, 2, 6, 5))
    x[0, 0, 0, :3] = [0.5, 1.0, 0.04]
    levels = net.encode(x, 3)
    assert levels.shape == (2, 2, 6, 5, 3)
    assert levels[0, 0, 0, :3, 2].tolist() == [8, 15, 1]
    with pytest.raises(ExportError, match="scale them to 0..1"):
        net.encode(x + 1, 3)
    with pytest.raises(ExportError, match=r"does not fit; use \[N, 2, 6, 5\]"):
        net.encode(x[:, :1], 3)
    with pytest.raises(ExportError, match=r"are no spikes \(0 or 1\)"):
        make_network().encode(x, 3)


def test_unknown_layer_lists_the_names(make_network):
    with pytest.raises(KeyError, match="there are conv0, conv1, dense0, readout"):
        make_network()["conv9"]


def test_the_reach_of_a_synapse_is_the_largest_sum_of_inputs_that_are_not_negative():
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 10, (5, 8))
    inputs = np.array(list(itertools.product((0, 1), repeat=8)))
    sums = np.abs(inputs @ weight.T).max(0)
    np.testing.assert_array_equal(reach(network.Dense(weight=weight)), sums)
    np.testing.assert_array_equal(reach(network.Identity()), [1])


@pytest.mark.parametrize(
    ("values", "bits"),
    [((127, 127), 8), ((-8, -8), 4), ((-128, 127), 8), ((128, 1), 9), ((0, 0), 1), ((2, 2), 3), ((1, -1), 1)],
)
def test_weight_bits_are_the_least_that_hold_all_weights(values, bits):
    assert weight_bits(network.Dense(weight=np.array([values]))) == bits


def test_the_table_tells_decays_of_the_current_and_one_number_where_all_are_equal():
    neuron = network.LIF(threshold=np.array([64, 64]), current_decay=1024, voltage_decay=np.array([1, 3]))
    synapse = network.Dense(weight=np.array([[1, 2], [3, 4]]))
    delays = {"a": np.array([0, 0]), "b": np.array([0, 5])}
    layers = tuple(
        network.Layer(
            name=name,
            connections=(network.Connection(source=source, synapse=synapse, delay=delays[name]),),
            neuron=neuron,
            shape=(2,),
        )
        for source, name in (("input", "a"), ("a", "b"))
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(2,)), layers=layers, profile="extended")
    rows = [line.split() for line in str(net).splitlines()]
    assert rows[2][-5:] == ["1..4", "64", "1..3", "iDecay", "1024"]
    assert rows[3][-8:] == [*rows[2][-5:], "delays", "to", "5"]
