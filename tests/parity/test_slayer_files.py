"""Files that SLAYER writes: what we compute equals unmodified lava-dl, every layer at every step.

The fast tests are a sample; ``pytest -m nightly`` runs a few hundred random files.
"""

from __future__ import annotations

import itertools
import shutil

import h5py
import numpy as np
import pytest
import torch
from lava.lib.dl import slayer
from support.cli import command
from support.slayer_files import Case, cuba, edit, random_file, widen, write_blocks
from support.slayer_parity import assert_equals_lava, lava_stream

from lava_bsnn.errors import NetXFormatError, OptionError
from netx_export import compare, describe, read, simulate
from netx_export.simulator.stepper import stream
from netx_export.verify import random_data, verify

pytestmark = pytest.mark.lava


@pytest.mark.parametrize("seed", [4, 8, 13, 19])
def test_random_files_equal_lava_dl_in_every_layer(tmp_path, seed):
    case = random_file(tmp_path / "a.net", seed)
    rates = assert_equals_lava(tmp_path / "a.net", case, seed)
    assert "Affine" in case.kinds[-1] and min(list(rates.values())[:-1]) > 0.02


def test_numbers_that_slayer_does_not_write_are_those_of_lava_dl(tmp_path):
    """Fractions, ignored keys, delays per synapse and beyond 62, 9-bit weights, one bias, no neurons."""
    rng, path = np.random.default_rng(3), tmp_path / "a.net"
    params = {"threshold": 1.0, "current_decay": 0.4, "voltage_decay": 0.1}
    sizes = (6, 8, 7, 9, 5, 6, 3)
    each = {"threshold": 1.0, "current_decay": (0.2, 0.6), "voltage_decay": 0.1, "shared_param": False}
    blocks = [
        cuba.Dense(each if i == 2 else params, *pair) for i, pair in enumerate(itertools.pairwise(sizes))
    ]
    write_blocks(blocks, (6,), path, rng)
    odd = 2 * rng.integers(-60, 101, (5, 9)) + 1
    edit(
        path,
        _0__weight=rng.uniform(-40, 90, (8, 6)),
        _0__bias=rng.uniform(-9, 9, 8),
        _0__neuron__refDelay=3,
        _0__neuron__wgtExp=2,
        _0__neuron__gradedSpike=True,
        _1__delay=rng.integers(0, 9, (7, 8)),
        _2__delay=3.7,
        _2__bias=np.array([7]),
        _3__weight=odd,
        _3__neuron__type="LOIHI",
        _3__neuron__vThMant=rng.integers(200, 600, 5),
        _4__delay=np.array([3, 99, 70, 1, 0, 8]),
        _5__neuron=None,
        _5__bias=np.array([40, -3, 7]),
    )
    with pytest.warns(
        UserWarning, match="a.net: dense0: fractions of bias are cut off, as in lava-dl"
    ) as caught:
        net = read(path)
    notes = str(caught[0].message)
    for expected in (
        "dense0: fractions of weight are cut off, as in lava-dl; round before export",
        "dense0: refDelay is ignored, as lava-dl does; dense0: wgtExp is ignored, as lava-dl does",
        "dense0: gradedSpike is ignored, as lava-dl does",
        "dense1: a delay per synapse is a connection per delay here",
        "dense2: fractions of delay are cut off",
        "dense4: delays beyond 62 become 62, as in lava-dl",
    ):
        assert expected in notes
    assert len(caught) == 1 and "\n" not in notes and net.profile == "extended"
    assert odd.max() > 127 and odd.min() < 0 and len(set(net.layers[2].neuron.current_decay)) > 5
    rates = assert_equals_lava(path, Case((), (6,), True), 0, num_steps=100)
    assert min(list(rates.values())[:-1]) > 0.02


def test_wide_weights_and_other_forms_of_a_conv_are_those_of_lava_dl(tmp_path):
    """Its bias per neuron is W, H, C."""
    rng, path = np.random.default_rng(4), tmp_path / "a.net"
    params = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.3}
    write_blocks([cuba.Conv(params, 2, 4, 3), cuba.Conv(params, 4, 3, 2)], (2, 6, 7), path, rng)
    bias = rng.integers(-90, 90, 4)
    edit(
        path,
        _0__weight=rng.integers(-900, 1200, (4, 2, 3, 3, 1)),
        _0__bias=np.broadcast_to(bias, (5, 4, 4)),
        _0__stride=1,
        _0__neuron__vThMant=1700,
        _1__neuron__vThMant=np.array([90, 120, 200]),
        _1__neuron__iDecay=np.array([700, 4096, 2000]),
    )
    with pytest.warns(
        UserWarning, match=r"network: read in profile 'extended', since in 'stock' conv0: weights"
    ):
        net = read(path)
    assert net.layers[0].neuron.bias.tolist() == bias.tolist()
    rates = assert_equals_lava(path, Case((), (2, 6, 7), False), 0)
    assert min(rates.values()) > 0.02


