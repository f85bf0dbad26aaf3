"""Traps of stock Lava's neurons, each shown by lava's own code, and what our checks or conversion make of it.

ATRLIF's current decay of 1, which is off by one, is in ``tests/netx_export/test_process_soft_reset.py``;
what survives a reset in delays is in ``tests/netx_export/test_stepper.py``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lava.lib.dl import slayer
from lava.proc.lif.models import PyLifModelBitAcc
from support.stock import (
    StockNeurons,
    dense_net,
    stock_chain,
    stock_network,
)

from lava_bsnn import block, fixed_point, models
from lava_bsnn.errors import ExportError, ShapeError
from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, convert, network, simulate
from netx_export.network.checks import current_bound
from netx_export.simulator.stepper import stream

pytestmark = pytest.mark.lava
TOP = 1 << 23


def test_a_current_wraps_at_24_bits():
    neurons = StockNeurons(network.LIF(threshold=0, bias=np.zeros(1, int)))
    assert not neurons.step([TOP // 64 + 1])  # one weight step above the limit: far below 0
    assert neurons.model.u == -TOP + 64
    weight = [[127, 127, 127, 127]]
    with pytest.raises(ExportError, match=r"sum\|w\| \* largest input = 129540 .*|overflows") as error:
        dense_net([[127, 127, 127, 127, 127]], bits=8)
    assert "at most 131071 is allowed" in str(error.value)
    net = dense_net(weight, bits=8)  # sums up to 129540
    largest = int(current_bound(net, net.layers[0]).max())
    neurons = StockNeurons(net.layers[0].neuron)
    assert neurons.step([largest >> 6]) and neurons.model.u == largest


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_a_current_with_memory_cannot_wrap_after_conversion(profile):
    """Bright input at every step: currents add up to several times that of one step."""
    params = {"threshold": 1.0, "current_decay": 1 / 16, "voltage_decay": 1.0}
    dense = block.Dense(params, 8, 1, norm=None, binarize=None)
    with torch.no_grad():
        dense.synapse.weight.fill_(0.01)
    blocks = [block.Input(bits=8), dense, block.Readout(None, 1, 1)]
    model = models.SpikingNetwork(blocks, in_shape=(8,), num_steps=20).eval()
    net = convert(model, profile)
    found = stream(net, np.full((8, 20), 255))
    assert (np.diff(found.currents["dense1"][0, 1:]) > 0).all()  # grows, and never wraps


def test_thresholds_have_17_bits_and_biases_13_with_exponent_6(tmp_path):
    model = PyLifModelBitAcc
    assert (model.vth.precision, model.bias_mant.precision) == (17, 13)
    made = stock_network(dense_net([[1, 2]], bias=np.array([5])), tmp_path / "a.net")
    assert made.layers[0].neuron.bias_exp.init == 6
    assert LIMITS.threshold_max == 2**17 - 1
    assert (LIMITS.bias_min, LIMITS.bias_max) == (-(2**12), 2**12 - 1)
    for change, message in (
        ({"threshold": 2**17}, r"threshold 131072 is out of range; 0\.\.131071"),
        ({"bias": np.array([4096])}, r"bias 4096\.\.4096 is out of range; -4096\.\.4095 .*13 bit"),
    ):
        layer = dense_net([[1, 2]]).layers[0]
        with pytest.raises(ExportError, match=message):
            FixedPointNetwork(
                input=network.Input(shape=(2,)),
                layers=(replace(layer, neuron=replace(layer.neuron, **change)),),
            )


@pytest.mark.parametrize("steps", [64, 4096, 131_000])
def test_lava_never_fires_at_the_threshold_and_slayer_does_for_large_ones(steps):
    slayer_neuron = slayer.neuron.cuba.Neuron(
        threshold=steps / 64, current_decay=1, voltage_decay=0.0, scale=64
    )
    assert slayer_neuron.device_params["vThMant"] == steps
    spikes = slayer_neuron(torch.tensor([[[steps / 64]]]))
    assert bool(spikes) == (steps >= 4096)
    assert not StockNeurons(network.LIF(threshold=steps, bias=np.zeros(1, int))).step([steps])


def test_our_neurons_fire_at_the_threshold_in_torch_and_in_lava():
    """The threshold that is written is one weight step lower."""
    dense = block.Dense({"threshold": 2.0, "voltage_decay": 1.0}, 1, 1, norm=None)
    with torch.no_grad():
        dense.synapse.weight.fill_(2.0)
    model = models.SpikingNetwork([dense, block.Readout(None, 1, 1)], in_shape=(1,), num_steps=2).eval()
    net = convert(model)
    weight, neuron = net.layers[0].connections[0].synapse.weight, net.layers[0].neuron
    assert weight.item() == neuron.threshold + 1
    assert dense(torch.ones(1, 1, 1)).item() == 1
    assert StockNeurons(neuron).step(weight[:, 0])


def readout_net(rng):
    weight = [rng.integers(-40, 41, size) for size in ((8, 9), (6, 8), (4, 6))]
    layers, source = [], "input"
    for i, matrix in enumerate(weight):
        bias = rng.integers(-30, 60, len(matrix))
        neuron = network.LIF(threshold=60, bias=bias, voltage_decay=200)
        if i == 2:
            neuron = network.Readout(bias=bias)
        connection = network.Connection(source=source, synapse=network.Dense(weight=matrix))
        source = f"dense{i}"
        layers.append(
            network.Layer(name=source, connections=(connection,), neuron=neuron, shape=(len(matrix),))
        )
    return FixedPointNetwork(input=network.Input(shape=(9,)), layers=tuple(layers))


def test_biases_act_while_the_pipeline_fills():
    """Without resets in turn the readout's potential is wrong from the first step on; with them, equal."""
    rng = np.random.default_rng(0)
    net, steps = readout_net(rng), 6
    x = rng.integers(0, 2, (2, 9, steps))
    expected = simulate(net, x).readout
    data = np.concatenate([*x, np.zeros((9, 3), int)], -1)
    samples = slice(3, 3 + 2 * steps)
    for reset, equal in ((None, False), ((steps, 0), False), ((steps, 1), True)):
        _, potentials = stock_chain(net, data, reset=reset)
        found = potentials[:, samples].reshape(4, 2, steps).swapaxes(0, 1)
        assert np.array_equal(found, expected) == equal, reset
        if not equal:
            assert not np.array_equal(found[0, :, 0], expected[0, :, 0])
        options = {} if reset is None else {"reset_interval": reset[0], "reset_offset": reset[1]}
        np.testing.assert_array_equal(stream(net, data, **options).potentials["dense2"], potentials)


