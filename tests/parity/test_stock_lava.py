"""Our simulator against unmodified lava-dl: every spike of every layer at every step."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from lava.lib.dl import slayer

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import OptionError, ShapeError
from netx_export import compare, network, read, run, simulate, write
from netx_export.backends.runtime import run_steps
from netx_export.process.stream import Player, Recorder
from netx_export.simulator.stepper import stream
from netx_export.verify import parity

pytestmark = pytest.mark.lava


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(bits=8, weight_limit=9, threshold=900),
        dict(bits=4, weight_limit=127, threshold=2000),
        dict(in_shape=(4, 7, 4), groups=2, convs=((6, 3, 2, 1), (4, 1, 1, 0)), classes=0),
        dict(in_shape=(9,), convs=(), dense=(8, 6), weight_limit=127, threshold=150),
        dict(in_shape=(3, 4, 6), convs=((5, 2, 2, 0),), dense=(), classes=0),
    ],
    ids=["spikes", "8 bit", "4 bit", "groups", "dense", "conv only"],
)
def test_random_networks_are_equal_in_every_layer(make_network, make_data, options):
    net = make_network(**options)
    x = make_data(net, num_samples=4, num_steps=6)
    ours, lava = simulate(net, x, trace=True), run(net, x, "stock", trace=True)
    result = compare(ours, lava)
    assert result.mismatches == 0, result.first
    assert set(ours.layers) == set(lava.layers)
    assert (ours.readout is None) == (lava.readout is None)
    rates = [trace.spikes.mean() for trace in ours.layers.values()]
    assert max(rates) > 0.05


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 1, 1), (1, 2, 2)])
def test_a_dense_layer_on_an_image_is_equal(make_network, make_data, shape):
    net = make_network(in_shape=shape, convs=(), dense=(6,), bits=3)
    x = make_data(net)
    result = compare(simulate(net, x, trace=True), run(net, x, "stock", trace=True))
    assert result.mismatches == 0, result.first


def test_one_changed_integer_is_found(make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    x = make_data(net, num_samples=2)
    neuron = net.layers[0].neuron
    changed = replace(
        net,
        layers=(replace(net.layers[0], neuron=replace(neuron, bias=neuron.bias + 20)), *net.layers[1:]),
    )
    result = compare(simulate(changed, x, trace=True), run(net, x, "stock", trace=True))
    assert result.mismatches > 0
    assert "dense0 spike, step" in result.first


def test_one_step_runs(make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    x = make_data(net, num_samples=3, num_steps=1)
    assert compare(simulate(net, x, trace=True), run(net, x, "stock", trace=True)).mismatches == 0


def test_no_process_is_left_behind(make_network, make_data, monkeypatch):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    run(net, make_data(net), "stock")
    assert multiprocessing.active_children() == []


def test_unknown_backend_is_named(make_network, make_data):
    net = make_network()
    with pytest.raises(
        OptionError,
        match="backend='gpu' is unknown; use one of 'simulator', 'lava', 'lava-fused', 'stock', 'loihi2'",
    ):
        run(net, make_data(net), "gpu")


def test_compare_needs_something_in_common(make_network, make_data):
    net = make_network()
    result = simulate(net, make_data(net))
    spiking = make_network(classes=0)
    traced = simulate(spiking, make_data(spiking), trace=True)
    assert compare(traced, traced).compared == sum(t.spikes.size for t in traced.layers.values())
    with pytest.raises(ShapeError, match="share no layer"):
        compare(result, replace(result, readout=None))
    assert compare(result, result) == parity.Comparison(mismatches=0, compared=result.readout.size)


def raw_stock_spikes(net, path, stream, *, bits, reset=None):
    """Spikes of every layer of a stock network in Lava's time, the filling pipeline included."""
    write(net, path)
    reset = {} if reset is None else {"reset_interval": reset[0], "reset_offset": reset[1]}
    lava = import_lava("lava.lib.dl.netx.hdf5").Network(
        net_config=str(path), input_message_bits=bits, **reset
    )
    steps = stream.shape[-1]
    Player(np.moveaxis(stream, -1, 0).astype(np.int32)).s_out.connect(lava.inp)
    recorders = [Recorder(layer.out, steps) for layer in lava.layers]
    configs = import_lava("lava.magma.core.run_configs")
    run_steps(lava, steps, configs.Loihi2SimCfg(select_tag="fixed_pt"), timeout=300)
    return [np.moveaxis(recorder.record, 0, -1) for recorder in recorders]


