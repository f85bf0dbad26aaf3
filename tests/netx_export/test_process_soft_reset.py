"""Soft-reset neurons of stock Lava equal ours; and the trap beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError
from netx_export import network
from netx_export.backends.runtime import run_steps
from netx_export.process.soft_reset import soft_reset_neurons
from netx_export.process.stream import Player, Recorder
from netx_export.simulator.stepper import stream

pytestmark = pytest.mark.lava
Loihi2SimCfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg
STEPS = 60


def soft_layer(rng, neurons=40, threshold=20 * 128, **options):
    weight = 2 * rng.integers(-15, 25, (neurons, 12))  # even, as stock lava-dl would keep them
    neuron = network.MultiThreshold(
        threshold=threshold,
        levels=1,
        initial=threshold // 2,
        bias=rng.integers(-300, 301, neurons),
    )
    return network.Layer(
        name="soft",
        connections=(network.Connection(source="input", synapse=network.Dense(weight=weight)),),
        neuron=replace(neuron, **options),
        shape=(neurons,),
    )


def on_atrlif(layer, x, **changes):
    """Spikes of a stock synapse and a stock neuron, in Lava's time."""
    dense = import_lava("lava.proc.dense.process").Dense
    synapse = dense(weights=layer.connections[0].synapse.weight.astype(int))
    neurons = soft_reset_neurons(layer)
    for name, value in changes.items():
        getattr(neurons, name).init = value
    Player(np.ascontiguousarray(x.T).astype(np.int32)).s_out.connect(synapse.s_in)
    synapse.a_out.connect(neurons.a_in)
    record = Recorder(neurons.s_out, x.shape[-1]).record
    run_steps(neurons, x.shape[-1], Loihi2SimCfg(select_tag="fixed_pt"), timeout=60)
    return record.T


@pytest.mark.parametrize(
    "options", [{}, {"initial": 0}, {"initial": 2000}, {"bias": 64 * np.arange(-80, 80, 4)}], ids=str
)
def test_stock_atrlif_is_a_soft_reset_neuron(options):
    rng = np.random.default_rng(0)
    layer = soft_layer(rng, **options)
    net = network.FixedPointNetwork(input=network.Input(shape=(12,)), layers=(layer,), profile="extended")
    x = (rng.random((12, STEPS)) < 0.5).astype(int)
    ours = stream(net, x).messages["soft"]
    np.testing.assert_array_equal(on_atrlif(layer, x), ours)
    assert 0.05 < ours.mean() < 0.95


def test_a_current_decay_of_one_is_the_trap_that_the_parameters_avoid():
    rng = np.random.default_rng(0)
    layer = soft_layer(rng, bias=0)  # potentials then meet the threshold exactly
    net = network.FixedPointNetwork(input=network.Input(shape=(12,)), layers=(layer,), profile="extended")
    x = (rng.random((12, STEPS)) < 0.5).astype(int)
    ours = stream(net, x).messages["soft"]
    np.testing.assert_array_equal(on_atrlif(layer, x), ours)
    assert not np.array_equal(on_atrlif(layer, x, delta_i=1), ours)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (dict(levels=4), "levels=4, needs 1"),
        (dict(lam=4000), "lam=4000, needs 4096"),
        (dict(threshold=129), "thresholds 129..129, needs one multiple of 128"),
        (dict(threshold=np.r_[[128] * 39, 256]), "thresholds 128..256, needs one multiple of 128"),
        (dict(initial=-1), "initial=-1, needs one number in 0..2560"),
        (dict(initial=np.r_[[0] * 39, 1]), r"initial=[\s\S]*, needs one number in 0..2560"),
        (dict(bias=np.full(40, 5000)), "bias 5000..5000, needs -4096..4095, or 64 times those"),
    ],
)
def test_neurons_that_atrlif_cannot_be_are_refused(options, reason):
    layer = soft_layer(np.random.default_rng(0), **options)
    with pytest.raises(ExportError, match=f"soft: stock ATRLIF cannot be these neurons: {reason}"):
        soft_reset_neurons(layer)


def test_hard_reset_neurons_are_refused():
    layer = replace(
        soft_layer(np.random.default_rng(0)), neuron=network.LIF(threshold=3, bias=np.zeros(40, int))
    )
    with pytest.raises(ExportError, match="soft: ATRLIF makes soft-reset neurons; this layer has LIF"):
        soft_reset_neurons(layer)
