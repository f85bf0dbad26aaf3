"""How stock networks would go to Loihi 2. What is closed in lava-loihi is a stand-in here.

These tests show what is connected to what, that samples come back aligned through adapters that behave as
public uses of lava-loihi describe, and what is refused. Nothing of this has run on hardware.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lava_bsnn.errors import ExportError, LavaMissingError, OptionError, ShapeError
from netx_export import compare, network, run, simulate
from netx_export.backends.loihi2 import check_loihi2, foreign_leaves
from netx_export.process import Network
from netx_export.verify import random_data

pytestmark = pytest.mark.lava


def feeders(port):
    return [type(source.process).__name__ for source in port.get_src_ports()]


def test_without_lava_loihi_one_error_says_what_is_missing_and_who_gets_it(make_network, make_data):
    net = make_network()
    with pytest.raises(LavaMissingError, match="lava-loihi, which is not installed: .*INRC") as caught:
        run(net, make_data(net, num_steps=8), "loihi2")
    assert "\n" not in str(caught.value)


def test_a_readout_comes_back_aligned_through_a_state_reader(lava_loihi, make_network, make_data):
    net = make_network(bits=4)
    x = make_data(net, num_samples=3, num_steps=8)
    result = run(net, x, "loihi2")
    (process,), (to_chip, reader) = lava_loihi.networks, lava_loihi.made
    assert feeders(process.inp) == ["PyToN3ConvAdapter"] and feeders(to_chip.inp) == ["RingBuffer"]
    assert to_chip.num_message_bits == 4
    assert type(reader).__name__ == "Read" and len(lava_loihi.chosen) == 1
    assert (process.reset_interval, process.reset_offset) == (8, 1)
    expected = simulate(net, x)
    assert (expected.readout < 0).any()  # words of 24 bits have a sign
    np.testing.assert_array_equal(result.readout, expected.readout)


def test_spikes_come_back_aligned_through_adapters(lava_loihi, make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,), classes=0)
    x = make_data(net, num_steps=4)
    result = run(net, x, "loihi2", host="slurm", partition="oheogulch")
    assert lava_loihi.calls == [("slurm", {"partition": "oheogulch", "board": None})]
    assert [type(process).__name__ for process in lava_loihi.made] == ["PyToNxAdapter", "NxToPyAdapter"]
    assert compare(simulate(net, x), result).mismatches == 0
    assert result.spikes.any()


@pytest.mark.parametrize("classes", [4, 0])
def test_skips_of_profile_loihi_come_back_aligned(lava_loihi, make_network, make_data, classes):
    chain = make_network(bits=4, convs=((3, 3, 1, 1), (3, 3, 1, 1)), dense=(), classes=0)
    first, last = chain.layers
    skip = network.Connection(
        source=first.name, synapse=network.Identity(), scale=np.array([5, 9, 77]) * 64 * 8
    )
    layers = [first, replace(last, connections=(*last.connections, skip))]
    if classes:
        weight = np.random.default_rng(0).integers(-9, 9, (classes, int(np.prod(last.shape))))
        dense = network.Connection(source=last.name, synapse=network.Dense(weight=weight))
        readout = network.Readout(bias=np.zeros(classes, int))
        layers.append(network.Layer(name="out", connections=(dense,), neuron=readout, shape=(classes,)))
    net = replace(chain, layers=tuple(layers), profile="loihi")
    x = make_data(net, num_samples=3, num_steps=4)
    result = run(net, x, "loihi2")
    (process,) = lava_loihi.networks
    assert foreign_leaves(process.inner()) == []
    expected = simulate(net, x, trace=True)
    assert all(0.01 < expected.layers[layer.name].spikes.mean() < 0.99 for layer in net.layers[:2])
    assert compare(simulate(net, x), result).mismatches == 0


def test_an_ethernet_host_is_passed_on(lava_loihi, make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    run(net, make_data(net, num_steps=2), "loihi2", host="ethernet", address="10.0.0.7")
    assert lava_loihi.calls == [("ethernet", {"host_address": "10.0.0.7"})]
    with pytest.raises(OptionError, match="host='usb' is unknown"):
        run(net, make_data(net, num_steps=2), "loihi2", host="usb")


@pytest.mark.parametrize("in_shape", [(2, 6, 5), (9,)])
def test_signed_messages_enter_on_two_rails(lava_loihi, make_network, in_shape):
    net = make_network(
        in_shape=in_shape, bits=8, convs=((3, 3, 1, 1),) if len(in_shape) == 3 else (), classes=0
    )
    net = replace(net, input=replace(net.input, signed=True))
    x = random_data(net, 3, 8)
    assert (x < 0).any()
    result = run(net, x, "loihi2")
    (process,), (to_chip, _) = lava_loihi.networks, lava_loihi.made
    assert process.net.input.shape == (2 * in_shape[0], *in_shape[1:])
    assert (to_chip.num_message_bits, process.net.input.signed) == (7, False)
    assert compare(simulate(net, x), result).mismatches == 0
    assert result.spikes.any() and not result.spikes.all()
    with pytest.raises(ShapeError, match=r"messages of -128 do not fit two rails of 7 bits; use -127\.\.127"):
        run(net, np.full_like(x, -128), "loihi2")


def test_an_input_as_bias_does_not_go_to_the_chip():
    entry = network.Connection(source="input", synapse=network.BiasInput())
    lif = network.LIF(threshold=5, bias=np.zeros(2, int))
    layer = network.Layer(name="entry", connections=(entry,), neuron=lif, shape=(2,))
    net = network.FixedPointNetwork(input=network.Input(shape=(2,), bits=13, signed=True), layers=(layer,))
    with pytest.raises(ExportError, match="loihi2: inputs that enter as biases cannot be streamed"):
        check_loihi2(net, 8)


def test_what_the_chip_cannot_do_is_refused(make_network):
    net = make_network()
    with pytest.raises(ShapeError, match="6 steps per sample are not possible, .* use 4 or 8"):
        check_loihi2(net, 6)
    extended = network.FixedPointNetwork(input=net.input, layers=net.layers, profile="extended")
    with pytest.raises(ExportError, match="profile 'extended' have no model on the chip"):
        check_loihi2(extended, 8)
    for steps in (1, 2, 16):
        check_loihi2(net, steps)


def test_only_stock_leaves_make_up_a_stock_network(make_network):
    net = make_network(bits=4)
    stock = Network(net, reset_interval=8)
    assert len(stock.layers) == 4
    assert foreign_leaves(stock.inner()) == []
    ours = Network(net, reset_interval=8, clear_delays=True)
    _ = ours.layers
    assert "netx_export.process.neuron.Neurons" in foreign_leaves(ours.inner())
