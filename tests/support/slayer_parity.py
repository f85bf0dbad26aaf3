"""Compares a file of SLAYER with unmodified lava-dl, every layer at every step."""

from __future__ import annotations

import warnings

import numpy as np

from lava_bsnn.compat import import_lava
from netx_export import compare, describe, run, simulate
from netx_export.backends import backend_problems
from netx_export.backends.processes import time_first
from netx_export.backends.runtime import forgotten, run_steps
from netx_export.process.stream import BiasPlayer, Player, Probe, Recorder
from netx_export.simulator.stepper import stream
from netx_export.verify import random_data


def lava_stream(path, net, x):
    """Spikes of every layer ``[*shape, T]`` and the last one's potentials in Lava's time, without resets."""
    shape = net.input.shape[::-1]
    with forgotten():
        lava = import_lava("lava.lib.dl.netx.hdf5").Network(net_config=str(path), input_shape=shape)
        data, steps = time_first(x[None], flat=len(lava.inp.shape) == 1), x.shape[-1]
        if net.input.enters_as_bias:
            BiasPlayer(data, lava.layers[0].neuron.bias_mant)
        else:
            Player(data).s_out.connect(lava.inp)
        recorders = [Recorder(layer.out, steps) for layer in lava.layers]
        probe = Probe(lava.layers[-1].neuron.v, steps)
        config = import_lava("lava.magma.core.run_configs").Loihi2SimCfg(select_tag="fixed_pt")
        run_steps(lava, steps, config, timeout=300)
        lava.net_config.f.close()
        return [recorder.record.T for recorder in recorders], probe.record.T


def assert_equals_lava(path, case, seed, num_steps=24):
    """The file in our simulators and in lava-dl; returns the share of values that are spikes, by layer."""
    shape = None if case.declared else case.shape
    net = describe(path, shape).net
    assert net.input.shape == case.shape
    x = random_data(net, 2, num_steps, seed)
    spikes, potential = lava_stream(path, net, x[0])
    ours = stream(net, x[0])
    for layer, theirs in zip(net.layers, spikes, strict=True):
        np.testing.assert_array_equal(ours.messages[layer.name], theirs, err_msg=layer.name)
    if net.reads_out:
        np.testing.assert_array_equal(ours.potentials[net.output.name], potential)
    if not backend_problems(net, "stock", len(x)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            simulated, lava = simulate(path, x, trace=True), run(path, x, "stock", trace=True)
        assert compare(simulated, lava).mismatches == 0, compare(simulated, lava).first
    return {layer.name: float(sent.mean()) for layer, sent in zip(net.layers, spikes, strict=True)}
