"""Parts of stock Lava, called without a runtime, and small networks for them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from lava.lib.dl.netx.utils import optimize_weight_bits
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError
from netx_export import FixedPointNetwork, network, write


def stock_synapse(model, weight, *, message_bits=0, **params):
    """A function from one step's input to one step's weighted input."""
    process = model(params)
    process.num_message_bits = np.array([message_bits])
    sent = []
    process.a_out = SimpleNamespace(send=sent.append)
    if model is PyConvModelFixed:
        process.weight, process.a_buf = weight, 0
        process.out = lambda: process.a_buf
    else:
        process.weights, process.a_buff = weight, np.zeros(len(weight), int)
        process.out = lambda: process.a_buff

    def apply(x):
        process.s_in = SimpleNamespace(recv=lambda: x)
        process.run_spk()
        return process.out()

    return apply


def netx_synapse(weight):
    """A dense layer as lava-dl makes it of a file."""
    prepared, bits, exponent, _ = optimize_weight_bits(weight)
    return stock_synapse(PyDenseModelBitAcc, prepared, weight_exp=exponent, num_weight_bits=bits)


def stock_dense_weights(weight):
    """Weights that stock lava-dl's dense layer computes with."""
    apply = netx_synapse(weight)
    return np.stack([apply(spikes) for spikes in np.eye(weight.shape[1], dtype=bool)], axis=1)


class StockNeurons:
    """Lava's bit-accurate neurons, step by step."""

    def __init__(self, neuron, *, reset=None):
        kind = PyLifModelBitAcc if reset is None else PyLifResetModelBitAcc
        params = {} if reset is None else {"reset_interval": reset[0], "reset_offset": reset[1]}
        self.model = kind(params)
        size = len(neuron.bias)
        self.model.u, self.model.v = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self.model.du, self.model.dv = neuron.current_decay - 1, neuron.voltage_decay
        self.model.bias_mant = neuron.bias.astype(np.int16)
        self.model.bias_exp = np.full(size, 6, np.int16)
        self.model.vth = neuron.threshold
        self.model.s_out = SimpleNamespace(send=lambda spikes: None)
        self.sent = []

    def step(self, activation, time=1):
        self.model.time_step = time
        self.model.a_in = SimpleNamespace(recv=lambda: np.asarray(activation, np.int32))
        self.model.s_out = SimpleNamespace(send=self.sent.append)
        self.model.run_spk()
        return self.sent[-1]


def stock_chain(net, x, *, reset=None):
    """Spikes and potentials (after any reset) of the last layer of a chain of dense layers, ``[C, steps]``.

    Every synapse sends on what it received one step before; neurons reset one layer after the other.
    """
    synapses = [netx_synapse(layer.connections[0].synapse.weight) for layer in net.layers]
    offsets = range(reset[1] + 1, reset[1] + 1 + len(net.layers)) if reset else ()
    neurons = [
        StockNeurons(layer.neuron, reset=reset and (reset[0], offset))
        for layer, offset in zip(net.layers, offsets or net.layers, strict=True)
    ]
    waiting = [np.zeros(len(layer.neuron.bias), int) for layer in net.layers]
    spikes, potentials = [], []
    for time in range(1, x.shape[-1] + 1):
        message = x[..., time - 1]
        for i, (synapse, group) in enumerate(zip(synapses, neurons, strict=True)):
            arrived, waiting[i] = waiting[i], synapse(message)
            message = group.step(arrived, time)
        spikes.append(message.copy())
        potentials.append(neurons[-1].model.v.copy())
    return np.stack(spikes, -1), np.stack(potentials, -1)


def dense_net(weight, *, bits=0, bias=None, **options):
    weight = np.asarray(weight)
    layer = network.Layer(
        name="dense",
        connections=(network.Connection(source="input", synapse=network.Dense(weight=weight)),),
        neuron=network.LIF(threshold=1, bias=np.zeros(len(weight), int) if bias is None else bias, **options),
        shape=(len(weight),),
    )
    return FixedPointNetwork(input=network.Input(shape=weight.shape[1:], bits=bits), layers=(layer,))


def conv_net(weight, shape, *, bits=0, delay=None, **options):
    synapse = network.Conv(weight=weight, **options)
    layer = network.Layer(
        name="conv",
        connections=(network.Connection(source="input", synapse=synapse, delay=delay),),
        neuron=network.LIF(threshold=9, bias=np.zeros(len(weight), int)),
        shape=synapse.output_shape(shape),
    )
    return FixedPointNetwork(input=network.Input(shape=shape, bits=bits), layers=(layer,))


def stock_network(net, path, **options):
    """Unmodified lava-dl's processes of a network; nothing runs."""
    write(net, path)
    made = import_lava("lava.lib.dl.netx.hdf5").Network(net_config=str(path), **options)
    made.net_config.f.close()
    return made


def refused(weight):
    """Whether a network refuses these weights of a dense layer."""
    try:
        dense_net(weight)
    except ExportError:
        return True
    return False
