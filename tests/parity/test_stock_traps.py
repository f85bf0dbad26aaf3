"""Traps of stock Lava, each shown by lava's own code, and what our checks or conversion make of it.

ATRLIF's current decay of 1, which is off by one, is in ``tests/netx_export/test_process_soft_reset.py``;
what survives a reset in delays is in ``tests/netx_export/test_stepper.py``.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from lava.lib.dl import slayer
from lava.lib.dl.netx.utils import NetDict, optimize_weight_bits
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc

from lava_bsnn import block, fixed_point, models
from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, NetXFormatError, ShapeError
from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, convert, network, read, run, simulate, write
from netx_export.hdf5 import schema
from netx_export.network.checks import current_bound
from netx_export.process import Network
from netx_export.simulator.stepper import stream

pytestmark = pytest.mark.lava
TOP = 1 << 23


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


def test_stock_dense_keeps_every_weight_that_we_write():
    rng = np.random.default_rng(0)
    kept = 0
    lows = {-(2**k) + d for k in range(8) for d in (-1, 0, 1)} | set(range(-128, 0, 9))
    matrices = [
        np.array([[low, high]])
        for low in sorted(lows)
        if -128 <= low < 0
        for high in (low, low // 2, -1, 0, 1)
    ]
    for _ in range(150):
        low, high = np.sort(rng.integers(-128, 128, 2))
        matrices.append(rng.integers(low, high + 1, (2, 3)))
        matrices.append(2 * matrices[-1])  # nine bits, the lowest of them 0
    for weight in matrices:
        if refused(weight):
            continue
        np.testing.assert_array_equal(stock_dense_weights(weight), weight)
        kept += 1
    assert kept > 400


def test_mixed_signs_lose_the_lowest_of_eight_bits():
    """The dense process drops it, unless lava-dl shifts the weights up before, for which +-127 leave room."""
    small = np.array([[3, -5], [127, -127]])
    plain = stock_synapse(PyDenseModelBitAcc, small, num_weight_bits=8)
    assert [plain(spikes).tolist() for spikes in np.eye(2, dtype=bool)] == [[2, 126], [-6, -128]]
    np.testing.assert_array_equal(stock_dense_weights(small), small)
    assert not refused(small)
    large = np.array([[129, -3]])
    assert optimize_weight_bits(large)[1] == 9  # a bit more than the device has
    assert refused(large)
    even = np.array([[130, -4]])
    plain = stock_synapse(PyDenseModelBitAcc, even, num_weight_bits=8)
    assert [plain(spikes).tolist() for spikes in np.eye(2, dtype=bool)] == [[130], [-4]]
    assert not refused(even)


@pytest.mark.parametrize("value", [-1, -2, -4, -8, -128])
def test_all_equal_negative_powers_of_two_give_no_current(value):
    weight = np.full((2, 3), value)
    assert not stock_dense_weights(weight).any()
    assert refused(weight)


def test_a_lowest_weight_that_is_a_negative_power_of_two_is_clipped():
    weight = np.array([[-5, -8, -8]])
    assert not np.array_equal(stock_dense_weights(weight), weight)
    assert refused(weight)
    assert not refused([[-5, -9, -8]])


def test_a_dense_layer_of_zeros_raises():
    zeros = np.zeros((2, 3), int)
    with pytest.raises(OverflowError), np.errstate(divide="ignore"):
        optimize_weight_bits(zeros)
    assert refused(zeros)


@pytest.mark.parametrize(
    ("weight", "computed"),
    [
        ([[300, -1]], [[254, -1]]),  # clipped
        ([[-300, 1]], [[-256, 1]]),
        ([[300, 5]], [[0, 0]]),  # shifted by a negative number of bits
        ([[-300, -5]], [[0, 0]]),
    ],
)
def test_dense_weights_beyond_255_are_clipped_or_become_zeros(weight, computed, capsys):
    assert stock_dense_weights(np.array(weight)).tolist() == computed
    assert refused(weight)


def test_stock_conv_neither_clips_nor_shifts_its_weights():
    """A weight exponent, or a weight beyond eight bits, would mean something else on the device."""
    weight = np.full((1, 1, 1, 1), 1000)
    options = dict(
        kernel_size=np.array([1, 1]),
        stride=np.array([1, 1]),
        padding=np.array([0, 0]),
        dilation=np.array([1, 1]),
        groups=np.array([1]),
    )
    results = []
    for exponent in (0, 3):
        process = PyConvModelFixed({"weight_exp": exponent, "num_weight_bits": 8})
        vars(process).update(weight=weight, a_buf=0, num_message_bits=np.array([0]), **options)
        process.weight_exp, process.num_weight_bits = np.array([exponent]), np.array([8])
        process.a_out = SimpleNamespace(send=lambda x: None)
        process.s_in = SimpleNamespace(recv=lambda: np.ones((1, 1, 1), int))
        process.run_spk()
        results.append(int(process.a_buf.item()))
    assert results == [1000, 1000]
    with pytest.raises(ExportError, match=r"weights 1000\.\.1000 are out of range"):
        conv_net(weight, (1, 1, 1))


def test_stock_conv_has_no_weight_exponent_in_our_files(tmp_path):
    write(conv_net(np.full((1, 1, 1, 1), 5), (1, 2, 3)), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        neuron = file["layer/1/neuron"]
        assert "wgtExp" not in neuron
        neuron["wgtExp"] = 3
        del file.attrs["digest"], file.attrs[schema.VERSION]
    with pytest.raises(NetXFormatError, match="wgtExp: 3 is not supported; use 0"):
        read(tmp_path / "a.net")


def test_stock_conv_ignores_delays(tmp_path):
    net = conv_net(np.full((1, 1, 1, 1), 5), (1, 2, 3))
    write(net, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        file["layer/1/delay"] = np.array([7])
        del file.attrs["digest"], file.attrs[schema.VERSION]
    made = import_lava("lava.lib.dl.netx.hdf5").Network(net_config=str(tmp_path / "a.net"))
    made.net_config.f.close()
    assert type(made.layers[0].synapse) is import_lava("lava.proc.conv.process").Conv
    with pytest.raises(NetXFormatError, match="delays of a conv are not supported; lava-dl ignores them"):
        read(tmp_path / "a.net")
    with pytest.raises(ExportError, match="delays of a conv are not possible in profile 'stock'"):
        conv_net(np.full((1, 1, 1, 1), 5), (1, 2, 3), delay=np.array([7]))


def test_conv_kernels_are_flipped_and_axes_are_width_height_channel(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.integers(-39, 40, (4, 2, 3, 2))  # out, in, height, width
    options = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    net = conv_net(weight, (2, 7, 5), bits=8, **options)
    made = stock_network(net, tmp_path / "a.net", input_message_bits=8).layers[0]
    assert made.inp.shape == (5, 7, 2) and made.out.shape == net.layers[0].shape[::-1]
    theirs = made.synapse.weight.init
    np.testing.assert_array_equal(theirs, weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))
    x = rng.integers(0, 256, (2, 7, 5))
    conv = import_lava("lava.proc.conv.utils").conv
    pairs = [np.array(options[key][::-1]) for key in ("stride", "padding", "dilation")]
    result = conv(x.transpose(2, 1, 0), theirs, np.array([2, 3]), *pairs, 1)
    quiet = replace(net.layers[0], neuron=network.LIF(threshold=131_071, bias=np.zeros(4, int)))
    ours = simulate(replace(net, layers=(quiet,)), x[None, ..., None], trace=True)
    np.testing.assert_array_equal(result.transpose(2, 1, 0) << 6, ours.layers["conv"].potential[0, ..., 0])
    assert not np.array_equal(result, conv(x.transpose(2, 1, 0), theirs[:, ::-1, ::-1], (2, 3), *pairs, 1))


def test_intensities_become_spikes_without_message_bits(tmp_path):
    net = conv_net(np.full((1, 1, 1, 1), 1), (1, 1, 1), bits=8)
    without = stock_network(net, tmp_path / "a.net").layers[0].synapse
    assert without.num_message_bits.init == 0  # lava's model then takes input.astype(bool)
    dense = np.array([[1]])
    x = np.array([200])
    assert stock_synapse(PyDenseModelBitAcc, dense)(x) == 1
    assert stock_synapse(PyDenseModelBitAcc, dense, message_bits=8)(x) == 200
    process = Network(tmp_path / "a.net")  # ours takes the bits from the file
    assert process.layers[0].synapse.num_message_bits.init == 8


def test_a_dense_layer_behind_an_image_reads_channel_height_width(tmp_path):
    """A dense layer that copies pixel i to neuron i says in which order it reads."""
    shape = (2, 3, 4)
    copies = network.Connection(source="conv", synapse=network.Dense(weight=np.eye(24, dtype=int)))
    first = conv_net(np.eye(2, dtype=int).reshape(2, 2, 1, 1), shape).layers[0]
    first = replace(first, neuron=network.LIF(threshold=0, bias=np.zeros(2, int), voltage_decay=4096))
    second = network.Layer(
        name="dense",
        connections=(copies,),
        neuron=network.LIF(threshold=0, bias=np.zeros(24, int), voltage_decay=4096),
        shape=(24,),
    )
    net = FixedPointNetwork(input=network.Input(shape=shape), layers=(first, second))
    x = np.random.default_rng(0).integers(0, 2, (1, *shape, 1))
    theirs = run(net, x, "stock").spikes[0, :, 0]
    np.testing.assert_array_equal(theirs, x.reshape(-1))
    assert not np.array_equal(theirs, x[0, ..., 0].transpose(2, 1, 0).reshape(-1))
    np.testing.assert_array_equal(theirs, simulate(net, x).spikes[0, :, 0])


@pytest.mark.parametrize("kind", ["pool", "average", "concat", "unpool", "convT"])
def test_stock_lava_dl_does_not_implement_some_layers(tmp_path, kind):
    net = conv_net(np.full((1, 1, 1, 1), 5), (1, 2, 3))
    write(net, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        del file["layer/1/type"], file.attrs["digest"], file.attrs[schema.VERSION]
        file["layer/1/type"] = np.bytes_(kind)
    with pytest.raises(NotImplementedError, match=f"{kind} is not implemented"):
        import_lava("lava.lib.dl.netx.hdf5").Network(net_config=str(tmp_path / "a.net"))
    with pytest.raises(NetXFormatError, match=f"type '{kind}' is not supported"):
        read(tmp_path / "a.net")


def test_our_files_hold_no_pooling(tmp_path):
    params = {"threshold": 1.0}
    blocks = [
        block.Pool(params, 2),
        block.Pool(None, 2),
        block.Conv(params, 1, 2, 1, norm=None),
        block.Flatten(),
        block.Readout(None, 8, 2),
    ]
    net = convert(models.SpikingNetwork(blocks, in_shape=(1, 8, 8), num_steps=2).eval())
    write(net, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net") as file:
        kinds = [file[f"layer/{i}/type"][0].decode() for i in range(len(file["layer"]))]
    assert kinds == ["input", "conv", "conv", "flatten", "dense"]
    assert len(stock_network(net, tmp_path / "b.net").layers) == 3


def test_lava_dl_truncates_what_we_round(tmp_path):
    with h5py.File(tmp_path / "a.net", "w") as file:
        file["weight"], file["bias"] = [[1.9, -1.9]], [0.9]
    stored = NetDict(str(tmp_path / "a.net"))
    assert stored["weight"].tolist() == [[1, -1]] and stored["bias"].tolist() == [0]
    stored.f.close()
    dense = block.Dense({"threshold": 1.0}, 2, 1, norm=None, binarize=None, weight_bits=None)
    with torch.no_grad():
        dense.synapse.weight.copy_(torch.tensor([1.9, -1.9]).reshape(1, 2, 1, 1, 1) / 127)
    blocks = [dense, block.Readout(None, 1, 2)]
    net = convert(models.SpikingNetwork(blocks, in_shape=(2,), num_steps=2).eval())
    real = 1.9 / 127 * (net.layers[0].neuron.threshold + 1)
    assert net.layers[0].connections[0].synapse.weight.tolist() == [[round(real), -round(real)]]
    write(net, tmp_path / "b.net")
    with h5py.File(tmp_path / "b.net") as file:
        numbers = []
        file.visititems(lambda name, item: numbers.append(item) if isinstance(item, h5py.Dataset) else None)
        assert {item.dtype.kind for item in numbers} <= set("iubS")


def test_a_current_wraps_at_24_bits():
    neurons = StockNeurons(network.LIF(threshold=0, bias=np.zeros(1, int)))
    assert not neurons.step([TOP // 64 + 1])  # one weight step above the limit: far below 0
    assert neurons.model.u == -TOP + 64
    weight = [[127, 127, 127, 127]]
    with pytest.raises(ExportError, match=r"sum\|w\| \* largest input = 129540 .*|overflows") as error:
        dense_net([[127, 127, 127, 127, 127]], bits=8)
    assert "at most 131071 is allowed" in str(error.value)
    net = dense_net(weight, bits=8)  # sums up to 129540
    largest = int(current_bound(net, net.layers[0]).max())
    neurons = StockNeurons(net.layers[0].neuron)
    assert neurons.step([largest >> 6]) and neurons.model.u == largest


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_a_current_with_memory_cannot_wrap_after_conversion(profile):
    """Bright input at every step: currents add up to several times that of one step."""
    params = {"threshold": 1.0, "current_decay": 1 / 16, "voltage_decay": 1.0}
    dense = block.Dense(params, 8, 1, norm=None, binarize=None)
    with torch.no_grad():
        dense.synapse.weight.fill_(0.01)
    blocks = [block.Input(bits=8), dense, block.Readout(None, 1, 1)]
    model = models.SpikingNetwork(blocks, in_shape=(8,), num_steps=20).eval()
    net = convert(model, profile)
    found = stream(net, np.full((8, 20), 255))
    assert (np.diff(found.currents["dense1"][0, 1:]) > 0).all()  # grows, and never wraps


def test_thresholds_have_17_bits_and_biases_13_with_exponent_6(tmp_path):
    model = PyLifModelBitAcc
    assert (model.vth.precision, model.bias_mant.precision) == (17, 13)
    made = stock_network(dense_net([[1, 2]], bias=np.array([5])), tmp_path / "a.net")
    assert made.layers[0].neuron.bias_exp.init == 6
    assert LIMITS.threshold_max == 2**17 - 1
    assert (LIMITS.bias_min, LIMITS.bias_max) == (-(2**12), 2**12 - 1)
    for change, message in (
        ({"threshold": 2**17}, r"threshold 131072 is out of range; 0\.\.131071"),
        ({"bias": np.array([4096])}, r"bias 4096\.\.4096 is out of range; -4096\.\.4095 .*13 bit"),
    ):
        layer = dense_net([[1, 2]]).layers[0]
        with pytest.raises(ExportError, match=message):
            FixedPointNetwork(
                input=network.Input(shape=(2,)),
                layers=(replace(layer, neuron=replace(layer.neuron, **change)),),
            )


@pytest.mark.parametrize("steps", [64, 4096, 131_000])
def test_lava_never_fires_at_the_threshold_and_slayer_does_for_large_ones(steps):
    slayer_neuron = slayer.neuron.cuba.Neuron(
        threshold=steps / 64, current_decay=1, voltage_decay=0.0, scale=64
    )
    assert slayer_neuron.device_params["vThMant"] == steps
    spikes = slayer_neuron(torch.tensor([[[steps / 64]]]))
    assert bool(spikes) == (steps >= 4096)
    assert not StockNeurons(network.LIF(threshold=steps, bias=np.zeros(1, int))).step([steps])


def test_our_neurons_fire_at_the_threshold_in_torch_and_in_lava():
    """The threshold that is written is one weight step lower."""
    dense = block.Dense({"threshold": 2.0, "voltage_decay": 1.0}, 1, 1, norm=None)
    with torch.no_grad():
        dense.synapse.weight.fill_(2.0)
    model = models.SpikingNetwork([dense, block.Readout(None, 1, 1)], in_shape=(1,), num_steps=2).eval()
    net = convert(model)
    weight, neuron = net.layers[0].connections[0].synapse.weight, net.layers[0].neuron
    assert weight.item() == neuron.threshold + 1
    assert dense(torch.ones(1, 1, 1)).item() == 1
    assert StockNeurons(neuron).step(weight[:, 0])


def readout_net(rng):
    weight = [rng.integers(-40, 41, size) for size in ((8, 9), (6, 8), (4, 6))]
    layers, source = [], "input"
    for i, matrix in enumerate(weight):
        bias = rng.integers(-30, 60, len(matrix))
        neuron = network.LIF(threshold=60, bias=bias, voltage_decay=200)
        if i == 2:
            neuron = network.Readout(bias=bias)
        connection = network.Connection(source=source, synapse=network.Dense(weight=matrix))
        source = f"dense{i}"
        layers.append(
            network.Layer(name=source, connections=(connection,), neuron=neuron, shape=(len(matrix),))
        )
    return FixedPointNetwork(input=network.Input(shape=(9,)), layers=tuple(layers))


def test_biases_act_while_the_pipeline_fills():
    """Without resets in turn the readout's potential is wrong from the first step on; with them, equal."""
    rng = np.random.default_rng(0)
    net, steps = readout_net(rng), 6
    x = rng.integers(0, 2, (2, 9, steps))
    expected = simulate(net, x).readout
    data = np.concatenate([*x, np.zeros((9, 3), int)], -1)
    samples = slice(3, 3 + 2 * steps)
    for reset, equal in ((None, False), ((steps, 0), False), ((steps, 1), True)):
        _, potentials = stock_chain(net, data, reset=reset)
        found = potentials[:, samples].reshape(4, 2, steps).swapaxes(0, 1)
        assert np.array_equal(found, expected) == equal, reset
        if not equal:
            assert not np.array_equal(found[0, :, 0], expected[0, :, 0])
        options = {} if reset is None else {"reset_interval": reset[0], "reset_offset": reset[1]}
        np.testing.assert_array_equal(stream(net, data, **options).potentials["dense2"], potentials)