def test_delays_of_a_conv_or_a_recurrent_layer_are_those_of_its_output(tmp_path):
    """Behind both, they are what lava-dl calls delays of a dense layer's inputs; biases act in time."""
    rng, path, other = np.random.default_rng(5), tmp_path / "a.net", tmp_path / "b.net"
    params = {"threshold": 1.0, "current_decay": 0.6, "voltage_decay": 0.2}
    blocks = [
        cuba.Conv(params, 2, 3, 3, stride=2, delay=True),
        cuba.Flatten(),
        cuba.Dense(params, 36, 7),
        cuba.Recurrent(params, 7, 8, delay=True),
        cuba.Dense(params, 8, 5),
    ]
    write_blocks(blocks, (2, 7, 9), path, rng)
    edit(path, _0__bias=np.array([40, 90, -30]))
    shutil.copy(path, other)
    with h5py.File(path) as file:
        conv, recurrent = (file[f"layer/{index}/delay"][()] for index in (0, 3))
    edit(other, _0__delay=None, _2__delay=np.repeat(conv, 12), _3__delay=None, _4__delay=recurrent)
    with pytest.warns(
        UserWarning, match="a.net: conv0, dense_rec3: delays count as in SLAYER; lava-dl computes"
    ):
        net = read(path, (2, 7, 9))
    assert len(set(conv)) > 2 and len(set(recurrent)) > 3 and net.profile == "extended"
    x = (rng.random((2, 7, 9, 60)) < 0.4).astype(int)
    ours = stream(net, x).messages
    theirs = lava_stream(other, describe(other, (2, 7, 9)).net, x)[0]
    for layer, spikes in zip(net.layers, theirs, strict=True):
        np.testing.assert_array_equal(ours[layer.name], spikes, err_msg=layer.name)
        assert spikes.mean() > 0.05
    edit(path, _4__delay=rng.integers(0, 9, 5))
    with pytest.warns(UserWarning, match="dense4: a delay per synapse is a connection per delay here"):
        assert len(read(path, (2, 7, 9)).output.connections) > 5


def test_delays_between_convs_move_the_spikes_that_lava_dl_computes(tmp_path):
    rng, path, tail = np.random.default_rng(6), tmp_path / "a.net", tmp_path / "b.net"
    params = {"threshold": 1.0, "current_decay": 0.6, "voltage_decay": 0.2}
    blocks = [cuba.Conv(params, 2, 5, 3, stride=2, delay=True), cuba.Conv(params, 5, 3, 2, delay=True)]
    write_blocks(blocks, (2, 7, 9), path, rng)
    with pytest.warns(
        UserWarning, match="conv0: delays count as .*; conv1: delays are left out, they move its"
    ):
        net = read(path, (2, 7, 9))
    x, steps = (rng.random((2, 7, 9, 40)) < 0.4).astype(int), 40
    (first, plain), _ = lava_stream(path, net, x)  # lava-dl ignores all of them
    late = np.zeros_like(first)
    for channel, wait in enumerate(net.layers[1].connections[0].delay[0]):
        late[channel, ..., wait:] = first[channel, ..., : steps - wait]
    with h5py.File(path) as file, h5py.File(tail, "w") as new:
        file.copy("layer/1", new.create_group("layer"), name="0")
    (second,), _ = lava_stream(tail, describe(tail).net, late)
    ours = stream(net, x).messages
    np.testing.assert_array_equal(ours["conv0"], first)
    np.testing.assert_array_equal(ours["conv1"][..., 1:], second[..., 1:])
    assert not np.array_equal(plain, ours["conv1"]) and second.mean() > 0.1


def test_delays_of_zero_steps_are_none(tmp_path):
    path, params = tmp_path / "a.net", {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.3}
    write_blocks([cuba.Dense(params, 5, 6), cuba.Dense(params, 6, 4)], (5,), path, np.random.default_rng(0))
    with h5py.File(path, "a") as file:
        file["layer/1/delay"] = np.zeros(6)
    assert "delay" not in str(read(path)) and read(path)["dense1"].connections[0].delay is None
    found = verify(path, backends=["stock"], num_samples=3, num_steps=6)  # samples share one run
    assert found.equal and found.backends["stock"].compared