def dense_layer(name, source, rng, shape, *, delay=None, loop=False, limit=128):
    connections = [
        network.Connection(
            source=source, synapse=network.Dense(weight=rng.integers(-limit, limit, shape)), delay=delay
        )
    ]
    if loop:
        weight = rng.integers(-limit, limit, (shape[0], shape[0]))
        connections.append(network.Connection(source=name, synapse=network.Dense(weight=weight)))
    neuron = network.LIF(
        threshold=150,
        bias=rng.integers(-20, 40, shape[0]),
        current_decay=int(rng.integers(500, 4097)),
        voltage_decay=int(rng.integers(0, 4097)),
    )
    return network.Layer(name=name, connections=tuple(connections), neuron=neuron, shape=shape[:1])


@pytest.mark.parametrize("reset", [None, (7, 1), (9, 4)])
def test_delays_and_recurrence_are_equal_in_lavas_time(tmp_path, reset):
    rng = np.random.default_rng(0)
    layers = (
        dense_layer("late", "input", rng, (7, 9), delay=rng.integers(0, 63, 7)),
        dense_layer("inputs", "late", rng, (5, 7), delay=rng.integers(0, 8, (1, 7))),
        dense_layer("loop", "inputs", rng, (6, 5), loop=True),
        dense_layer("all", "loop", rng, (6, 6), delay=np.full(6, 3)),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(9,)), layers=layers)
    x = (rng.random((9, 120)) < 0.5).astype(int)
    theirs = raw_stock_spikes(net, tmp_path / "x.net", x, bits=0, reset=reset)
    options = {} if reset is None else {"reset_interval": reset[0], "reset_offset": reset[1]}
    ours = stream(read(tmp_path / "x.net"), x, **options).messages
    for layer, spikes in zip(layers, theirs, strict=True):
        np.testing.assert_array_equal(ours[layer.name], spikes, err_msg=layer.name)
        assert 0.02 < spikes.mean() < 0.98


def test_the_filling_pipeline_is_equal_in_lavas_time(make_network, tmp_path):
    net = make_network(bits=3, classes=0)
    x = np.random.default_rng(1).integers(0, 8, (*net.input.shape, 25))
    theirs = raw_stock_spikes(net, tmp_path / "x.net", x.transpose(2, 1, 0, 3), bits=3)
    ours = stream(net, x).messages
    for layer, spikes in zip(net.layers, theirs, strict=True):
        spikes = spikes.transpose(2, 1, 0, 3) if spikes.ndim == 4 else spikes
        np.testing.assert_array_equal(ours[layer.name], spikes, err_msg=layer.name)


def test_a_recurrent_block_of_slayer_is_read_and_runs_as_in_lava(tmp_path):
    params = {"threshold": 0.95, "current_decay": 0.5, "voltage_decay": 0.15}
    blocks = [slayer.block.cuba.Recurrent(params, 6, 5), slayer.block.cuba.Recurrent(params, 5, 4)]
    with h5py.File(tmp_path / "slayer.net", "w") as file:
        layers = file.create_group("layer")
        spikes = (torch.rand(1, 6, 20) < 0.5).float()
        for i, block in enumerate(blocks):
            spikes = block(spikes)  # SLAYER's blocks learn their shapes here
            block.export_hdf5(layers.create_group(str(i)))
    net = read(tmp_path / "slayer.net")
    assert net.input.shape == (6,)
    assert [len(layer.connections) for layer in net.layers] == [2, 2]
    x = (np.random.default_rng(0).random((6, 60)) < 0.5).astype(int)
    theirs = raw_stock_spikes(net, tmp_path / "ours.net", x, bits=0)
    ours = stream(net, x).messages
    for layer, spikes in zip(net.layers, theirs, strict=True):
        np.testing.assert_array_equal(ours[layer.name], spikes, err_msg=layer.name)
    assert theirs[0].any()