def test_resets_count_from_one_after_the_offset_and_one_later_per_layer(tmp_path):
    net = readout_net(np.random.default_rng(0))
    made = stock_network(net, tmp_path / "a.net", reset_interval=8, reset_offset=3)
    assert [layer.neuron.proc_params["reset_offset"] for layer in made.layers] == [4, 5, 6]
    x = np.random.default_rng(1).integers(0, 2, (9, 40))
    ours = stream(net, x, reset_interval=8, reset_offset=3)
    _, potentials = stock_chain(net, x, reset=(8, 3))
    np.testing.assert_array_equal(ours.potentials["dense2"], potentials)
    never = stream(net, x)
    for name, first in (("dense0", 4), ("dense1", 5), ("dense2", 6)):
        changed = (never.potentials[name] != ours.potentials[name]).any(0)
        assert changed.argmax() + 1 == first  # Lava counts from 1


def test_a_readout_never_fires_within_the_steps_that_are_allowed():
    """vThMant 131071 without leak: the potential is a running sum, up to 131071 << 6."""
    neuron = network.Readout(bias=np.zeros(1, int))
    assert (neuron.threshold, neuron.voltage_decay) == (131_071, 0)
    at_top = StockNeurons(neuron)
    assert not at_top.step([131_071]) and at_top.model.v == LIMITS.readout_max
    assert at_top.step([1])  # one more and it fires, which clears the sum
    net = readout_net(np.random.default_rng(0))
    worst = network.Dense(weight=np.full((4, 6), 127))
    last = replace(net.layers[2], connections=(network.Connection(source="dense1", synapse=worst),))
    net = replace(net, layers=(*net.layers[:2], last))
    steps = net.max_steps
    neurons = StockNeurons(last.neuron)
    assert not any(neurons.step([6 * 127] * 4).any() for _ in range(steps))
    assert any(neurons.step([6 * 127] * 4).any() for _ in range(2))
    with pytest.raises(ShapeError, match="could overflow the readout's 24-bit potential"):
        simulate(net, np.ones((1, 9, steps + 1), int))


def test_a_wrapped_current_is_modelled_as_lava_computes_it():
    """Where a file of lava-dl lets a current wrap, we wrap it in the same way."""
    rng = np.random.default_rng(0)
    neuron = network.LIF(threshold=99, bias=np.zeros(50, int), current_decay=100, voltage_decay=50)
    theirs, u, v = StockNeurons(neuron), np.zeros(50, int), np.zeros(50, int)
    for _ in range(40):
        a = rng.integers(-131_071, 131_072, 50)
        spikes = theirs.step(a)
        u, v, ours = fixed_point.lif_step(u, v, a, threshold=99, current_decay=100, voltage_decay=50)
        np.testing.assert_array_equal(ours, spikes)
        np.testing.assert_array_equal(u, theirs.model.u)
        np.testing.assert_array_equal(v, theirs.model.v)
