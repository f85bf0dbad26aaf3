"""What NIR graphs are made of: padding, loops, subgraphs, delays, and weights on a grid."""

from __future__ import annotations

import itertools

import nir
import numpy as np
import pytest
from support import nir_libraries as libraries
from support.nir_graphs import (
    DT,
    assert_same_spikes,
    chain,
    fire,
    full,
    lif,
    recurrent,
    two_layers,
)

from netx_export import from_nir, simulate, to_nir


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (4, 2), (1, 1)])
@pytest.mark.parametrize("padding", ["same", b"same", "valid"])
def test_padding_by_name(kernel, padding):
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 5, (3, 2, *kernel)).astype(float)
    conv = nir.Conv2d((6, 6), weight, 1, "same" if padding == b"same" else padding, 1, 1, np.zeros(3))
    size = (6, 6) if "same" in str(padding) else tuple(7 - k for k in kernel)
    graph = chain(conv, nir.IF(r=full(1, (3, *size)), v_threshold=full(4.5, (3, *size))), shape=[2, 6, 6])
    net = from_nir(graph, semantics="norse") if padding != b"same" else None
    if net is None:
        conv.padding = padding  # as a file gives it
        net = from_nir(graph, semantics="norse")
        conv.padding = "same"
    assert net.output.shape == (3, *size)
    assert_same_spikes(graph, net, libraries.norse_step, dt=1e-3, shape=(2, 6, 6), num_steps=4)


@pytest.mark.parametrize(
    ("semantics", "neuron", "step", "dt"),
    [
        ("norse", fire(1.0), libraries.norse_step, 1e-3),
        ("spikingjelly", lif(0.75), libraries.spikingjelly_step, DT),
        ("snntorch", lif(0.75), libraries.snntorch_step, DT),
    ],
)
@pytest.mark.parametrize("bias", [0.0, 0.125])
def test_what_neurons_send_to_themselves_arrives_a_step_later(semantics, neuron, step, dt, bias):
    graph = recurrent(neuron, bias=bias)
    net = from_nir(graph, semantics=semantics)
    assert "lif" in [connection.source for connection in net["lif"].connections]
    assert_same_spikes(graph, net, step, dt=dt)
    wrapped = from_nir(recurrent(neuron, bias=bias, wrap=True), semantics=semantics)
    assert wrapped.output.name == "block.lif"
    x = np.random.default_rng(0).integers(0, 2, (4, 7, 9))
    np.testing.assert_array_equal(simulate(wrapped, x).spikes, simulate(net, x).spikes)


def test_an_integer_loop_of_a_chain_is_stock():
    rng = np.random.default_rng(0)
    graph = recurrent(fire(1.0, 9.0), rec=rng.integers(-9, 9, (5, 5)), bias=1.0)
    graph.nodes["fc"].weight = rng.integers(-9, 12, (5, 7))
    net = from_nir(graph, semantics="norse")
    assert net.profile == "stock" and net.output.neuron.bias.tolist() == [1] * 5
    assert_same_spikes(graph, net, libraries.norse_step, dt=1e-3)


def test_subgraphs_of_residual_nets_become_connections():
    """A block whose shortcut and path are summed in front of the next block's convolution and neuron."""
    rng = np.random.default_rng(0)

    def conv(channels):
        return nir.Conv2d(
            (4, 4), rng.integers(-2, 4, (3, channels, 3, 3)) / 2, 1, 1, 1, 1, rng.integers(0, 2, 3) / 4
        )

    def neuron():
        return nir.IF(r=full(1, (3, 4, 4)), v_threshold=full(2, (3, 4, 4)))

    def ends():
        shape = np.array([3, 4, 4])
        return {"input": nir.Input(shape), "output": nir.Output(shape)}

    inner = nir.NIRGraph(
        {**ends(), "conv": conv(3), "lif": neuron()},
        [("input", "conv"), ("conv", "lif"), ("lif", "output")],
        type_check=False,
    )
    block = nir.NIRGraph(
        {**ends(), "path": inner},
        [("input", "path"), ("path", "output"), ("input", "output")],
        type_check=False,
    )
    nodes = {"input": nir.Input(np.array([2, 4, 4])), "stem": conv(2), "a": neuron(), "block": block}
    nodes |= {"head": conv(3), "b": neuron(), "output": nir.Output(np.array([3, 4, 4]))}
    names = ["input", "stem", "a", "block", "head", "b", "output"]
    net = from_nir(
        nir.NIRGraph(nodes, list(itertools.pairwise(names)), metadata={}, type_check=False), semantics="norse"
    )
    assert [layer.name for layer in net.layers] == ["a", "block.path.lif", "b"]
    assert sorted(connection.source for connection in net["b"].connections) == ["a", "block.path.lif"]
    flat = {"input": nodes["input"], "stem": nodes["stem"], "a": nodes["a"], "b": nodes["b"]}
    flat |= {"conv": inner.nodes["conv"], "block.path.lif": inner.nodes["lif"], "head": nodes["head"]}
    flat["output"] = nodes["output"]
    edges = [("input", "stem"), ("stem", "a"), ("a", "conv"), ("conv", "block.path.lif"), ("a", "head")]
    edges += [("block.path.lif", "head"), ("head", "b"), ("b", "output")]
    graph = nir.NIRGraph(flat, edges, metadata={}, type_check=False)
    assert_same_spikes(graph, net, libraries.norse_step, dt=1e-3, shape=(2, 4, 4), num_steps=6)


