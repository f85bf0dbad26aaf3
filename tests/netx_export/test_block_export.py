"""SLAYER's own export loop on our blocks."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from lava_bsnn import block, models
from lava_bsnn.device import affine
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError
from netx_export import convert, read, simulate, write

PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}


def network_of(bits):
    return models.SpikingNetwork(
        [
            block.Input(bits=bits),
            block.Conv(PARAMS, 2, 6, 3, padding=1, binarize=None),
            block.Conv(PARAMS, 6, 8, 3, stride=2, padding=(1, 0), groups=2),
            block.Pool(PARAMS, 2),
            block.Flatten(),
            block.Dense(PARAMS, 8 * 2 * 1, 12),
            block.Readout(None, 12, 3),
        ],
        in_shape=(2, 8, 6),
        num_steps=5,
    )


def export_loop(blocks, path):
    with h5py.File(path, "w") as file:
        layers = file.create_group("layer")
        for i, b in enumerate(blocks):
            b.export_hdf5(layers.create_group(str(i)))


def contents(group):
    found = {}
    group.visititems(
        lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
    )
    return found


def assert_rounded(module, layer):
    """The integers of a layer are the block's numbers times one scale, rounded."""
    folded = affine(module)
    theta = 1.0 if module.neuron is None else module.neuron.threshold
    real = (folded.q.reshape(len(folded.q), -1) * folded.multiplier[:, None]) * (
        module.incoming.value / theta
    )
    weight = layer.connections[0].synapse.weight.reshape(real.shape)
    scale = layer.neuron.threshold + 1
    if module.neuron is None:  # the scale is not in the file: one must exist
        size = np.abs(real).clip(1e-12)
        low, high = (np.abs(weight) - 0.5) / size, (np.abs(weight) + 0.5) / size
        assert low.max() < high.min()
        scale = (low.max() + high.min()) / 2
    np.testing.assert_array_equal(weight, np.rint(real * scale))
    np.testing.assert_allclose(layer.neuron.bias, folded.offset / theta * scale, atol=0.5 + 1e-6)


@pytest.mark.parametrize("bits", [0, 4])
def test_the_loop_writes_what_convert_and_write_write(settle, bits, tmp_path):
    model = settle(network_of(bits))
    export_loop(model.blocks, tmp_path / "loop.net")
    net = convert(model)
    write(net, tmp_path / "ours.net")
    with h5py.File(tmp_path / "loop.net") as loop, h5py.File(tmp_path / "ours.net") as ours:
        a, b = contents(loop["layer"]), contents(ours["layer"])
        assert a.keys() == b.keys() and len(a) > 30
        for name, value in a.items():
            np.testing.assert_array_equal(value, b[name], err_msg=name)
    back = read(tmp_path / "loop.net")
    assert back.layers == net.layers and (back.input.shape, back.input.bits) == ((2, 8, 6), bits)
    blocks = [module for module in model.blocks if hasattr(module, "synapse")]
    for module, layer in zip(blocks, back.layers, strict=True):
        assert_rounded(module, layer)
    x = np.random.default_rng(0).integers(0, 1 << max(1, bits), (4, 2, 8, 6, 5))
    np.testing.assert_array_equal(simulate(back, x).readout, simulate(net, x).readout)


IMAGES = Encoding.images((0.4, 0.6), (0.5, 0.4))


@pytest.mark.parametrize(
    "coding",
    [
        Encoding(),
        Encoding(kind="counts", bits=3, saturate=True),
        Encoding(kind="intensities", bits=8),
        IMAGES,
        Encoding.images((0.4, 0.6), (1.5, 1.4), bits=2),
        replace(IMAGES, bits=7, rails=True),
    ],
    ids=str,
)
def test_the_loop_keeps_what_enters(settle, float_models, coding, tmp_path):
    """All but the number of steps, which a block does not know."""
    features = 4 if coding.rails else 2
    blocks = [block.Input(encoding=coding), block.Conv(PARAMS, features, 3, 3), block.Flatten()]
    blocks.append(block.Readout(None, 48, 2))
    model = settle(models.SpikingNetwork(blocks, in_shape=(2, 6, 6), num_steps=5))
    export_loop(model.blocks, tmp_path / "loop.net")
    net, back = convert(model), read(tmp_path / "loop.net")
    assert back.layers == net.layers
    assert back.input == replace(net.input, encoding=replace(net.input.encoding, steps=0))
    x = float_models.samples_of(model, 4, 5)
    np.testing.assert_array_equal(back.encode(x), net.encode(x))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (block.Conv({**PARAMS, "membrane_bits": 2}, 2, 3, 3, name="a"), "a: a membrane of 2 bits cannot"),
        (block.Pool(None, 2, name="b"), "b: a pooling without neuron is merged into the next block"),
        (block.Residual([block.Conv(PARAMS, 2, 2, 3, padding=1)], name="c"), "c: skip connections"),
    ],
)
def test_what_one_block_cannot_export_is_named(module, message, tmp_path):
    block.build([module], (2, 8, 8))
    with h5py.File(tmp_path / "a.net", "w") as file:
        group = file.create_group("layer/0")
        with pytest.raises(ExportError, match=message):
            module.export_hdf5(group)
        assert not list(group)


def test_a_block_behind_a_silent_pooling_is_refused(tmp_path):
    blocks = [block.Pool(None, 2), block.Conv(PARAMS, 2, 3, 3, norm=None, name="conv")]
    block.build(blocks, (2, 8, 8))
    with (
        h5py.File(tmp_path / "a.net", "w") as file,
        pytest.raises(ExportError, match="conv: a pooling without"),
    ):
        blocks[1].export_hdf5(file.create_group("layer/1"))
