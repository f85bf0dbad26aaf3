"""The files that lava-dl 0.6.0 ships, and what it recorded with them, on Loihi 2 for PilotNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.lava_dl import wheel_tests

from lava_bsnn.errors import NetXFormatError
from netx_export import network, read, simulate, write
from netx_export.hdf5 import describe
from netx_export.simulator.stepper import stream


@pytest.fixture(scope="module")
def folder():
    return Path(wheel_tests("lava.lib.dl.netx").__file__).parent


def pilotnet(folder):
    return read(folder / "gts/pilotnet_lif/network.net")


def recording(folder, name):
    """A recording in C, H, W order."""
    values = np.load(folder / "gts" / f"{name}.npy")
    return values.transpose(2, 1, 0, *range(3, values.ndim)) if values.ndim > 2 else values


def test_tinynet_equals_its_recordings_in_every_layer(folder):
    net = read(folder / "tiny.net")
    bias = recording(folder, "tinynet/input_bias").astype(int)
    result = simulate(net, np.repeat(bias[None, ..., None], 15, -1), trace=True)
    for name, file in (("input0", "input"), ("conv1", "layer1"), ("conv2", "output")):
        recorded = np.load(folder / f"gts/tinynet/{file}.npy")[0]
        assert not recorded[..., 0].any()  # it begins with an empty step
        np.testing.assert_array_equal(
            result.layers[name].spikes[0], recorded[..., 1:].astype(bool), err_msg=name
        )
    assert net.input.transform == (36, 34)


def test_ntidigits_with_axonal_delays_equals_its_recording(folder):
    net = read(folder / "gts/ntidigits/ntidigits.net")
    x, recorded = (np.load(folder / f"gts/ntidigits/{part}.npy").astype(int) for part in ("input", "output"))
    assert [int(layer.connections[0].delay.max()) for layer in net.layers[:2]] == [62, 62]
    result = stream(net, x.reshape(1, 1, 64, -1)).messages["dense4"]
    assert recorded.sum() > 20_000
    np.testing.assert_array_equal(result[:, :-1], recorded[:, 1:])  # it begins with an empty step


PILOTNET_LAYERS = {
    "conv1": "conv-0",
    "conv2": "conv-1",
    "conv3": "conv-2",
    "conv4": "conv-3",
    "conv5": "conv-4",
    "dense7": "fc-0",
    "dense8": "fc-1",
    "dense9": "fc-2",
}


def test_pilotnet_equals_loihi_2_in_current_membrane_and_spikes_of_eight_layers(folder):
    image = recording(folder, "pilotnet_lif/image")
    result = stream(pilotnet(folder), np.repeat(image[..., None], 24, -1), reset_interval=17, reset_offset=0)
    pixels = recording(folder, "pilotnet_lif/input")
    np.testing.assert_array_equal(result.messages["input0"], pixels)
    fired = 0
    for name, file in PILOTNET_LAYERS.items():
        u, v, s = (recording(folder, f"pilotnet_lif/{file}{part}") for part in ("-u", "-v", ""))
        np.testing.assert_array_equal(result.currents[name], u, err_msg=name)
        np.testing.assert_array_equal(result.messages[name], s, err_msg=name)
        refractory = np.where(s, 128, result.potentials[name])  # how Loihi shows a neuron that just fired
        np.testing.assert_array_equal(refractory, v, err_msg=name)
        fired += int(s.sum())
    assert fired > 100_000


def test_pilotnets_readout_is_a_running_sum(folder):
    net = pilotnet(folder)
    assert isinstance(net.output.neuron, network.Readout)
    assert net.latency == 9


def test_mnist_has_an_integrator_as_readout(folder):
    net = read(folder / "mnist.net")
    assert [type(layer.neuron).__name__ for layer in net.layers] == ["LIF", "LIF", "LIF", "Readout"]
    assert simulate(net, net.encode(np.random.default_rng(0).random((2, 784)), 16)).readout.shape == (
        2,
        10,
        16,
    )


def test_a_last_average_counts_spikes(folder):
    net = read(folder / "gts/ntidigits/ntidigits.net")
    assert net.output.shape == (11,)
    x = np.load(folder / "gts/ntidigits/input.npy").astype(int)[None, None, None, :, :400]
    result = simulate(net, x, trace=True)
    counts = result.layers["dense4"].spikes[0].reshape(11, 22, -1).sum(1).cumsum(-1)
    assert counts.max() > 0
    np.testing.assert_array_equal(result.readout[0], 64 * counts)


@pytest.mark.parametrize("name", ["network", "square_network"])
def test_sigma_delta_networks_are_named_as_not_supported(folder, name):
    with pytest.raises(NetXFormatError, match="neuron type 'SDNN' is not supported; use CUBA") as error:
        read(folder / f"gts/pilotnet_sdnn/{name}.net")
    assert "\n" not in str(error.value)


def test_files_of_lava_dl_have_no_digest_and_ours_have_one(folder, tmp_path):
    for name in ("tiny.net", "mnist.net", "gts/ntidigits/ntidigits.net", "gts/pilotnet_lif/network.net"):
        theirs = describe(folder / name)
        assert (theirs.schema, theirs.digest, theirs.profile) == (None, False, "stock")
        write(theirs.net, tmp_path / "x.net")
        ours = describe(tmp_path / "x.net")
        assert ours.net == theirs.net and ours.digest
