"""Graphs as libraries write them, and graphs for their readers, against those libraries' equations."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import nir
import numpy as np
import pytest
from support import nir_libraries as libraries

from lava_bsnn.errors import ExportError, OptionError
from netx_export import FixedPointNetwork, from_nir, network, run, simulate, to_nir
from netx_export.nir import SEMANTICS

DT = 1e-4


def full(value, shape=(5,)):
    return np.full(shape, float(value))


def lif(keep, *, dt=DT, r=None, shape=(5,), **options):
    tau = dt / (1 - keep)
    values = {"v_leak": 0.0, "v_threshold": 1.0, **options}
    r = tau / dt if r is None else r
    return nir.LIF(tau=full(tau, shape), r=full(r, shape), **{k: full(v, shape) for k, v in values.items()})


def cuba(keep_syn, keep, *, dt=DT, **options):
    syn, mem = dt / (1 - keep_syn), dt / (1 - keep)
    values = {"r": mem / dt, "w_in": syn / dt, "v_leak": 0.0, "v_threshold": 1.0, **options}
    return nir.CubaLIF(tau_syn=full(syn), tau_mem=full(mem), **{k: full(v) for k, v in values.items()})


def fire(r, threshold=1.0):
    return nir.IF(r=full(r), v_threshold=full(threshold))


def exponential(alpha, threshold=1.0):
    """A LIF of Sinabs that keeps ``alpha``."""
    return lif(0.5, dt=-0.5 / np.log(alpha), r=1.0, v_threshold=threshold)


def chain(*nodes, shape, metadata=None):
    named = {f"n{index}": node for index, node in enumerate(nodes)}
    named = {"input": nir.Input(np.array(shape)), **named, "output": nir.Output(np.array([5]))}
    return nir.NIRGraph(named, list(itertools.pairwise(named)), metadata=metadata or {}, type_check=False)


def two_layers(neuron, *, step=1 / 8, bias=0.0, seed=0):
    """Two dense layers whose weights are multiples of ``step``, so that nothing is rounded."""
    rng = np.random.default_rng(seed)
    first = nir.Affine(weight=rng.integers(-5, 9, (5, 7)) * step, bias=np.full(5, bias))
    second = nir.Linear(weight=rng.integers(-4, 9, (5, 5)) * step)
    return chain(first, neuron, second, neuron, shape=[7])


def assert_same_spikes(graph, net, step, *, dt, seed=1, num_steps=10, shape=(7,)):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (12, *shape, num_steps))
    result = simulate(net, x, trace=True)
    counts = 0
    for sample in range(len(x)):
        for name, theirs in libraries.execute(graph, x[sample], step, dt=dt).items():
            counts += theirs.sum()
            if name in result.layers:
                np.testing.assert_array_equal(result.layers[name].spikes[sample], theirs, err_msg=name)
    assert counts > 60


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


def recurrent(neuron, *, rec=None, wrap=False, bias=0.0):
    rng = np.random.default_rng(0)
    rec = rng.integers(-6, 5, (5, 5)) / 8 if rec is None else rec
    weights = nir.Affine(weight=rec, bias=np.full(5, bias))
    outer = {"input": nir.Input(np.array([7])), "fc": nir.Linear(weight=rng.integers(-4, 9, (5, 7)) / 8)}
    loop = [("lif", "w_rec"), ("w_rec", "lif")]
    if wrap:
        ends = {"input": nir.Input(np.array([5])), "output": nir.Output(np.array([5]))}
        inner = nir.NIRGraph(
            {**ends, "lif": neuron, "w_rec": weights},
            [("input", "lif"), ("lif", "output"), *loop],
            type_check=False,
        )
        nodes = {**outer, "block": inner, "output": nir.Output(np.array([5]))}
        edges = [("input", "fc"), ("fc", "block"), ("block", "output")]
    else:
        nodes = {**outer, "lif": neuron, "w_rec": weights, "output": nir.Output(np.array([5]))}
        edges = [*loop, ("input", "fc"), ("fc", "lif"), ("lif", "output")]  # in any order
    return nir.NIRGraph(nodes, edges, metadata={}, type_check=False)


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


@pytest.mark.lava
@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_resets_by_subtraction_run_on_lava(backend):
    net = from_nir(two_layers(lif(0.75)), semantics="snntorch")
    x = np.random.default_rng(0).integers(0, 2, (3, 7, 8))
    ours = simulate(net, x).spikes
    assert ours.any()
    np.testing.assert_array_equal(run(net, x, backend=backend).spikes, ours)


# the time step, and what nothing tells


@pytest.mark.parametrize("neuron", [lif(0.5), cuba(0.5, 0.5), fire(1 / DT)])
def test_a_missing_time_step_is_asked_for_where_one_is_needed(neuron):
    graph = two_layers(neuron)
    with pytest.raises(ExportError, match=r"n1: \w+ needs the time step .* give dt= in seconds"):
        from_nir(graph, semantics="nir")
    net = from_nir(graph, semantics="nir", dt=DT)
    graph.metadata["dt"] = DT
    assert from_nir(graph, semantics="nir") == net
    graph.metadata["dt"] = 1.0  # the argument wins
    assert from_nir(graph, semantics="nir", dt=DT) == net
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ExportError, match="dt=.* is not allowed"):
            from_nir(graph, semantics="nir", dt=wrong)


def test_the_error_knows_the_time_step_of_snntorch():
    with pytest.raises(ExportError, match=r"tau / r = 0.0001 s looks like the dt of snnTorch"):
        from_nir(two_layers(lif(0.9)), semantics="nir")


def test_an_unsigned_graph_brings_one_warning():
    graph = two_layers(fire(1.0))
    with pytest.warns(UserWarning, match="IF adds its input once per step; if it is of 'snntorch'") as found:
        net = from_nir(graph)
    assert len(found) == 1 and found[0].filename == __file__
    assert net == from_nir(graph, semantics="norse")
    with pytest.warns(UserWarning, match="taken as NIR's equations with hard reset; if"):
        net = from_nir(two_layers(fire(1 / DT)), dt=DT)
    assert net == from_nir(two_layers(fire(1 / DT)), semantics="nir", dt=DT)
    with pytest.raises(OptionError, match="from_nir: semantics='brian' is unknown; use one of 'nir'"):
        from_nir(graph, semantics="brian")


def test_tau_below_a_step_tells_of_norse():
    with pytest.raises(ExportError, match="n1: tau of 1e-05 s is shorter than the time step of 0.001 s"):
        from_nir(two_layers(lif(0.0, dt=1e-5)), semantics="norse")


@pytest.mark.parametrize(
    ("graph", "semantics", "message"),
    [
        (two_layers(cuba(0.5, 0.5)), "snntorch", "n1: a CubaLIF with reset by subtraction is not supported"),
        (two_layers(lif(0.5, dt=-1e-4)), "snntorch", "n1: tau of -0.0002 s is not allowed; use more than 0"),
        (two_layers(lif(0.5, v_reset=0.5)), "snntorch", "n1: v_reset other than 0 has no meaning"),
        (
            chain(nir.Linear(np.eye(5)), nir.Linear(np.ones((5, 4))), fire(1), shape=[5]),
            "norse",
            "n1: takes 4 in",
        ),
        (
            chain(nir.Delay(full(2.5e-3)), fire(1), shape=[5]),
            "norse",
            "n0: delays must be whole steps of 0.001",
        ),
        (chain(nir.Delay(full(1)), fire(1e4), shape=[5]), None, "n0: nothing tells how many steps"),
        (
            chain(nir.Affine(np.eye(5), full(1)), nir.Delay(full(1)), fire(1), shape=[5]),
            "sinabs",
            "behind a bias",
        ),
        (
            chain(nir.Linear(np.eye(5)), nir.IF(full(1, (3,)), full(1, (3,))), shape=[5]),
            "norse",
            "does not fit neur",
        ),
        (
            chain(
                nir.Conv2d((4, 4), np.ones((2, 3, 9, 9)), 1, 0, 1, 1, full(0, (2,))), fire(1), shape=[3, 4, 4]
            ),
            "norse",
            "n0: conv kernel",
        ),
        (
            chain(
                nir.Conv2d((4, 4), np.ones((2, 3, 2, 2)), 1, "same", 3, 1, full(0, (2,))),
                fire(1),
                shape=[3, 4, 4],
            ),
            "norse",
            "n0: padding='same'",
        ),
    ],
)
def test_what_a_graph_cannot_mean_here_is_named(graph, semantics, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ExportError, match=message):
            from_nir(graph, semantics=semantics)


def test_neurons_in_a_cycle_and_loops_without_neuron_are_named():
    graph = recurrent(fire(1.0))
    graph.nodes["other"] = fire(1.0)
    graph.edges = [
        ("input", "fc"),
        ("fc", "lif"),
        ("lif", "other"),
        ("other", "w_rec"),
        ("w_rec", "lif"),
        ("lif", "output"),
    ]
    with pytest.raises(ExportError, match="neurons feed each other in a cycle"):
        from_nir(graph, semantics="norse")
    graph.edges = [("input", "fc"), ("fc", "w_rec"), ("w_rec", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    with pytest.raises(ExportError, match="w_rec: the graph has a cycle without a neuron"):
        from_nir(graph, semantics="norse")
    graph.edges = [("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    with pytest.raises(ExportError, match="lif: nothing leads from the input to it"):
        from_nir(graph, semantics="norse")
    readout = recurrent(nir.I(r=full(1)))
    with pytest.raises(ExportError, match="lif: node I sends no spikes, so it must be the last"):
        from_nir(readout, semantics="norse")
    graph.edges = [("lif", "nowhere"), ("lif", "output")]
    with pytest.raises(ExportError, match="nowhere: an edge names it"):
        from_nir(graph, semantics="norse")


# for readers

READERS = {
    "nir": libraries.nir_step,
    "snntorch": libraries.snntorch_reader,
    "norse": libraries.norse_reader,
    "spikingjelly": libraries.spikingjelly_step,
}


def dense_network(*, seed=0, loop=False, exponent=6, delay=None, **neuron):
    rng = np.random.default_rng(seed)
    neuron = {"threshold": 9, "bias": rng.integers(-2, 3, 5), **neuron}
    options = {} if exponent == 6 else {"scale": rng.integers(40, 90, 5)}
    connections = [
        network.Connection(
            source="input", synapse=network.Dense(weight=rng.integers(-5, 9, (5, 7))), delay=delay, **options
        )
    ]
    if loop:
        weights = network.Dense(weight=rng.integers(-5, 5, (5, 5)))
        connections.append(network.Connection(source="a", synapse=weights))
    layer = network.Layer(
        name="a", connections=tuple(connections), neuron=network.LIF(exponent=exponent, **neuron), shape=(5,)
    )
    return FixedPointNetwork(
        input=network.Input(shape=(7,)), layers=(layer,), profile="stock" if exponent == 6 else "extended"
    )


@pytest.mark.parametrize("semantics", READERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"voltage_decay": 1024},
        {"voltage_decay": 2048, "current_decay": 1024, "bias": np.zeros(5, dtype=int), "threshold": 30},
        {"loop": True, "voltage_decay": 2048},
        {"exponent": 0, "threshold": np.array([400, 500, 600, 700, 800])},
        {"exponent": 0, "threshold": 800, "voltage_decay": np.array([0, 1024, 2048, 3072, 4096])},
        {
            "exponent": 0,
            "threshold": 1800,
            "voltage_decay": np.array([512, 1024, 2048, 3072, 4096]),
            "current_decay": np.array([2048, 4096, 1024, 2048, 4096]),
            "bias": np.zeros(5, dtype=int),
        },
    ],
)
def test_what_is_written_computes_the_same_in_its_reader(semantics, options):
    net = dense_network(**options)
    if semantics == "spikingjelly" and np.ndim(net.output.neuron.voltage_decay):
        with pytest.raises(ExportError, match="a: the reader of .* has one decay for all neurons of a layer"):
            to_nir(net, semantics=semantics)
        return
    graph = to_nir(net, semantics=semantics)
    assert_same_spikes(graph, net, READERS[semantics], dt=graph.metadata["dt"])
    back = from_nir(graph)
    x = np.random.default_rng(2).integers(0, 2, (20, 7, 10))
    np.testing.assert_array_equal(simulate(back, x).spikes, simulate(net, x).spikes)
    if net.profile == "stock" and semantics in ("nir", "snntorch"):
        assert back == net


@pytest.mark.parametrize(
    "delay", [np.array([0, 3, 1, 0, 2]), np.full(5, 2), np.array([[0, 3, 1, 0, 2, 1, 4]])]
)
@pytest.mark.parametrize("loop", [False, True])
def test_delays_are_written_and_read(delay, loop):
    options = {"exponent": 0, "threshold": 700} if loop or delay.ndim == 2 else {}
    net = dense_network(delay=delay, loop=loop, bias=np.zeros(5, dtype=int), **options)
    graph = to_nir(net, dt=2e-3)
    assert_same_spikes(graph, net, libraries.nir_step, dt=2e-3)
    back = from_nir(graph)
    np.testing.assert_array_equal(back.output.connections[0].delay, delay)
    x = np.random.default_rng(2).integers(0, 2, (20, 7, 10))
    np.testing.assert_array_equal(simulate(back, x).spikes, simulate(net, x).spikes)
    assert back == net or options
    if np.ptp(delay) and delay.ndim == 1:
        with pytest.raises(ExportError, match="a: NIR delays a bias with its channel"):
            to_nir(dense_network(delay=delay))
    with pytest.raises(ExportError, match="a: the reader of semantics='norse' has no delays"):
        to_nir(net, semantics="norse")


def residual_network(shape=(2, 3, 3), **second):
    """A grouped convolution, and an identity with scale and bias beside it."""
    rng = np.random.default_rng(0)
    one = network.Conv(weight=rng.integers(-5, 9, (2, 1, 3, 3)), padding=(1, 1), groups=2)
    lif = {"threshold": np.array([300, 500]), "bias": rng.integers(-9, 30, 2), "exponent": 0}
    layers = [
        network.Layer(
            name="a",
            connections=(network.Connection(source="input", synapse=one),),
            neuron=network.LIF(**lif),
            shape=shape,
        )
    ]
    skip = network.Connection(
        source="a", synapse=network.Identity(), scale=np.array([90, 200]), bias=np.array([5, 0])
    )
    main = network.Connection(
        source="a", synapse=dataclasses.replace(one, groups=1, weight=rng.integers(-5, 9, (2, 2, 3, 3)))
    )
    neuron = network.LIF(**{**lif, "voltage_decay": 1024, **second})
    layers.append(network.Layer(name="b", connections=(main, skip), neuron=neuron, shape=shape))
    return FixedPointNetwork(input=network.Input(shape=shape), layers=tuple(layers), profile="extended")


@pytest.mark.parametrize("semantics", ["nir", "snntorch", "norse"])
def test_scales_of_shortcuts_are_convolutions_where_readers_know_no_scale(semantics):
    net = residual_network()
    graph = to_nir(net, semantics=semantics)
    assert_same_spikes(graph, net, READERS[semantics], dt=graph.metadata["dt"], shape=(2, 3, 3), num_steps=6)
    with pytest.raises(
        ExportError, match="a: the reader of semantics='spikingjelly' has no grouped conv.*; b: "
    ):
        to_nir(net, semantics="spikingjelly")


def test_what_a_reader_cannot_take_is_named():
    net = dense_network(voltage_decay=1024, current_decay=1024)
    for semantics in ("snntorch", "norse", "spikingjelly"):
        with pytest.raises(
            ExportError, match=f"a: the reader of semantics='{semantics}' has no bias behind a dec"
        ):
            to_nir(net, semantics=semantics)
    with pytest.raises(ExportError, match="'spikingjelly' has no LIF without memory"):
        to_nir(dense_network(voltage_decay=4096), semantics="spikingjelly")
    with pytest.raises(
        ExportError, match="to_nir: dt=0.001 is not what the reader of semantics='snntorch' assumes"
    ):
        to_nir(dense_network(), semantics="snntorch", dt=1e-3)
    with pytest.raises(
        OptionError, match="to_nir: semantics='sinabs' is unknown; use one of 'nir', 'snntorch'"
    ):
        to_nir(dense_network(), semantics="sinabs")
    with pytest.raises(ExportError, match="to_nir: dt=0 is not allowed"):
        to_nir(dense_network(), dt=0)
    readout = network.Layer(
        name="r",
        connections=(
            network.Connection(source="input", synapse=network.Dense(weight=np.eye(3, 7, dtype=int))),
        ),
        neuron=network.Readout(bias=np.zeros(3, dtype=int)),
        shape=(3,),
    )
    net = FixedPointNetwork(input=network.Input(shape=(7,)), layers=(readout,))
    with pytest.raises(ExportError, match="r: the reader of semantics='norse' has no readout"):
        to_nir(net, semantics="norse")
    assert from_nir(to_nir(net, dt=5e-3)) == net
