"""Runs on Lava: equal results on all backends, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, NetXFormatError, OptionError, ShapeError
from netx_export import compare, network, run, simulate
from netx_export.backends import runtime

pytestmark = pytest.mark.lava
ON_LAVA = ("lava", "lava-fused", "stock")


def bias_network():
    dense = network.Dense(weight=np.arange(8).reshape(2, 4) - 3)
    return network.FixedPointNetwork(
        input=network.Input(shape=(4,), bits=13, signed=True),
        layers=(
            network.Layer(
                name="pixels",
                connections=(network.Connection(source="input", synapse=network.BiasInput()),),
                neuron=network.LIF(threshold=30, bias=np.zeros(4, int), voltage_decay=500),
                shape=(4,),
            ),
            network.Layer(
                name="out",
                connections=(network.Connection(source="pixels", synapse=dense),),
                neuron=network.LIF(threshold=3, bias=np.ones(2, int)),
                shape=(2,),
            ),
        ),
    )


@pytest.mark.parametrize("backend", ON_LAVA)
def test_an_input_as_bias_may_change_at_every_step(backend, nothing_left):
    net = bias_network()
    x = np.random.default_rng(0).integers(-9, 60, (3, 4, 7))
    result = compare(simulate(net, x, trace=True), run(net, x, backend, trace=True))
    assert result.mismatches == 0, result.first
    assert result.compared == 3 * 7 * 6


def late_network(loop):
    rng = np.random.default_rng(4)
    connections = [
        network.Connection(
            source="input", synapse=network.Dense(weight=rng.integers(-50, 100, (6, 9))), delay=np.arange(6)
        )
    ]
    if loop:
        weight = rng.integers(-60, 60, (6, 6))
        connections.append(network.Connection(source="late", synapse=network.Dense(weight=weight)))
    neuron = network.LIF(threshold=90, bias=np.full(6, 20), voltage_decay=300)
    layer = network.Layer(name="late", connections=tuple(connections), neuron=neuron, shape=(6,))
    return network.FixedPointNetwork(
        input=network.Input(shape=(9,)), layers=(layer,), profile="extended" if loop else "stock"
    )


@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_samples_do_not_mix_through_delays_and_loops(backend, make_data):
    net = late_network(loop=True)
    x = make_data(net, num_samples=3, num_steps=8)
    result = compare(simulate(net, x, trace=True), run(net, x, backend, trace=True))
    assert result.mismatches == 0, result.first


def test_what_is_no_network_or_no_data_is_refused(make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    with pytest.raises(
        OptionError,
        match=r"run: net is a Linear; use a FixedPointNetwork, from convert\(model\) or read\(path\)",
    ):
        run(torch.nn.Linear(2, 3), make_data(net))
    with pytest.raises(NetXFormatError, match=r"demo.net: no such file; give the path of a .net file"):
        run("demo.net", make_data(net))
    with pytest.raises(
        ShapeError, match=r"data: this Tensor is no array of numbers; use \.detach\(\)\.cpu\(\)\.numpy\(\)"
    ):
        run(net, torch.zeros(1, 9, 4, requires_grad=True))
    with pytest.raises(OptionError, match=r"run: timeout=-1 is not allowed; use seconds > 0"):
        run(net, make_data(net), "lava", timeout=-1)


def test_backends_refuse_what_they_cannot_compute(make_data, slow):
    net = late_network(loop=False)
    net = network.FixedPointNetwork(input=net.input, layers=net.layers, profile="extended")
    with pytest.raises(ExportError, match="profile 'stock' only; use backend 'lava'"):
        run(net, make_data(net), "stock")
    with pytest.raises(OptionError, match="run: option='speed' is unknown"):
        run(net, make_data(net), "lava", speed=1)


def first_valid(slow, seed):
    while True:
        try:
            net, steps = slow.random_network(seed)
        except ExportError:
            seed += 1
            continue
        if net.max_steps is None or net.max_steps >= steps:
            return net, steps
        seed += 1


@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_potentials_of_all_layers_are_traced(backend, slow, nothing_left):
    net, steps = first_valid(slow, 21_000)
    x = np.random.default_rng(1).integers(0, net.input.max_value + 1, (3, *net.input.shape, steps))
    expected, found = simulate(net, x, trace=True), run(net, x, backend, trace=True)
    for name, trace in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name].spikes, trace.spikes, err_msg=name)
        np.testing.assert_array_equal(found.layers[name].potential, trace.potential, err_msg=name)
        assert found.layers[name].spikes.dtype == trace.spikes.dtype
    assert found.latency == expected.latency


def test_models_of_a_class_of_processes_are_looked_for_once(make_network, make_data, monkeypatch):
    """Lava's compiler would execute all modules beside a process for each process anew."""
    net = make_network(in_shape=(9,), convs=(), dense=(8, 6, 5))
    graphs = import_lava("lava.magma.compiler.compiler_graphs").ProcGroupDiGraphs
    find, asked = graphs._find_proc_models, []
    monkeypatch.setattr(runtime, "_models", {})
    monkeypatch.setattr(
        graphs, "_find_proc_models", staticmethod(lambda proc: asked.append(type(proc)) or find(proc))
    )
    for _ in range(2):
        run(net, make_data(net), "stock")
    assert len(asked) == len(set(asked)) > 3


@pytest.mark.parametrize("whole", [False, True])
def test_a_factor_per_step_acts_at_its_step_in_every_backend(whole):
    rng = np.random.default_rng(0)
    omega = np.full((4, 4), 1024) if whole else None
    layer = network.Layer(
        name="dense",
        connections=(
            network.Connection(source="input", synapse=network.Dense(weight=rng.integers(-3, 9, (6, 5)))),
        ),
        neuron=network.MultiThreshold(threshold=700, levels=3, lam=np.array([4096, 1000, 6000, 0])),
        shape=(6,),
        mix=None if omega is None else network.Mix(omega=omega),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(5,)), layers=(layer,), profile="extended")
    x = rng.integers(0, 2, (3, 5, 4))
    expected = simulate(net, x).spikes
    assert len(np.unique(expected)) > 2
    for backend in ("lava", "lava-fused"):
        np.testing.assert_array_equal(run(net, x, backend).spikes, expected, err_msg=backend)
