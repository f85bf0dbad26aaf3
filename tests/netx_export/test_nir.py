from __future__ import annotations

import itertools

import nir
import numpy as np
import pytest
from support import nir_libraries

from lava_bsnn.errors import ExportError
from netx_export import FixedPointNetwork, network, simulate
from netx_export.nir import from_nir, to_nir


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(bits=8, weight_limit=9, threshold=900),
        dict(in_shape=(4, 7, 4), groups=2, convs=((6, 3, 2, 1), (4, 1, 1, 0)), classes=0),
        dict(in_shape=(9,), convs=(), dense=(8, 6), weight_limit=127, threshold=150),
    ],
)
@pytest.mark.parametrize("through_file", [False, True])
def test_a_round_trip_of_a_stock_network_gives_the_same_network(
    make_network, tmp_path, options, through_file
):
    net = make_network(**options)
    graph = to_nir(net)
    if through_file:
        nir.write(tmp_path / "x.nir", graph)
        graph = nir.read(tmp_path / "x.nir", type_check=False)
    assert from_nir(graph) == net


@pytest.mark.parametrize("current_decay", [4096, 1000])
@pytest.mark.parametrize("voltage_decay", [0, 2048, 4096, 700])
def test_the_graph_computes_what_the_network_computes(voltage_decay, current_decay):
    rng = np.random.default_rng(0)
    conv = network.Conv(weight=rng.integers(-40, 41, (4, 2, 3, 2)), stride=(2, 1), padding=(1, 0))
    lif = dict(voltage_decay=voltage_decay, current_decay=current_decay)
    first = network.Layer(
        name="conv",
        connections=(network.Connection(source="input", synapse=conv),),
        neuron=network.LIF(threshold=60, bias=rng.integers(-9, 30, 4), **lif),
        shape=(4, 3, 4),
    )
    dense = network.Dense(weight=rng.integers(-40, 41, (5, 48)))
    second = network.Layer(
        name="dense",
        connections=(network.Connection(source="conv", synapse=dense),),
        neuron=network.LIF(threshold=80, bias=rng.integers(-9, 30, 5), **lif),
        shape=(5,),
    )
    net = FixedPointNetwork(input=network.Input(shape=(2, 5, 5)), layers=(first, second))
    if current_decay < 4096 and voltage_decay == 0:
        with pytest.raises(ExportError, match="conv: NIR has no CubaLIF with .*; dense: NIR has no"):
            to_nir(net)
        return
    graph = to_nir(net)
    assert from_nir(graph) == net
    x = rng.integers(0, 2, (2, 5, 5, 12))
    result = simulate(net, x[None], trace=True)
    exact = current_decay == 4096 and voltage_decay != 700  # these never round
    for name, spikes in nir_libraries.execute(graph, x, nir_libraries.nir_step, dt=1e-3).items():
        ours = result.layers[name].spikes[0]
        assert 0.05 < ours.mean() < 0.95
        assert (spikes == ours).all() if exact else (spikes == ours).mean() > 0.97, name


