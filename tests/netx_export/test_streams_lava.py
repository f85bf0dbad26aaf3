"""Streams on Lava: runs, graphs of a user's own, several calls of run, and unmodified lava-dl."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import generators, oracle

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError
from netx_export import FusedSimCfg, compare, network, run, simulate, write
from netx_export.backends.loihi2 import check_loihi2
from netx_export.process import Network
from netx_export.process.stream import Player, Probe, Recorder

pytestmark = pytest.mark.lava
RunSteps = import_lava("lava.magma.core.run_conditions").RunSteps
Loihi2SimCfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg


def random_input(net, num_samples, num_steps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(
        net.input.min_value, net.input.max_value + 1, (num_samples, *net.input.shape, num_steps)
    )


def has(net, what):
    connections = [(layer, c) for layer in net.layers for c in layer.connections]
    return {
        "loop": any(c.source == layer.name for layer, c in connections),
        "delay": any(c.delay is not None for _, c in connections),
        "skip": any(net.balancing_delay(layer, c) for layer, c in connections),
        "readout": net.reads_out,
    }[what]


@pytest.fixture(scope="module", params=[("loop", "skip"), ("delay", "readout")], ids="-".join)
def stream(request):
    """A stream in which every layer fires, and which biases in the filling pipeline would change."""
    for seed in range(4000):
        try:
            net = generators.as_stream(generators.random_extended(seed, num_steps=5)[0])
        except ExportError:
            continue
        if not all(has(net, what) for what in request.param) or len(net.layers) < 2:
            continue
        result = simulate(net, random_input(net, 2, 20), trace=True)
        if all(
            0.02 < (one.spikes > 0).mean() < 0.98 or net[name].neuron.reads_out
            for name, one in result.layers.items()
        ):
            return net
    raise AssertionError("no network")


@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_each_sample_of_a_run_is_a_stream_of_its_own(stream, backend, nothing_left):
    x = random_input(stream, 2, 20)
    result = compare(simulate(stream, x, trace=True), run(stream, x, backend, trace=True))
    assert result.mismatches == 0, result.first
    assert result.compared >= 2 * 20 * len(stream.layers)


def time_first(x, process):
    """``[*shape, T]`` as a Player sends it."""
    steps = np.moveaxis(x, -1, 0)
    if len(process.inp.shape) == 1:
        return steps.reshape(len(steps), -1)
    return steps.transpose(0, *range(steps.ndim - 1, 0, -1)).copy()


def channels_first(record):
    """``[steps, W, H, C]`` to ``[C, H, W, steps]``."""
    return np.moveaxis(record, 0, -1).transpose(*range(record.ndim - 2, -1, -1), record.ndim - 1)


def in_calls(net, x, calls, run_cfg, **options):
    """What a process without resets gives for one stream ``[*shape, T]`` over several calls of ``run``.

    Messages and potentials by layer, pipeline delays cut off; potentials of our graph, or of a readout.
    """
    total, steps = sum(calls), x.shape[-1]
    process = Network(net, **options)
    Player(time_first(x, process)).s_out.connect(process.inp)
    sent, potentials = {}, {}
    if isinstance(run_cfg, FusedSimCfg):
        rows = Recorder(process.trace, total)
    else:
        for layer, block in zip(net.layers, process.layers, strict=True):
            sent[layer.name] = Recorder(block.out, total)
            if hasattr(block.neuron, "v_out"):
                potentials[layer.name] = Recorder(block.neuron.v_out, total)
            elif layer.neuron.reads_out:
                potentials[layer.name] = Probe(block.neuron.v, total)
    try:
        for count in calls:
            process.run(condition=RunSteps(num_steps=count), run_cfg=run_cfg)
    finally:
        process.stop()
    found = {}
    if isinstance(run_cfg, FusedSimCfg):
        ends = np.cumsum([int(np.prod(layer.shape)) for layer in net.layers])[:-1]
        parts = (np.split(rows.record[:, i], ends, -1) for i in (0, 1))
        for layer, *both in zip(net.layers, *parts, strict=True):
            found[layer.name] = [np.moveaxis(one.reshape(-1, *layer.shape), 0, -1) for one in both]
    else:
        for name, kept in sent.items():
            found[name] = [channels_first(kept.record)]
            found[name] += [channels_first(potentials[name].record)] if name in potentials else []
    return {name: [one[..., net.depth(name) :][..., :steps] for one in both] for name, both in found.items()}


def assert_equals_simulate(net, x, found, potentials=()):
    expected = simulate(net, x[None], trace=True)
    for name, both in found.items():
        trace = expected.layers[name]
        for one, other in zip(both, (trace.spikes[0], trace.potential[0]), strict=False):
            np.testing.assert_array_equal(one, other, err_msg=name)
    return expected


def run_cfgs():
    return {"graph": lambda: Loihi2SimCfg(select_tag="fixed_pt"), "fused": FusedSimCfg}


@pytest.mark.parametrize("kind", ["graph", "fused"])
def test_a_process_carries_on_from_call_to_call(stream, kind):
    x = random_input(stream, 1, 20)[0]
    total = 20 + stream.latency
    found = in_calls(stream, x, (7, 1, total - 8), run_cfgs()[kind]())
    assert all(len(both) == 2 for both in found.values())
    assert_equals_simulate(stream, x, found)


@pytest.fixture
def stock():
    """A chain with biases that fire while the pipeline fills, and a readout that leaks."""
    net = generators.random_network(3, in_shape=(2, 6, 5), threshold=25)
    return generators.as_stream(net)


@pytest.mark.parametrize(("kind", "source"), [("graph", "network"), ("fused", "file")])
def test_stock_processes_start_from_rest_and_are_never_reset(stock, kind, source, tmp_path):
    x = random_input(stock, 1, 15)[0]
    write(stock, tmp_path / "stock.net")
    given = stock if source == "network" else tmp_path / "stock.net"
    process = Network(given)
    assert not process.clear_delays
    kinds = {type(layer.neuron).__name__ for layer in process.layers}
    assert kinds == {"LIFReset"}
    process = None
    found = in_calls(stock, x, (9, 6 + stock.latency), run_cfgs()[kind]())
    expected = assert_equals_simulate(stock, x, found)
    assert len(found["readout"]) == 2 and expected.readout.any()
    running = simulate(replace(stock, persistent=False), x[None]).readout
    np.testing.assert_array_equal(running, expected.readout)
    late = in_calls(replace(stock, persistent=False), x, (15 + stock.latency,), run_cfgs()[kind]())
    assert not np.array_equal(late["readout"][1], found["readout"][1])


@pytest.mark.parametrize("backend", ["lava", "lava-fused", "stock"])
def test_stock_streams_run_anywhere(stock, backend, nothing_left):
    x = random_input(stock, 3, 12)
    result = compare(simulate(stock, x, trace=True), run(stock, x, backend, trace=True))
    assert result.mismatches == 0, result.first


def late_network(what, bias):
    rng = np.random.default_rng(4)
    dense = network.Dense(weight=rng.integers(-50, 100, (6, 9)))
    first = network.Layer(
        name="first",
        connections=(network.Connection(source="input", synapse=dense),),
        neuron=network.LIF(threshold=60, bias=np.full(6, bias), voltage_decay=300),
        shape=(6,),
    )
    delay = np.arange(6) if what == "delay" else None
    connections = [
        network.Connection(
            source="first", synapse=network.Dense(weight=rng.integers(-50, 90, (6, 6))), delay=delay
        )
    ]
    if what == "loop":
        loop = network.Dense(weight=rng.integers(-60, 60, (6, 6)))
        connections.append(network.Connection(source="late", synapse=loop))
    neuron = network.LIF(threshold=90, bias=np.full(6, 3), voltage_decay=300)
    late = network.Layer(name="late", connections=tuple(connections), neuron=neuron, shape=(6,))
    return network.FixedPointNetwork(input=network.Input(shape=(9,)), layers=(first, late), persistent=True)


@pytest.mark.parametrize("what", ["delay", "loop"])
@pytest.mark.parametrize("backend", ["stock", "lava", "lava-fused"])
def test_one_stream_with_delays_or_loops_runs_on_stock_lava(what, backend, nothing_left):
    net = late_network(what, bias=7)
    x = random_input(net, 1, 16)
    result = run(net, x, backend, trace=True)
    found = compare(simulate(net, x, trace=True), result)
    assert found.mismatches == 0, found.first
    slow = oracle.slow_simulation(net, x[0])
    for name, (spikes, _) in slow.items():
        np.testing.assert_array_equal(result.layers[name].spikes[0], spikes)
        assert 0.05 < spikes.mean() < 0.95
    if what == "loop":
        still = replace(
            net, layers=(net.layers[0], replace(net["late"], connections=net["late"].connections[:1]))
        )
        assert compare(simulate(still, x, trace=True), result).mismatches


@pytest.mark.parametrize("what", ["delay", "loop"])
def test_streams_that_stock_lava_would_mix_are_refused_or_run_on_our_processes(what):
    net = late_network(what, bias=7)
    x = random_input(net, 2, 8)
    check_loihi2(net, 8)
    with pytest.raises(ExportError, match="late: stock Lava keeps messages .* so that samples mix"):
        check_loihi2(net, 8, num_samples=2)
    assert compare(simulate(net, x, trace=True), run(net, x, "stock", trace=True)).mismatches == 0
    assert compare(simulate(net, x, trace=True), run(net, x, "lava", trace=True)).mismatches == 0
    early = late_network(what, bias=80)
    with pytest.raises(ExportError, match="first, late: biases make spikes before the first step arrives"):
        run(early, x[:1], "stock")
    assert compare(simulate(early, x[:1], trace=True), run(early, x[:1], "lava", trace=True)).mismatches == 0
    assert Network(early).clear_delays and not Network(net).clear_delays
    for kind in ("graph", "fused"):
        found = in_calls(early, x[0], (3, 5 + early.latency), run_cfgs()[kind]())
        assert_equals_simulate(early, x[0], found)