def test_resets_count_from_one_after_the_offset_and_one_later_per_layer(tmp_path):
    net = readout_net(np.random.default_rng(0))
    made = stock_network(net, tmp_path / "a.net", reset_interval=8, reset_offset=3)
    assert [layer.neuron.proc_params["reset_offset"] for layer in made.layers] == [4, 5, 6]
    x = np.random.default_rng(1).integers(0, 2, (9, 40))
    ours = stream(net, x, reset_interval=8, reset_offset=3)
    _, potentials = stock_chain(net, x, reset=(8, 3))
    np.testing.assert_array_equal(ours.potentials["dense2"], potentials)
    never = stream(net, x)
    for name, first in (("dense0", 4), ("dense1", 5), ("dense2", 6)):
        changed = (never.potentials[name] != ours.potentials[name]).any(0)
        assert changed.argmax() + 1 == first  # Lava counts from 1


def test_a_readout_never_fires_within_the_steps_that_are_allowed():
    """vThMant 131071 without leak: the potential is a running sum, up to 131071 << 6."""
    neuron = network.Readout(bias=np.zeros(1, int))
    assert (neuron.threshold, neuron.voltage_decay) == (131_071, 0)
    at_top = StockNeurons(neuron)
    assert not at_top.step([131_071]) and at_top.model.v == LIMITS.readout_max
    assert at_top.step([1])  # one more and it fires, which clears the sum
    net = readout_net(np.random.default_rng(0))
    worst = network.Dense(weight=np.full((4, 6), 127))
    last = replace(net.layers[2], connections=(network.Connection(source="dense1", synapse=worst),))
    net = replace(net, layers=(*net.layers[:2], last))
    steps = net.max_steps
    neurons = StockNeurons(last.neuron)
    assert not any(neurons.step([6 * 127] * 4).any() for _ in range(steps))
    assert any(neurons.step([6 * 127] * 4).any() for _ in range(2))
    with pytest.raises(ShapeError, match="could overflow the readout's 24-bit potential"):
        simulate(net, np.ones((1, 9, steps + 1), int))


def test_a_wrapped_current_is_modelled_as_lava_computes_it():
    """Where a file of lava-dl lets a current wrap, we wrap it in the same way."""
    rng = np.random.default_rng(0)
    neuron = network.LIF(threshold=99, bias=np.zeros(50, int), current_decay=100, voltage_decay=50)
    theirs, u, v = StockNeurons(neuron), np.zeros(50, int), np.zeros(50, int)
    for _ in range(40):
        a = rng.integers(-131_071, 131_072, 50)
        spikes = theirs.step(a)
        u, v, ours = fixed_point.lif_step(u, v, a, threshold=99, current_decay=100, voltage_decay=50)
        np.testing.assert_array_equal(ours, spikes)
        np.testing.assert_array_equal(u, theirs.model.u)
        np.testing.assert_array_equal(v, theirs.model.v)
