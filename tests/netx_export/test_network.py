from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from netx_export import FixedPointNetwork, limits, network


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
        (lambda: one_layer([[1, 1, 1]], voltage_decay=4097), "voltage_decay=4097 is out of range"),
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
    assert limits.ACTIVATION_MAX >= 127 * 1032
    one_layer(np.full((1, 1032), 127), in_shape=(1032,))


def test_latency_is_one_step_per_synapse(make_network):
    assert make_network().latency == 4
    assert make_network(convs=(), dense=()).latency == 1


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
    with pytest.raises(ExportError, match=r"do not fit; use \(2, 6, 5\)"):
        net.encode(x[:, :1], 3)
    with pytest.raises(ExportError, match="takes spikes"):
        make_network().encode(x, 3)


def test_unknown_layer_lists_the_names(make_network):
    with pytest.raises(KeyError, match="there are conv0, conv1, dense0, readout"):
        make_network()["conv9"]