@pytest.mark.parametrize("place", ["front", "behind", "scalar"])
def test_delays_become_delays_of_connections(place):
    rng = np.random.default_rng(0)
    fc = nir.Linear(weight=rng.integers(-4, 9, (5, 7)) / 8)
    steps = {"front": rng.integers(0, 5, 7), "behind": rng.integers(0, 5, 5), "scalar": np.array(3)}[place]
    delay = nir.Delay(delay=steps * 2e-3)
    nodes = [fc, delay] if place == "behind" else [delay, fc]
    graph = chain(*nodes, fire(1.0), shape=[7], metadata={"dt": 2e-3})
    net = from_nir(graph, semantics="norse")
    expected = {"front": steps[None], "behind": steps, "scalar": np.full(5, 3)}[place]
    np.testing.assert_array_equal(net.output.connections[0].delay, expected)
    assert_same_spikes(graph, net, libraries.norse_step, dt=2e-3)


def test_delays_in_front_of_a_convolution_are_those_of_its_input_channels():
    rng = np.random.default_rng(0)
    steps = np.array([2, 0, 1])
    conv = nir.Conv2d((3, 3), rng.integers(-2, 4, (2, 3, 3, 3)) / 2, 1, 1, 1, 1, np.zeros(2))
    spread = np.broadcast_to(steps[:, None, None], (3, 3, 3)) * 1e-3
    neurons = nir.IF(r=full(1, (2, 3, 3)), v_threshold=full(4, (2, 3, 3)))
    graph = chain(nir.Delay(delay=spread), conv, neurons, shape=[3, 3, 3])
    net = from_nir(graph, semantics="norse")
    np.testing.assert_array_equal(net.output.connections[0].delay, steps[None])
    assert_same_spikes(graph, net, libraries.norse_step, dt=1e-3, shape=(3, 3, 3), num_steps=6)
    back = from_nir(to_nir(net))
    np.testing.assert_array_equal(back.output.connections[0].delay, steps[None])


def test_a_batch_axis_of_the_input_is_no_axis_of_samples():
    graph = two_layers(fire(1.0))
    net = from_nir(graph, semantics="norse")
    graph.nodes["input"] = nir.Input(np.array([1, 7]))
    assert from_nir(graph, semantics="norse") == net


def test_dense_nodes_in_a_row_are_one():
    rng = np.random.default_rng(0)
    first = nir.Affine(weight=rng.integers(-2, 4, (6, 7)) / 2, bias=np.full(6, 0.5))
    graph = chain(first, nir.Linear(weight=rng.integers(-2, 4, (5, 6)) / 2), fire(1.0, 3.0), shape=[7])
    assert_same_spikes(graph, from_nir(graph, semantics="norse"), libraries.norse_step, dt=1e-3)


def test_weights_that_are_multiples_of_one_step_keep_it():
    weight = np.array([[0.3, -0.3, 0.3], [0.7, -1.4, 2.1], [0.0, 0.25, -0.25]])
    neuron = nir.IF(r=np.array(1.0), v_threshold=np.array(1.0))
    net = from_nir(chain(nir.Linear(weight=weight), neuron, shape=[3]), semantics="norse")
    np.testing.assert_array_equal(
        net.output.connections[0].synapse.weight, [[1, -1, 1], [1, -2, 3], [0, 1, -1]]
    )
