"""What may enter a network of Lava processes: messages of its input's range, in every form of it."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import LavaRunError
from netx_export import FusedSimCfg, network, stream
from netx_export.process import Network

pytestmark = pytest.mark.lava
io = import_lava("lava.proc.io")
RunSteps = import_lava("lava.magma.core.run_conditions").RunSteps
Loihi2SimCfg = import_lava("lava.magma.core.run_configs").Loihi2SimCfg
FORMS = pytest.mark.parametrize("form", ["fused", "stock", "our processes", "extended", "bias"])


def network_of(form, bits=0, signed=False):
    net_input = network.Input(shape=(4,), bits=bits, signed=signed)
    synapse = network.Dense(weight=np.arange(12).reshape(3, 4) - 4)
    shape = (3,)
    if form == "bias":
        net_input, synapse, shape = replace(net_input, bits=13, signed=True), network.BiasInput(), (4,)
    layer = network.Layer(
        name="only",
        connections=(network.Connection(source="input", synapse=synapse),),
        neuron=network.LIF(threshold=5, bias=np.zeros(shape, int)),
        shape=shape,
    )
    profile = "extended" if form in ("extended", "bias") else "stock"
    return network.FixedPointNetwork(input=net_input, layers=(layer,), profile=profile)


def sent(net, x, form):
    """What the network sends for ``x``, ``[4, steps]``."""
    process = Network(net, reset_interval=8, clear_delays=True if form == "our processes" else None)
    source = io.source.RingBuffer(data=x)
    sink = io.sink.RingBuffer(shape=process.out.shape, buffer=x.shape[-1])
    source.s_out.connect(process.inp)
    process.out.connect(sink.a_in)
    run_cfg = FusedSimCfg() if form == "fused" else Loihi2SimCfg(select_tag="fixed_pt")
    try:
        process.run(condition=RunSteps(num_steps=x.shape[-1]), run_cfg=run_cfg)
        return sink.data.get()
    finally:
        process.stop()
        assert multiprocessing.active_children() == []


@FORMS
@pytest.mark.parametrize(("bits", "signed"), [(0, False), (3, True)])
def test_messages_of_the_whole_range_enter(form, bits, signed):
    net = network_of(form, bits, signed)
    low, high = net.input.min_value, net.input.max_value
    x = np.random.default_rng(0).integers(low, high + 1, (4, 8))
    x[0, :2] = low, high
    expected = stream(net, x, reset_interval=8, reset_offset=0, clear_delays=False).messages["only"]
    np.testing.assert_array_equal(sent(net, x, form), expected)
    assert expected.any()


@FORMS
@pytest.mark.parametrize(("bits", "signed", "above"), [(0, False, True), (3, True, False)])
def test_a_message_out_of_the_range_is_told(form, bits, signed, above):
    net = network_of(form, bits, signed)
    x = np.zeros((4, 8), int)
    x[2, 5] = net.input.max_value + 1 if above else net.input.min_value - 1
    low, high = min(0, x[2, 5]), max(0, x[2, 5])
    allowed = rf"{net.input.min_value}\.\.{net.input.max_value}"
    with pytest.raises(LavaRunError, match=rf"values {low}\.\.{high} do not fit; use integers {allowed}"):
        sent(net, x, form)


def test_a_network_without_a_source_runs():
    process = Network(network_of("stock"))
    sink = io.sink.RingBuffer(shape=process.out.shape, buffer=2)
    process.out.connect(sink.a_in)
    try:
        process.run(condition=RunSteps(num_steps=2), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        assert not sink.data.get().any()
    finally:
        process.stop()


def test_stock_processes_that_may_be_on_a_chip_are_connected_as_lava_dl_connects_them(monkeypatch):
    monkeypatch.setattr(import_lava("lava.utils.loihi"), "is_installed", lambda: True)
    process = Network(network_of("stock"))
    io.source.RingBuffer(data=np.zeros((4, 1), int)).s_out.connect(process.inp)
    assert process.layers
    process.check_input()
    assert process.inp.out_connections == process._inputs()
