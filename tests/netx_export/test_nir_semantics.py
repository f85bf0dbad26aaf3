"""Neurons of graphs as libraries write them, against those libraries' equations."""

from __future__ import annotations

import dataclasses

import nir
import numpy as np
import pytest
from support import nir_libraries as libraries
from support.nir_graphs import (
    DT,
    assert_same_spikes,
    chain,
    cuba,
    exponential,
    fire,
    full,
    lif,
    two_layers,
)

from lava_bsnn.errors import ExportError
from netx_export import from_nir, run, simulate
from netx_export.nir import SEMANTICS


@pytest.mark.parametrize(
    ("semantics", "neuron", "step", "dt"),
    [
        ("nir", lif(0.75), libraries.nir_step, DT),
        ("nir", lif(0.75, v_reset=0.25, v_leak=0.5, v_threshold=1.5), libraries.nir_step, DT),
        ("nir", lif(0.5, r=1.0, v_threshold=0.5), libraries.nir_step, DT),
        ("nir", fire(1 / DT), libraries.nir_step, DT),
        ("nir", cuba(0.5, 0.75, v_threshold=2.0), libraries.nir_step, DT),
        ("nir", cuba(0.5, 0.75, w_in=1.0), libraries.nir_step, DT),
        ("snntorch", lif(0.75), libraries.snntorch_step, DT),
        ("snntorch", lif(0.5, v_threshold=0.75), libraries.snntorch_step, DT),
        ("norse", fire(1.0), libraries.norse_step, 1e-3),
        ("norse", lif(0.75, dt=1e-3, r=1.0, v_threshold=0.25), libraries.norse_step, 1e-3),
        ("norse", cuba(0.5, 0.75, dt=1e-3, r=1.0, w_in=1.0), libraries.norse_step, 1e-3),
        ("spikingjelly", fire(1 / DT), libraries.spikingjelly_step, DT),
        ("spikingjelly", lif(0.5, r=1.0, v_threshold=0.5), libraries.spikingjelly_step, DT),
        (
            "spikingjelly",
            lif(0.75, v_threshold=1.0, v_reset=-0.25, v_leak=-0.25),
            libraries.spikingjelly_step,
            DT,
        ),
        ("spikingjelly", cuba(0.5, 0.75, v_threshold=2.0), libraries.spikingjelly_step, DT),
        ("sinabs", fire(1.0, 0.5), libraries.sinabs_step, 1.0),
        ("sinabs", exponential(0.75, 0.25), libraries.sinabs_step, 1.0),
    ],
)
def test_a_graph_means_what_its_writer_computes(semantics, neuron, step, dt):
    graph = two_layers(neuron)
    net = (
        from_nir(graph, semantics=semantics)
        if semantics != "nir"
        else from_nir(graph, semantics=semantics, dt=dt)
    )
    assert_same_spikes(graph, net, step, dt=dt)


def test_thresholds_that_are_reached_between_weight_steps_are_not_stock():
    graph = two_layers(lif(0.5, v_threshold=6.0), step=1)
    net = from_nir(graph, semantics="spikingjelly")
    assert net.profile == "extended"
    assert_same_spikes(graph, net, libraries.spikingjelly_step, dt=DT)
    assert from_nir(graph, semantics="nir", dt=DT).profile == "stock"
    whole = from_nir(two_layers(fire(1 / DT, 6.0), step=1), semantics="spikingjelly")
    assert whole.profile == "stock" and whole.output.neuron.threshold == 5


@pytest.mark.parametrize("semantics", ["nir", "spikingjelly"])
def test_semantics_differ_at_the_threshold_itself(semantics):
    graph = chain(nir.Linear(weight=np.eye(5)), fire(1 / DT, 3.0), shape=[5])
    spikes = simulate(from_nir(graph, semantics=semantics, dt=DT), np.ones((1, 5, 8), dtype=int)).spikes[0, 0]
    assert np.flatnonzero(spikes).tolist() == ([3, 7] if semantics == "nir" else [2, 5])


