"""The network as a Lava process, fused into one and as a graph per layer, against the stepper."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, NetXFormatError, ShapeError
from netx_export import FusedSimCfg, network, write
from netx_export.process import Network
from netx_export.process.stream import Recorder
from netx_export.simulator.stepper import stream

pytestmark = pytest.mark.lava
io = import_lava("lava.proc.io")
RunSteps = import_lava("lava.magma.core.run_conditions").RunSteps
Loihi2SimCfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg
Monitor = import_lava("lava.proc.monitor.process").Monitor


def per_layer():
    return Loihi2SimCfg(select_tag="fixed_pt")


def in_lava(process, x, run_cfg, *, trace=False):
    """What a process between a source and sinks sends, C, H, W; with trace, of all layers."""
    steps = x.shape[-1]
    shaped = x.reshape(-1, steps) if len(process.inp.shape) == 1 else x.transpose(2, 1, 0, 3)
    source = io.source.RingBuffer(data=shaped)
    source.s_out.connect(process.inp)
    out = io.sink.RingBuffer(shape=process.out.shape, buffer=steps)
    process.out.connect(out.a_in)
    if trace:
        rows = io.sink.RingBuffer(shape=process.trace.shape, buffer=steps)
        process.trace.connect(rows.a_in)
    try:
        process.run(condition=RunSteps(num_steps=steps), run_cfg=run_cfg)
        sent = out.data.get()
        sent = sent.transpose(2, 1, 0, 3) if sent.ndim == 4 else sent
        return (sent, rows.data.get()) if trace else sent
    finally:
        process.stop()


def random_input(net, steps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(net.input.min_value, net.input.max_value + 1, (*net.input.shape, steps))


def assert_equals_stream(net, sent, rows, x, **options):
    expected = stream(net, x, **options)
    np.testing.assert_array_equal(sent, expected.messages[net.output.name])
    for row, part in zip(rows, (expected.messages, expected.potentials), strict=True):
        flat = np.concatenate([part[layer.name].reshape(-1, x.shape[-1]) for layer in net.layers])
        np.testing.assert_array_equal(row, flat)


def has_window(net):
    return any(layer.mix is not None and not layer.mix.causal for layer in net.layers)


def has_wait(net):
    return any(net.balancing_delay(layer, c) for layer in net.layers for c in layer.connections)


def has_gate(net):
    return any(c.gate is not None for layer in net.layers for c in layer.connections)


def has_loop_and_delay(net):
    connections = [(layer, c) for layer in net.layers for c in layer.connections]
    return any(c.source == layer.name for layer, c in connections) and any(
        c.delay is not None for _, c in connections
    )


@pytest.fixture(params=[has_window, has_wait, has_gate, has_loop_and_delay])
def extended(request, slow):
    for seed in range(30_000, 32_000):
        try:
            net, steps = slow.random_network(seed)
        except ExportError:
            continue
        if steps < 4 or not request.param(net) or (net.max_steps or 3 * steps) < 3 * steps:
            continue
        x = random_input(net, 3 * steps)
        sent = stream(net, x, reset_interval=steps, clear_delays=True).messages
        if all(0.02 < (sent[layer.name] > 0).mean() < 0.98 for layer in net.layers):
            return net, steps
    raise AssertionError("no network")


def test_a_fused_network_sends_what_the_stepper_sends(extended):
    net, steps = extended
    x = random_input(net, 3 * steps)
    process = Network(net, reset_interval=steps, reset_offset=1)
    sent, rows = in_lava(process, x, FusedSimCfg(), trace=True)
    assert_equals_stream(net, sent, rows, x, reset_interval=steps, reset_offset=1, clear_delays=True)
    assert rows[1].any()


@pytest.mark.parametrize("options", [{}, {"reset_interval": 6}, {"reset_interval": 5, "reset_offset": 3}])
def test_fused_and_stock_graph_send_the_same(make_network, options):
    net = make_network(bits=4, classes=0)
    x = random_input(net, 14)
    fused, rows = in_lava(Network(net, **options), x, FusedSimCfg(), trace=True)
    offset = {"reset_offset": 0, **options}
    assert_equals_stream(net, fused, rows, x, **offset)
    assert 0.05 < fused.mean() < 0.95
    if options.get("reset_offset"):
        graph = in_lava(Network(net, **options), x, per_layer())
        np.testing.assert_array_equal(fused, graph)


def test_layers_may_be_looked_at_before_a_fused_run(make_network):
    net = make_network(in_shape=(9,), convs=(), dense=(8, 5), classes=0)
    x = random_input(net, 9)
    process = Network(net, reset_interval=4)
    assert process.out_layer.out.shape == process.out.shape == (5,)
    assert process.in_layer.inp.shape == process.inp.shape == (9,)
    sent, rows = in_lava(process, x, FusedSimCfg(), trace=True)
    assert_equals_stream(net, sent, rows, x, reset_interval=4, reset_offset=0)


def test_the_potential_of_a_readout_can_be_monitored_in_both_kinds_of_run(make_network):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    x = random_input(net, 11)
    expected = stream(net, x, reset_interval=5, reset_offset=1).potentials["readout"]
    for run_cfg in (FusedSimCfg(), per_layer()):
        process = Network(net, reset_interval=5, reset_offset=1)
        source = io.source.RingBuffer(data=x)
        source.s_out.connect(process.inp)
        monitor = Monitor()
        monitor.probe(process.potential, 11)
        try:
            process.run(condition=RunSteps(num_steps=11), run_cfg=run_cfg)
            np.testing.assert_array_equal(process.potential.get(), expected[:, -1])
            ((values,),) = (recorded.values() for recorded in monitor.get_data().values())
        finally:
            process.stop()
        np.testing.assert_array_equal(values.T, expected)


def test_two_fused_networks_with_other_processes_between_run_as_one(make_network):
    whole = make_network(in_shape=(9,), convs=(), dense=(8, 6, 5), classes=0, threshold=20)
    x = random_input(whole, 12)
    first, second = Network(whole, num_layers=2), Network(whole, skip_layers=2)
    assert (len(first), len(second)) == (1, 2)
    between = import_lava("lava.proc.dense.process").Dense(weights=np.eye(8, dtype=int))
    first.out.connect(between.s_in)
    between.a_out.connect(second.inp)
    source, sink = io.source.RingBuffer(data=x), io.sink.RingBuffer(shape=(5,), buffer=12)
    source.s_out.connect(first.inp)
    second.out.connect(sink.a_in)
    try:
        first.run(condition=RunSteps(num_steps=12), run_cfg=FusedSimCfg())
        sent = sink.data.get()
    finally:
        first.stop()
    expected = stream(first.net, x)
    later = np.concatenate([np.zeros((8, 1), int), expected.messages["dense0"][:, :-1]], 1)
    np.testing.assert_array_equal(sent, stream(second.net, later).messages["dense2"])
    assert 0.05 < sent.mean() < 0.95


def test_a_network_in_a_closed_loop_sends_the_same_in_both_kinds_of_run(make_network):
    net = make_network(in_shape=(6,), bits=2, convs=(), dense=(8, 6), classes=0, threshold=20)
    x = np.random.default_rng(0).integers(0, 3, (6, 15))
    sent = []
    for run_cfg in (per_layer(), FusedSimCfg()):
        process = Network(net)
        process.out.connect(process.inp)
        sent.append(in_lava(process, x, run_cfg))
    np.testing.assert_array_equal(*sent)
    alone = stream(net, x).messages["dense1"]
    assert sent[0].any() and (sent[0] != alone).any()


def test_a_network_is_described_as_lava_dl_does(make_network, tmp_path):
    net = make_network()
    write(net, tmp_path / "x.net")
    ours = Network(tmp_path / "x.net", reset_interval=3)
    theirs = import_lava("lava.lib.dl.netx.hdf5").Network(str(tmp_path / "x.net"), reset_interval=3)
    assert str(ours) == str(theirs) and len(ours) == len(theirs) == 4
    for name in ("inp", "out"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    assert [type(layer) for layer in ours.layers] == [type(layer) for layer in theirs.layers]
    for name in ("num_layers", "skip_layers", "reset_interval", "spike_exp", "output_message_bits"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.net_config["layer"][1]["type"] == "conv"
    assert ours.layers[1].neuron.proc_params["reset_offset"] == 2


@pytest.mark.parametrize("early", [False, True])
def test_a_layer_of_a_fused_run_has_no_values_to_give(make_network, early):
    net = make_network(in_shape=(6,), convs=(), dense=(8,))
    process = Network(net)
    layers = process.layers if early else None
    in_lava(process, random_input(net, 3), FusedSimCfg())
    layers = layers or process.layers
    with pytest.raises(ExportError, match=r"layers take no part in a fused run; read potential"):
        layers[0].neuron.v.get()


@pytest.mark.parametrize(
    "options", [{"num_layers": 0}, {"num_layers": -1}, {"skip_layers": 9}, {"skip_layers": -1}]
)
def test_parts_of_no_layers_are_refused_in_files_too(make_network, tmp_path, options):
    write(make_network(in_shape=(6,), convs=(), dense=(8,)), tmp_path / "x.net")
    with pytest.raises(ExportError, match="leave no layer; keep at least one"):
        Network(tmp_path / "x.net", **options)


def test_something_connected_to_a_layer_is_refused_in_a_fused_run(make_network):
    process = Network(make_network(in_shape=(9,), convs=(), dense=(8,)))
    sink = io.sink.RingBuffer(shape=(8,), buffer=3)
    process.layers[0].out.connect(sink.a_in)
    with pytest.raises(
        ExportError, match="RingBuffer .* is connected to a layer, which a fused run does not"
    ):
        process.run(condition=RunSteps(num_steps=3), run_cfg=FusedSimCfg())


def test_options_that_do_not_fit_are_named(slow, make_network, tmp_path):
    with pytest.raises(NetXFormatError, match="no such file"):
        Network(tmp_path / "none.net")
    with pytest.raises(ExportError, match="num_layers=None, skip_layers=9 leave no layer"):
        Network(make_network(), skip_layers=9)
    with pytest.raises(ShapeError, match="reset_interval=0 is not allowed"):
        Network(make_network(), reset_interval=0)
    omega = np.ones((3, 3), int)
    mixed = network.Layer(
        name="mixed",
        connections=(network.Connection(source="input", synapse=network.Identity()),),
        neuron=network.LIF(threshold=1, exponent=0),
        shape=(2,),
        mix=network.Mix(omega=omega),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(2,)), layers=(mixed,), profile="extended")
    with pytest.raises(ShapeError, match="does not fit gates and mixings; use 3"):
        Network(net)


def test_a_file_that_only_lava_dl_reads_is_left_to_it(make_network, tmp_path):
    write(make_network(in_shape=(9,), convs=(), dense=(8,)), tmp_path / "x.net")
    with h5py.File(tmp_path / "x.net", "r+") as file:
        file["layer/1/neuron/iDecay"][...] = 4097
        del file.attrs["digest"]
        del file.attrs["lava_bsnn_schema"]
    process = Network(tmp_path / "x.net")
    assert process.net is None and len(process) == 2
    with pytest.raises(ExportError, match="cannot run fused: .*current_decay 4097 is out of range"):
        process.run(condition=RunSteps(num_steps=3), run_cfg=FusedSimCfg())


def test_a_graph_of_layers_sends_what_the_stepper_sends(extended):
    net, steps = extended
    x = random_input(net, 3 * steps)
    process = Network(net, reset_interval=steps, reset_offset=1)
    records = [Recorder(layer.neuron.v_out, 3 * steps).record for layer in process.layers]
    sent = in_lava(process, x, per_layer())
    expected = stream(net, x, reset_interval=steps, reset_offset=1, clear_delays=True)
    np.testing.assert_array_equal(sent, expected.messages[net.output.name])
    for layer, record in zip(net.layers, records, strict=True):
        np.testing.assert_array_equal(record.T, expected.potentials[layer.name], err_msg=layer.name)