def skip_network(seed=0):
    """1-bit convolutions with identity and 1x1 skips, thresholds per channel, and a readout."""
    rng = np.random.default_rng(seed)

    def conv(source, channels, kernel, **options):
        weight = rng.choice([-1, 1], (4, channels, kernel, kernel))
        synapse = network.Conv(weight=weight, padding=(kernel // 2, kernel // 2), **options)
        scale, bias = rng.integers(30, 200, 4), rng.integers(-99, 99, 4)
        return network.Connection(source=source, synapse=synapse, scale=scale, bias=bias)

    def lif():
        return network.LIF(
            threshold=rng.integers(100, 700, 4), bias=rng.integers(-9, 99, 4), voltage_decay=2048, exponent=0
        )

    skip = network.Connection(source="a", synapse=network.Identity(), scale=rng.integers(30, 200, 4))
    dense = network.Dense(weight=rng.integers(-99, 99, (3, 80)))
    readout = network.Connection(source="b", synapse=dense)
    layers = (
        network.Layer(name="a", connections=(conv("input", 2, 3),), neuron=lif(), shape=(4, 4, 5)),
        network.Layer(
            name="b", connections=(conv("a", 4, 3), skip, conv("input", 2, 1)), neuron=lif(), shape=(4, 4, 5)
        ),
        network.Layer(
            name="readout",
            connections=(readout,),
            neuron=network.Readout(bias=rng.integers(-9, 9, 3), exponent=0),
            shape=(3,),
        ),
    )
    return FixedPointNetwork(input=network.Input(shape=(2, 4, 5)), layers=layers, profile="extended")


def test_skips_survive_the_round_trip_spike_for_spike():
    net = skip_network()
    back = from_nir(to_nir(net))
    assert back.profile == "extended"
    x = np.random.default_rng(1).integers(0, 2, (3, 2, 4, 5, 9))
    ours, theirs = simulate(net, x, trace=True), simulate(back, x, trace=True)
    for name, trace in ours.layers.items():
        np.testing.assert_array_equal(trace.spikes, theirs.layers[name].spikes, err_msg=name)
    np.testing.assert_array_equal(ours.readout, theirs.readout)
    assert ours.layers["b"].spikes.mean() > 0.05
    assert back.summary().weight_bits == net.summary().weight_bits


@pytest.mark.parametrize("pool", [nir.SumPool2d, nir.AvgPool2d])
@pytest.mark.parametrize("behind", ["conv", "dense", "neuron"])
def test_poolings_merge_into_what_is_behind_them(pool, behind):
    rng = np.random.default_rng(0)
    shape = {"conv": (3, 2, 2), "dense": (6,), "neuron": (2, 3, 2)}[behind]
    nodes = {
        "input": nir.Input(input_type={"input": np.array([2, 6, 6])}),
        "pool": pool(kernel_size=np.array([2, 3]), stride=np.array([2, 3]), padding=np.array([0, 0])),
        "lif": nir.LIF(
            tau=np.full(shape, 2e-3),
            r=np.full(shape, 2.0),
            v_leak=np.zeros(shape),
            v_threshold=np.full(shape, 0.7 if behind != "neuron" or pool is nir.AvgPool2d else 1.0),
        ),
        "output": nir.Output(output_type={"output": np.array(shape)}),
    }
    chain = ["input", "pool"]
    if behind == "conv":
        weight = rng.normal(size=(3, 2, 2, 1))
        nodes["conv"] = nir.Conv2d((3, 2), weight, 1, 0, 1, 1, rng.normal(size=3) / 9)
        chain.append("conv")
    elif behind == "dense":
        nodes["flatten"] = nir.Flatten(input_type={"input": np.array([2, 3, 2])}, start_dim=0)
        nodes["affine"] = nir.Affine(weight=rng.normal(size=(6, 12)), bias=rng.normal(size=6) / 9)
        chain += ["flatten", "affine"]
    chain += ["lif", "output"]
    graph = nir.NIRGraph(nodes, list(itertools.pairwise(chain)), metadata={}, type_check=False)
    net = from_nir(graph, dt=1e-3, semantics="nir")
    x = rng.integers(0, 2, (40, 2, 6, 6, 1))
    result = simulate(net, x).spikes[..., 0]
    pooled = x[..., 0].reshape(40, 2, 3, 2, 2, 3).sum((3, 5)) / (6 if pool is nir.AvgPool2d else 1)
    if behind == "conv":
        current = np.einsum("ncij,ocab->noij", pooled[:, :, :2] * 0, nodes["conv"].weight)
        for row in range(2):
            window = pooled[:, :, row : row + 2]
            current[:, :, row] = np.einsum("nchw,och->now", window, nodes["conv"].weight[..., 0])
        current += nodes["conv"].bias[:, None, None]
    elif behind == "dense":
        current = pooled.reshape(40, -1) @ nodes["affine"].weight.T + nodes["affine"].bias
    else:
        current = pooled
    threshold = nodes["lif"].v_threshold
    clear = np.abs(current - threshold) > (0.05 if behind != "neuron" else 1e-6)  # 8-bit weights
    np.testing.assert_array_equal(result[clear], (current > threshold)[clear])
    assert clear.mean() > 0.7 and 0.02 < result.mean() < 0.98


def graph_with(**nodes):
    shape = (3,)
    nodes = {
        "input": nir.Input(input_type={"input": np.array(shape)}),
        "affine": nir.Affine(weight=np.eye(3), bias=np.zeros(3)),
        "if": nir.IF(r=np.full(shape, 1000.0), v_threshold=np.ones(shape)),
        "output": nir.Output(output_type={"output": np.array(shape)}),
        **nodes,
    }
    return nir.NIRGraph(
        nodes, [("input", "affine"), ("affine", "if"), ("if", "output")], metadata={}, type_check=False
    )


def two_neurons(first):
    """A neuron node, and another one behind it."""
    graph = graph_with(**{"if": first, "behind": nir.IF(r=np.full(3, 1000.0), v_threshold=np.ones(3))})
    graph.edges = [*graph.edges[:2], ("if", "behind"), ("behind", "output")]
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (graph_with(affine=nir.Threshold(threshold=np.ones(3))), "affine: node Threshold is not supported"),
        (
            two_neurons(nir.LI(tau=np.ones(3), r=np.ones(3), v_leak=np.ones(3))),
            "if: node LI sends no spikes, so it must be the last",
        ),
        (two_neurons(nir.I(r=np.ones(3))), "if: node I sends no spikes, so it must be the last"),
        (
            graph_with(**{"if": nir.Threshold(threshold=np.ones(3))}),
            "if: node Threshold is not supported",
        ),
        (graph_with(affine=nir.Linear(weight=np.full((3, 3), np.nan))), "affine: weight or bias has values"),
        (
            graph_with(
                **{
                    "if": nir.LIF(
                        tau=np.full(3, 1e-4), r=np.ones(3), v_leak=np.zeros(3), v_threshold=np.ones(3)
                    )
                }
            ),
            "if: tau of 0.0001 s is shorter than the time step of 0.001 s",
        ),
    ],
)
def test_what_is_not_supported_is_named(graph, message):
    with pytest.raises(ExportError, match=message):
        from_nir(graph, dt=1e-3, semantics="nir")


def test_layers_beyond_nir_are_named():
    layer = network.Layer(
        name="mht",
        connections=(network.Connection(source="input", synapse=network.Identity()),),
        neuron=network.MultiThreshold(threshold=9, levels=2),
        shape=(3,),
    )
    net = FixedPointNetwork(input=network.Input(shape=(3,)), layers=(layer,), profile="extended")
    with pytest.raises(ExportError, match="mht: NIR has no MultiThreshold neuron"):
        to_nir(net)
