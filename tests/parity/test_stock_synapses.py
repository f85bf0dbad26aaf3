"""Traps of stock Lava's synapses, layers and files, shown by lava's own code, and what we make of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from lava.lib.dl.netx.utils import NetDict, optimize_weight_bits
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.dense.models import PyDenseModelBitAcc
from support.stock import (
    conv_net,
    refused,
    stock_dense_weights,
    stock_network,
    stock_synapse,
)

from lava_bsnn import block, models
from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, NetXFormatError
from netx_export import FixedPointNetwork, convert, network, read, run, simulate, write
from netx_export.hdf5 import schema
from netx_export.process import Network

pytestmark = pytest.mark.lava


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
    net = conv_net(np.full((1, 1, 1, 1), 5), (1, 2, 3))
    write(net, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        neuron = file["layer/1/neuron"]
        assert "wgtExp" not in neuron
        neuron["wgtExp"] = 3
    with pytest.raises(NetXFormatError, match="wgtExp: 3 is not supported; use 0"):
        read(tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        del file.attrs["digest"], file.attrs[schema.VERSION]
    with pytest.warns(UserWarning, match="a.net: conv: wgtExp is ignored, as lava-dl does"):
        assert read(tmp_path / "a.net") == net


def test_stock_conv_ignores_delays(tmp_path):
    net = conv_net(np.full((1, 1, 1, 1), 5), (1, 2, 3))
    write(net, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        file["layer/1/delay"] = np.array([7])
        del file.attrs["digest"], file.attrs[schema.VERSION]
    made = import_lava("lava.lib.dl.netx.hdf5").Network(net_config=str(tmp_path / "a.net"))
    made.net_config.f.close()
    assert type(made.layers[0].synapse) is import_lava("lava.proc.conv.process").Conv
    with pytest.warns(UserWarning, match="conv: delays are left out, they move its output only; lava-dl"):
        found = read(tmp_path / "a.net")
    assert found == replace(net, profile="extended")
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
