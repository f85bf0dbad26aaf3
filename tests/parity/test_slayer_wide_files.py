"""Files of numbers that Loihi does not hold: what we compute equals unmodified lava-dl at every step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.slayer_files import Case, cuba, edit, random_file, widen, write_blocks
from support.slayer_parity import assert_equals_lava

from lava_bsnn.errors import NetXFormatError
from netx_export import describe, read
from netx_export.network import LIF, Readout
from netx_export.verify import random_data, verify

pytestmark = pytest.mark.lava
PARAMS = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.3}
TOP = (1 << 17) - 1


def equal_everywhere(path, case, num_steps=20):
    """Compare with lava-dl, and our Lava processes with the simulator; returns the network and rates."""
    rates = assert_equals_lava(path, case, 0, num_steps=num_steps)
    net = describe(path, case.shape).net
    found = verify(net, backends=["lava", "lava-fused"], num_samples=2, num_steps=num_steps)
    assert found.equal and all(backend.compared for backend in found.backends.values())
    return net, rates


@pytest.mark.parametrize(("seed", "wraps"), [(3, True), (11, False), (16, True), (24, True), (29, True)])
def test_random_wide_files_equal_lava_dl_in_every_layer(tmp_path, seed, wraps):
    case = random_file(tmp_path / "a.net", seed)
    done = widen(tmp_path / "a.net", np.random.default_rng((seed, 1)))
    rates = assert_equals_lava(tmp_path / "a.net", case, seed)
    net = describe(tmp_path / "a.net", None if case.declared else case.shape).net
    assert any(layer.neuron.wraps for layer in net.layers) == wraps and len(done) > 0
    assert sum(rate > 0.02 for rate in rates.values()) >= 2


def test_values_per_neuron_of_a_conv_are_those_of_lava_dl(tmp_path):
    rng, path = np.random.default_rng(4), tmp_path / "a.net"
    write_blocks([cuba.Conv(PARAMS, 2, 4, 3), cuba.Conv(PARAMS, 4, 3, 2)], (2, 6, 7), path, rng)
    bias = rng.integers(-90, 90, (5, 4, 4))  # W, H, C
    edit(
        path,
        _0__bias=bias,
        _0__neuron__vThMant=rng.integers(100, 900, (5, 4, 4)),
        _1__neuron__iDecay=rng.integers(900, 4097, (4, 3, 3)),
        _1__neuron__vDecay=rng.integers(0, 4097, (4, 3, 1)),
    )
    with pytest.warns(UserWarning, match="conv0: a bias per neuron is not possible in profile 'stock'"):
        first = read(path).layers[0].neuron
    assert (first.bias == bias.transpose()).all() and first.threshold.shape == (4, 4, 5)
    net, rates = equal_everywhere(path, Case((), (2, 6, 7), False))
    assert min(rates.values()) > 0.05 and net.layers[1].neuron.voltage_decay.shape == (3, 3, 4)


def test_biases_beyond_13_bits_are_those_of_lava_dl(tmp_path):
    """Beyond 16 bits they wrap; the readout's are wide, too, and one neuron's threshold is out of reach."""
    rng, path = np.random.default_rng(5), tmp_path / "a.net"
    blocks = [cuba.Dense(PARAMS, *pair) for pair in itertools.pairwise((6, 8, 7))]
    write_blocks([*blocks, cuba.Affine(PARAMS, 7, 3)], (6,), path, rng)
    thresholds = rng.integers(9000, 40_000, 7)
    thresholds[3] = 1 << 18
    edit(
        path,
        _0__bias=np.array([4096, 30_000, -30_000, 40_000, 70_000, 0, 5, -4097]),
        _1__bias=np.full(7, 20_000),
        _1__neuron__vThMant=thresholds,
        _2__bias=np.array([5000, -6000, 3]),
    )
    with pytest.warns(UserWarning, match="dense0: biases beyond 16 bits wrap, as in lava-dl") as caught:
        net = read(path)
    assert "dense1: biases 20000..20000 are those of lava-dl; Loihi holds 13 bits" in str(caught[0].message)
    assert net.layers[0].neuron.exponent == 0
    assert net.layers[0].neuron.bias.tolist()[3:5] == [(40_000 - 65_536) << 6, (70_000 - 65_536) << 6]
    _, rates = equal_everywhere(path, Case((), (6,), False), num_steps=60)
    assert rates["dense0"] > 0.2 and rates["dense1"] > 0.1


def test_decays_per_channel_of_an_affine_layer_are_those_of_lava_dl(tmp_path):
    rng, path = np.random.default_rng(6), tmp_path / "a.net"
    write_blocks([cuba.Dense(PARAMS, 6, 8), cuba.Affine(PARAMS, 8, 5)], (6,), path, rng)
    decays = {"current_decay": rng.integers(0, 4097, 5), "voltage_decay": np.array([0, 4096, 7, 900, 4000])}
    edit(path, _1__neuron__iDecay=decays["current_decay"], _1__neuron__vDecay=decays["voltage_decay"])
    with pytest.warns(UserWarning, match="a voltage_decay per channel is not possible in profile 'stock'"):
        readout = read(path).output.neuron
    assert isinstance(readout, Readout) and all((getattr(readout, k) == v).all() for k, v in decays.items())
    net, rates = equal_everywhere(path, Case((), (6,), False), num_steps=40)
    assert net.reads_out and rates["dense0"] > 0.2


def test_weights_of_a_dense_layer_that_lava_dl_clips_are_those_of_the_file(tmp_path):
    rng, path = np.random.default_rng(10), tmp_path / "a.net"
    write_blocks([cuba.Dense(PARAMS, 4, 5), cuba.Recurrent(PARAMS, 5, 3)], (4,), path, rng)
    for low, high, clips in ((-256, 254, False), (-257, 9, True), (-9, 255, True), (0, 255, False)):
        weight = np.clip(rng.integers(-999, 999, (5, 4)), low, high)
        loop = np.clip(rng.integers(-999, 999, (3, 3)), low, high)
        edit(path, _0__weight=weight, _1__weight_rec=loop)
        found = describe(path)
        note = f"weights {low}..{high} are those of the file; lava-dl clips them, or computes zeros"
        assert (f"dense0: {note}" in "; ".join(found.notes)) == clips
        assert (found.net.layers[0].connections[0].synapse.weight == weight).all()
    edit(path, _0__weight=np.full((5, 4), 90_000))
    with pytest.warns(UserWarning, match="dense0: weights 90000..90000 are those of the file"):
        assert read(path).layers[0].neuron.wraps


@pytest.mark.parametrize(("decay", "inputs"), [(4096, 2450), (3000, 2450), (1, 2000)])
def test_sums_that_overflow_wrap_as_in_lava_dl(tmp_path, decay, inputs):
    """Thousands of weights of 8 bits overflow a dense layer's current: at one step, or with its memory."""
    rng, path = np.random.default_rng(7), tmp_path / "a.net"
    write_blocks([cuba.Dense(PARAMS, inputs, 9), cuba.Dense(PARAMS, 9, 5)], (inputs,), path, rng)
    edit(
        path,
        _0__weight=2 * rng.integers(-20, 128, (9, inputs)),
        _0__neuron__vThMant=50_000,
        _0__neuron__iDecay=decay,
        _0__bias=rng.integers(-4000, 4000, 9),
    )
    note = "dense0: currents beyond 24 bits wrap, as in lava-dl; use smaller weights to avoid it"
    with pytest.warns(UserWarning, match=note):
        net = read(path)
    assert [layer.neuron.wraps for layer in net.layers] == [True, False]
    net, rates = equal_everywhere(path, Case((), (inputs,), False))
    sums = 64 * (net.layers[0].connections[0].synapse.weight @ random_data(net, 2, 20, 0)[0])
    assert (sums.max() if decay > 1 else sums[:, :2].sum(1).max()) > 1 << 23
    assert 0.1 < rates["dense0"] < 0.9