def test_resets_by_subtraction_keep_what_exceeds_the_threshold():
    graph = chain(nir.Linear(weight=np.eye(5) * 3), lif(0.5, v_threshold=2.0), shape=[5])
    x = np.eye(1, 6, dtype=int).reshape(1, 1, 6).repeat(5, 1)  # one spike at step 0
    potentials = {}
    for reset in ("subtract", "subtract later"):
        meaning = dataclasses.replace(SEMANTICS["snntorch"], reset=reset)
        net = from_nir(graph, semantics=meaning)
        trace = simulate(net, x, trace=True).layers["n1"]
        unit = net.layers[0].neuron.threshold[0] / 2  # one step above the threshold
        potentials[reset] = np.round(trace.potential[0, 0] / unit, 3).tolist()
    assert potentials["subtract"] == [3, 0.5, 0.25, 0.125, 0.062, 0.031]
    assert potentials["subtract later"] == [3, -0.5, -0.25, -0.125, -0.062, -0.031]


def test_several_spikes_in_a_step_reach_the_next_layer_as_a_number():
    graph = chain(
        nir.Linear(weight=np.eye(5) * 7),
        fire(1.0, 2.0),
        nir.Linear(weight=np.eye(5)),
        fire(1.0, 1.0),
        shape=[5],
    )
    net = from_nir(graph, semantics="sinabs")
    result = simulate(net, np.ones((1, 5, 4), dtype=int), trace=True)
    assert result.layers["n1"].spikes[0, 0].tolist() == [3, 4, 3, 4] == result.spikes[0, 0].tolist()
    graph.nodes["n1"] = fire(1.0, 0.02)
    with pytest.raises(ExportError, match="n1: may send 351 spikes in a step; at most 255"):
        from_nir(graph, semantics="sinabs")


def test_scalars_hold_for_all_neurons():
    graph = chain(
        nir.Conv2d((4, 4), np.ones((2, 1, 3, 3)), 1, 1, 1, 1, np.zeros(2)),
        nir.IF(r=np.array([1.0]), v_threshold=np.array([3.0])),
        nir.Flatten(input_type=None, start_dim=0),
        nir.Affine(weight=np.ones((5, 32)), bias=np.zeros(5)),
        nir.LIF(tau=np.array(2e-3), r=np.array(1.0), v_leak=np.array(0.0), v_threshold=np.array(9.0)),
        nir.Linear(weight=np.eye(5)),
        nir.LI(tau=np.array(2e-3), r=np.array(1.0), v_leak=np.array(0.25)),
        shape=[1, 4, 4],
    )
    net = from_nir(graph, semantics="norse")
    assert [layer.shape for layer in net.layers] == [(2, 4, 4), (5,), (5,)]
    x = np.random.default_rng(0).integers(0, 2, (3, 1, 4, 4, 6))
    result = simulate(net, x, trace=True)
    for sample in range(3):
        theirs = libraries.execute(graph, x[sample], libraries.norse_step, dt=1e-3)
        for name in ("n1", "n4"):
            np.testing.assert_array_equal(result.layers[name].spikes[sample], theirs[name])
        unit = net.output.neuron.bias[0] / 0.125
        np.testing.assert_allclose(result.layers["n6"].potential[sample] / unit, theirs["n6"], atol=1e-3)


def test_neurons_may_have_time_constants_of_their_own():
    keep = np.array([0.5, 0.75, 0.0, 0.5, 0.25])
    tau = 1e-3 / (1 - keep)
    neurons = nir.LIF(tau=tau, r=full(1), v_leak=full(0), v_threshold=full(0.5))
    graph = two_layers(neurons)
    net = from_nir(graph, semantics="norse")
    assert net["n1"].neuron.voltage_decay.tolist() == [2048, 1024, 4096, 2048, 3072]
    assert_same_spikes(graph, net, libraries.norse_step, dt=1e-3)
    with pytest.raises(ExportError, match="n1: time constants that differ are not supported for readouts"):
        from_nir(graph, semantics="snntorch", dt=1e-3)


@pytest.mark.lava
@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_resets_by_subtraction_run_on_lava(backend):
    net = from_nir(two_layers(lif(0.75)), semantics="snntorch")
    x = np.random.default_rng(0).integers(0, 2, (3, 7, 8))
    ours = simulate(net, x).spikes
    assert ours.any()
    np.testing.assert_array_equal(run(net, x, backend=backend).spikes, ours)
