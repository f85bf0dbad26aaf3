"""Inputs that enter as biases: one definition, on every backend, with every neuron."""

from __future__ import annotations

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from netx_export import FixedPointNetwork, network, run

pytestmark = pytest.mark.lava


def net_of(neuron, *, shape=(2,), profile="extended", mix=None, behind=True, **options):
    entry = network.Connection(source="input", synapse=network.BiasInput(), **options)
    layers = [network.Layer(name="entry", connections=(entry,), neuron=neuron, shape=shape, mix=mix)]
    if behind and not isinstance(neuron, network.Readout):
        weight = np.arange(3 * int(np.prod(shape))).reshape(3, -1) - 2
        dense = network.Connection(source="entry", synapse=network.Dense(weight=weight))
        lif = network.LIF(threshold=4, bias=np.ones(3, int), current_decay=2000, voltage_decay=900)
        layers.append(network.Layer(name="behind", connections=(dense,), neuron=lif, shape=(3,)))
    return FixedPointNetwork(
        input=network.Input(shape=shape, bits=13, signed=True), layers=tuple(layers), profile=profile
    )


def data(shape=(2,), low=-9, high=40):
    return np.random.default_rng(4).integers(low, high, (3, *shape, 7))


def assert_equals_reference(slow, net, x, backend):
    result = run(net, x, backend, trace=True, timeout=100)
    for n, sample in enumerate(x):
        for name, (messages, before) in slow.simulation(net, sample).items():
            trace = result.layers[name]
            np.testing.assert_array_equal(trace.spikes[n], messages, err_msg=f"{name} {n}")
            if trace.potential is not None:
                np.testing.assert_array_equal(trace.potential[n], before, err_msg=f"{name} {n}")
    return result


@pytest.mark.parametrize("backend", ["simulator", "lava", "lava-fused", "stock"])
@pytest.mark.parametrize("decay", [0, 1000, 4096])
def test_the_input_adds_to_the_bias_behind_the_currents_decay(slow, backend, decay):
    lif = network.LIF(threshold=30, bias=np.zeros(2, int), current_decay=decay, voltage_decay=700)
    net = net_of(lif, profile="stock")
    result = assert_equals_reference(slow, net, data(), backend)
    assert all(trace.spikes.any() and not trace.spikes.all() for trace in result.layers.values())


def test_an_impulse_is_not_filtered():
    lif = network.LIF(threshold=6, bias=np.zeros(1, int), current_decay=1000, voltage_decay=4096)
    net = net_of(lif, shape=(1,), profile="stock", behind=False)
    for backend in ("simulator", "lava-fused"):
        spikes = run(net, np.array([[[10, 0, 0, 0, 10]]]), backend, timeout=100).spikes
        assert spikes[0, 0].tolist() == [True, False, False, False, True]


NEURONS = {
    "multi-threshold": network.MultiThreshold(
        threshold=np.array([7, 11]), levels=3, initial=2, lam=3000, bias=np.array([1, -2])
    ),
    "k-bit membrane": network.LIF(
        threshold=9, bias=np.array([1, 2]), voltage_decay=200, membrane=network.Membrane(bits=5, shift=6)
    ),
    "membrane steps": network.LIF(
        threshold=np.array([9, 20]), bias=3, current_decay=500, voltage_decay=300, exponent=0
    ),
    "readout": network.Readout(bias=np.array([1, -3])),
    "readout in membrane steps": network.Readout(bias=2, exponent=0),
}


@pytest.mark.parametrize("backend", ["simulator", "lava", "lava-fused"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_takes_the_input_in_units_of_its_bias(slow, neuron, backend):
    net = net_of(NEURONS[neuron])
    result = assert_equals_reference(slow, net, data(), backend)
    if result.readout is None:
        assert all(trace.spikes.any() for trace in result.layers.values())
    else:
        assert result.readout[..., -1].any()


@pytest.mark.parametrize("backend", ["simulator", "lava", "lava-fused"])
def test_what_a_multi_threshold_neuron_holds_is_clipped_at_24_bits(slow, backend):
    top = (1 << 23) - 1
    room = top - 4096
    neuron = network.MultiThreshold(
        threshold=top, levels=1, initial=np.array([-top, top]), lam=32_768, bias=np.array([-room, room])
    )
    x = np.array([[[4095, -4096, 0], [-4096, 4095, 4095]]])
    result = assert_equals_reference(slow, net_of(neuron, behind=False), x, backend)
    potential = result.layers["entry"].potential
    assert potential.min() == -top and potential.max() == top and result.spikes.any()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"scale": np.array([7, 7])}, "scale"),
        ({"bias": np.array([7, 7])}, "bias"),
        ({"delay": np.array([1, 0])}, "delay"),
        ({"gate": network.Gate(multiplier=np.ones(7, int), shift=0)}, "gate"),
        ({"mix": network.Mix(omega=np.eye(7, dtype=int))}, "mix"),
        ({"scale": np.array([7, 7]), "mix": network.Mix(omega=np.eye(7, dtype=int))}, "scale, mix"),
    ],
)
def test_what_only_currents_have_is_refused(options, parts):
    with pytest.raises(ExportError, match=f"^entry: an input as bias is no current; leave out {parts}$"):
        net_of(network.LIF(threshold=5), behind=False, **options)


def test_messages_with_a_sign_are_no_biases():
    entry = network.Connection(source="input", synapse=network.BiasInput())
    layer = network.Layer(name="a", connections=(entry,), neuron=network.LIF(threshold=5), shape=(2,))
    for options, message in (
        ({"bits": 8, "signed": True}, "a: BiasInput takes 13 bits; the input has 8"),
        ({"bits": 8}, "a: signed input and BiasInput go together; use both or none"),
    ):
        with pytest.raises(ExportError, match=message):
            FixedPointNetwork(input=network.Input(shape=(2,), **options), layers=(layer,), profile="extended")


def test_a_bias_in_membrane_steps_leaves_room_for_the_input():
    """The input counts in the unit of the bias, not in weight steps."""
    top = (1 << 23) - 1
    net_of(network.LIF(threshold=5, bias=top - 4096, exponent=0), behind=False)
    with pytest.raises(ExportError, match="a step adds up to 8388608 membrane steps"):
        net_of(network.LIF(threshold=5, bias=top - 4095, exponent=0), behind=False)