def test_a_readout_that_one_step_could_make_fire_is_a_layer_that_spikes(tmp_path):
    """Of the highest threshold of 17 bits: a step's sum wraps or its bias takes it beyond."""
    rng, path = np.random.default_rng(8), tmp_path / "a.net"
    write_blocks([cuba.Dense(PARAMS, 6, 3000), cuba.Dense(PARAMS, 3000, 4)], (6,), path, rng)
    edit(
        path,
        _0__neuron__vThMant=90,
        _1__weight=2 * rng.integers(-20, 128, (4, 3000)),
        _1__neuron__vThMant=TOP,
        _1__neuron__iDecay=4096,
        _1__neuron__vDecay=0,
    )
    with pytest.warns(UserWarning, match="dense1: currents beyond 24 bits wrap"):
        assert isinstance(read(path).output.neuron, LIF)
    net, rates = equal_everywhere(path, Case((), (6,), False))
    assert rates["dense1"] > 0.02, rates
    edit(path, _1__weight=2 * rng.integers(-20, 30, (4, 3000)))
    net = read(path)
    assert isinstance(net.output.neuron, Readout) and net.profile == "stock"


def test_sums_that_lava_dl_wraps_otherwise_are_refused(tmp_path):
    """Its convolution wraps 24 bits of weight steps; a current that hardly decays would leave 32 bits."""
    rng, path = np.random.default_rng(9), tmp_path / "a.net"
    write_blocks([cuba.Conv(PARAMS, 1, 1, 1)], (1, 4, 4), path, rng)
    most = (1 << 23) - 1
    edit(path, _0__weight=np.full((1, 1, 1, 1), most), _0__neuron__iDecay=4096)
    with pytest.warns(UserWarning, match="conv0: currents beyond 24 bits wrap"):
        read(path)
    assert_equals_lava(path, Case((), (1, 4, 4), False), 0)
    edit(path, _0__neuron__iDecay=1)
    allowed = "16777216 are always allowed, with current_decay=4096 at most 536870848"
    with pytest.raises(NetXFormatError, match=f"up to 536870848 membrane steps, more than .*; {allowed}"):
        read(path)
    edit(path, _0__weight=np.full((1, 1, 1, 1), most + 1), _0__neuron__iDecay=4096)
    with pytest.raises(
        NetXFormatError, match=f"weights 8388608..8388608 is out of range; -{most}..{most} are"
    ):
        read(path)


def test_an_input_layer_of_which_some_neurons_never_fire_is_refused(tmp_path):
    rng, path = np.random.default_rng(11), tmp_path / "a.net"
    blocks = [cuba.Input(PARAMS, weight=2.0, bias=-0.5), cuba.Dense(PARAMS, 4, 3)]
    write_blocks(blocks, (4,), path, rng)
    edit(path, _0__neuron__vThMant=np.array([90, 90, TOP, 300]))
    assert describe(path).net.layers[0].neuron.exponent == 6
    assert_equals_lava(path, Case((), (4,), True), 0)
    edit(path, _0__neuron__vThMant=np.array([90, 90, TOP + 1, 300]))
    with pytest.raises(
        NetXFormatError, match="vThMant: of an input layer, all or none may be beyond 17 bits"
    ):
        read(path)