def test_a_conv_with_strides_needs_its_input_shape(tmp_path):
    path = tmp_path / "a.net"
    params = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.3}
    rng = np.random.default_rng(0)
    write_blocks([cuba.Conv(params, 2, 4, 3, stride=(1, 2), padding=1)], (2, 6, 7), path, rng)
    missing = (
        r"/layer/0: the file does not say the shape of its input, 2 x 6\.\.6 x 7\.\.8; give input_shape="
    )
    with pytest.raises(NetXFormatError, match=missing):
        read(path)
    for shape in ((2, 6, 7), (2, 6, 8)):
        net = read(path, shape)
        assert net.input.shape == shape
        x = (rng.random((1, *shape, 5)) < 0.5).astype(int)
        assert compare(simulate(path, x), simulate(net, x)).mismatches == 0  # the data has the shape
    with pytest.raises(NetXFormatError, match=r"conv0: shape \(4, 6, 4\) does not fit its synapse's output"):
        read(path, (2, 6, 9))
    with pytest.raises(OptionError, match=r"read: input_shape=\(2, 6\) is not allowed; use \(C, H, W\) or"):
        read(path, (2, 6))
    options = {"padding": (1, 0), "dilation": (1, 2)}
    write_blocks([cuba.Conv(params, 2, 4, (3, 2), groups=2, **options)], (2, 6, 7), path, rng)
    assert read(path).input.shape == (2, 6, 7)  # without strides, it follows
    write_blocks([cuba.Input(delay_shift=False), cuba.Conv(params, 2, 4, 3)], (2, 6, 7), path, rng)
    with pytest.raises(OptionError, match=r"input_shape=\(2, 7, 6\) is not that of the network, \(2, 6, 7\)"):
        read(path, (2, 7, 6))


def test_functions_and_commands_take_the_file_itself(tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / "a.net"
    params = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.3}
    blocks = [cuba.Conv(params, 2, 3, 3, stride=2, padding=1), cuba.Flatten(), cuba.Dense(params, 48, 6)]
    write_blocks(blocks, (2, 7, 8), path, rng)
    edit(path, _2__neuron__refDelay=3)
    remark = "dense2: refDelay is ignored, as lava-dl does"
    with pytest.warns(UserWarning, match=remark) as caught:
        found = verify(path, input_shape=(2, 7, 8), backends=["stock"], num_samples=2, num_steps=6)
    assert len(caught) == 1 and found.equal and found.backends["stock"].compared == 2 * 6 * 54
    net = describe(path, (2, 7, 8)).net
    x = random_data(net, 2, 6)
    with pytest.warns(UserWarning, match=remark):
        assert (simulate(path, x).spikes == simulate(net, x).spikes).all()
    with pytest.raises(OptionError, match=r"verify: input_shape=\(2, 8, 7\) is not that of the network"):
        verify(net, input_shape=(2, 8, 7))
    done = command("inspect", path, "--input-shape", "2,7,8")
    assert done.returncode == 0 and f"note: {remark}" in done.stdout and "a file of lava-dl" in done.stdout
    done = command("verify", path, "--input-shape", "2,7,8", "--backends", "lava-fused", "--steps", "4")
    assert done.returncode == 0 and remark in done.stderr
    np.save(tmp_path / "spikes.npy", x)
    done = command("report", path, "--input-shape", "2,7,8", "--inputs", tmp_path / "spikes.npy")
    assert done.returncode == 0 and "2 samples of 6 steps" in done.stdout and remark in done.stderr
    done = command("inspect", path)
    assert done.returncode == 2 and "2 x 7..8 x 7..8; give --input-shape C,H,W" in done.stderr
    done = command("inspect", path, "--input-shape", "2x7")
    assert done.returncode == 2 and "--input-shape '2x7' is not allowed; use C,H,W or C" in done.stderr


REFUSED = {
    "rf": ({"threshold": 1.0, "period": 10, "decay": 0.1}, "RF_PHASE"),
    "rf_iz": ({"threshold": 1.0, "period": 10, "decay": 0.1}, "RF_IZHIKEVICH"),
    "alif": (
        {
            "threshold": 1.0,
            "current_decay": 0.5,
            "voltage_decay": 0.5,
            "threshold_step": 0.1,
            "threshold_decay": 0.1,
            "refractory_decay": 0.1,
        },
        "ALIF",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_neurons_are_refused_by_name(tmp_path, kind):
    params, name = REFUSED[kind]
    layer = getattr(slayer.block, kind).Dense(params, 6, 8)
    layer(torch.zeros(1, 6, 3))
    with h5py.File(tmp_path / "a.net", "w") as file:
        layer.export_hdf5(file.create_group("layer/0"))
    with pytest.raises(NetXFormatError, match=f"neuron type '{name}' is not supported; use CUBA") as error:
        read(tmp_path / "a.net")
    assert "\n" not in str(error.value)


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(1000, 1300, 25))
def test_many_random_files_equal_lava_dl(tmp_path, first):
    fired = 0
    for seed in range(first, first + 25):
        case = random_file(tmp_path / "a.net", seed)
        rates = assert_equals_lava(tmp_path / "a.net", case, seed, num_steps=40)
        widen(tmp_path / "a.net", np.random.default_rng((seed, 1)))
        assert_equals_lava(tmp_path / "a.net", case, seed, num_steps=40)
        fired += min(list(rates.values())[: -1 if "Affine" in case.kinds[-1] else None]) > 0
    assert fired > 5
