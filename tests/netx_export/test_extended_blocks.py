"""Blocks in the extended profile: their options, what is refused, sums that a layer takes over, readouts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.device import messages_of
from lava_bsnn.errors import ExportError
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from netx_export import convert, simulate
from netx_export.network.synapses import weight_bits

STEPS = 3
MATCHED = {"threshold": 1.0, "voltage_decay": 0.5, "membrane_bits": 8, "membrane_mode": "matched"}


def chain(*neurons, norm="batch", **options):
    """Convolutions with these neurons."""
    blocks = [
        block.Conv(neuron, 2 if not i else 3, 3, 3, norm=norm, **options) for i, neuron in enumerate(neurons)
    ]
    blocks += [block.Flatten(), block.Readout(None, 3 * (8 - 2 * len(neurons)) ** 2, 2)]
    return models.SpikingNetwork(blocks, in_shape=(2, 8, 8), num_steps=STEPS)


def test_a_gain_of_zero_is_a_dead_channel_and_said(settle):
    model = settle(chain({"threshold": 1.0}))
    model.blocks[0].norm.weight.data[1] = 0
    with pytest.warns(UserWarning, match=r"channels \[1\] have a batch norm gain of 0"):
        net = convert(model, "extended")
    assert net.layers[0].connections[0].scale[1] == 0


def test_a_negative_gain_flips_the_signs_of_its_channel(settle):
    model = settle(chain({"threshold": 1.0}))
    before = convert(model, "extended").layers[0].connections[0]
    model.blocks[0].norm.weight.data[1] *= -1
    after = convert(model, "extended").layers[0].connections[0]
    np.testing.assert_array_equal(before.scale, after.scale)
    np.testing.assert_array_equal(before.synapse.weight[1], -after.synapse.weight[1])
    np.testing.assert_array_equal(before.synapse.weight[0], after.synapse.weight[0])


@pytest.mark.parametrize("profile", ["stock", "extended", "matched"])
def test_the_threshold_itself_fires(float_spikes, profile):
    """Weight 1 and threshold 1: the potential is exactly at the threshold, in torch and in integers."""
    params = MATCHED if profile == "matched" else {"threshold": 1.0}
    conv = block.Conv(params | {"voltage_decay": 1.0}, 1, 1, 1, norm=None)
    conv.synapse.weight.data.fill_(1.0)
    blocks = [conv, block.Flatten(), block.Readout(None, 1, 2)]
    model = models.SpikingNetwork(blocks, in_shape=(1, 1, 1), num_steps=2).eval()
    net = convert(model, "stock" if profile == "stock" else "extended")
    x = np.array([0, 1]).reshape(1, 1, 1, 1, 2)
    assert simulate(net, x, trace=True).layers["conv0"].spikes.reshape(-1).tolist() == [False, True]
    assert float_spikes(model, x)[0][0].reshape(-1).tolist() == [0, 1]


def test_weights_and_offsets_are_the_nearest_integers(settle):
    """A weight may be off by half of its channel's scale, an offset by half a membrane step."""
    blocks = [
        block.Conv({"threshold": 0.7}, 2, 4, 3, binarize=None, weight_bits=None),
        block.Conv({"threshold": 1.0}, 4, 4, 3, groups=2, binarize=None, weight_bits=4),
        block.Flatten(),
        block.Dense({"threshold": 1.3}, 64, 12),
        block.Readout(None, 12, 3, weight_bits=None),
    ]
    torch.nn.init.normal_(blocks[-1].bias)
    model = settle(models.SpikingNetwork(blocks, in_shape=(2, 8, 8), num_steps=STEPS))
    torch.nn.init.uniform_(model.blocks[0].norm.weight, -1.0, 1.0)
    reports = []
    net = convert(model, "extended", report=reports.append)
    synapses = [module for module in blocks if hasattr(module, "synapse")]
    for module, layer, report in zip(synapses, net.layers, reports, strict=True):
        folded, _, _ = messages_of(module)
        (connection,) = layer.connections
        np.testing.assert_array_equal(connection.bias, np.rint(folded.offset * report.unit))
        scale = connection.scale.reshape(-1, *[1] * (folded.q.ndim - 1))
        real = folded.q * (folded.multiplier * report.unit).reshape(scale.shape)
        wrong = connection.synapse.weight.reshape(real.shape) * scale - real
        if module.synapse.pre_hook_fx is None:
            assert (abs(wrong) <= scale * (0.5 + 1e-9)).all() and abs(wrong).max() > 0.1
        else:  # integers already, of which the scale is rounded
            assert (abs(wrong) <= abs(folded.q) * 0.5).all()


def test_every_offending_block_is_listed_before_anything_is_done(settle):
    qcfs = models.create("cnn", num_classes=5, in_shape=(1, 8, 8), num_steps=1, method="qcfs", width=0.1)
    with pytest.raises(ExportError) as error:
        convert(qcfs, "extended")
    assert str(error.value).count("use training.hybrid.to_lmht first") == 3
    model = settle(chain({"membrane_bits": 4, "membrane_when": "before_spike"}, {"membrane_bits": 4}))
    with pytest.raises(ExportError, match="membrane_when='before_spike'"):
        convert(model, "extended")
    model = settle(chain({"membrane_bits": 4}))
    model.blocks[0].neuron.membrane_scale.zero_()
    with pytest.raises(
        ExportError, match=r"range 0 has no step of a power of two here; train the model first"
    ):
        convert(model, "extended")


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (
            lambda: chain({"threshold": 1.0}, binarize=None, weight_bits=16),
            "weights of 16 bits .* use weight_bits=8",
        ),
    ],
)
def test_what_would_differ_is_refused(settle, make_model, message):
    with pytest.raises(ExportError, match=message):
        convert(settle(make_model()), "extended")


def test_sums_beyond_8_bits_in_front_of_a_convolution_are_refused(settle):
    blocks = [block.Pool(None, 16), block.Conv({}, 2, 2, 1), block.Flatten(), block.Readout(None, 2, 2)]
    big = models.SpikingNetwork(blocks, in_shape=(2, 16, 16), num_steps=1)
    with pytest.raises(ExportError, match=r"sums of 256 messages 0\.\.1 are not in 0\.\.255; use a smaller"):
        convert(settle(big), "extended")


def test_a_membrane_of_few_bits_goes_to_stock_only_if_accepted(settle):
    model = settle(chain({"threshold": 1.0, "membrane_bits": 4}))
    with pytest.raises(ExportError, match="ignore_membrane=True"):
        convert(model, "stock")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert convert(model, "stock", ignore_membrane=True).profile == "stock"


def test_multi_threshold_neurons_keep_their_constants(settle):
    neuron = {"levels": 3, "threshold": 0.7, "initial": 0.5, "num_steps": STEPS}
    model = settle(chain(neuron, neuron=MultiThresholdLIF), num_steps=STEPS)
    model.blocks[0].neuron.lam_logit.data.fill_(0.3)
    made = convert(model, "extended").layers[0]
    assert made.neuron.lam == round(float(model.blocks[0].neuron.lam.detach()) * 4096)
    assert made.neuron.initial == round(made.neuron.threshold / 2)
    np.testing.assert_array_equal(made.mix.omega, np.full((STEPS, STEPS), round(4096 / STEPS)))


@pytest.fixture
def assert_equal_to_torch(settle, float_spikes):
    """Every spike, and in matched mode every potential of the readout; ``quiet`` layers may be silent."""

    def check(blocks, in_shape, steps=STEPS, *, matched=True, quiet=()):
        model = settle(models.SpikingNetwork(blocks, in_shape=in_shape, num_steps=steps))
        reports = []
        net = convert(model, "extended", report=reports.append)
        x = np.random.default_rng(0).integers(0, 2, (50, *in_shape, steps))
        ours, (spikes, logits) = simulate(net, x, trace=True), float_spikes(model, x)
        for report, counts in zip(reports[:-1], spikes, strict=True):
            found = ours.layers[report.name].spikes
            np.testing.assert_array_equal(found, counts.reshape(found.shape), err_msg=report.name)
            assert report.name in quiet or 0 < found.mean() < net[report.name].neuron.max_message
        if matched:
            np.testing.assert_array_equal(ours.readout, (logits.astype(float) * reports[-1].unit).cumsum(-1))
        assert ours.readout.any()
        return net

    return check


def test_matched_neurons_take_scaled_spikes(assert_equal_to_torch):
    """theta times a count, from neurons that were QCFS before; theta may change after the build."""
    counts = {"levels": 3, "threshold": 0.5, "scaled": True, "learn_threshold": True, "learn_lam": False}
    first = block.Conv(counts, 2, 4, 3, norm=None, neuron=MultiThresholdLIF)
    torch.nn.init.constant_(first.synapse.weight, 0.25)
    blocks = [
        first,
        block.Residual([block.Conv(MATCHED, 4, 4, 3, padding=1)]),
        block.Flatten(),
        block.Readout(None, 4 * 4 * 4, 2),
    ]
    block.build(blocks, (2, 6, 6))
    first.neuron.theta.data.fill_(0.625)
    net = assert_equal_to_torch(blocks, (2, 6, 6))
    assert blocks[1].blocks[0].input_scale == 0.625
    assert net.layers[1].connections[1].scale.tolist() == [round(0.625 * (1 << 12))] * 4


@pytest.mark.parametrize("size", [3, (1, 3)])
def test_a_shortcut_of_averages_is_added_in_whole_membrane_steps(assert_equal_to_torch, size):
    """1/9 of a spike is no whole number of membrane steps; nine of them are not a spike either."""
    residual = block.Residual([block.Conv(MATCHED | {"voltage_decay": 0.0}, 2, 2, 3, padding=1)])
    blocks = [block.Pool(None, size), residual, block.Flatten(), block.Readout(None, 18, 2)]
    in_shape = (2, 9, 9) if size == 3 else (2, 3, 9)
    assert_equal_to_torch(blocks, in_shape, steps=20)
    x = torch.full((1, *residual.input_shape, 1), 7.0) * residual.input_scale
    unit = residual.blocks[0].unit
    assert residual._on_grid(x)[0, 0, 0, 0, 0] * unit == 7 * round(unit * residual.input_scale)


@pytest.mark.parametrize("hidden", [True, False])
def test_sums_beyond_8_bits_become_a_part_of_the_dense_layer_behind(assert_equal_to_torch, hidden):
    torch.manual_seed(0)
    counts = {"levels": 7, "threshold": 0.5, "scaled": True, "scale": 64}
    pool = block.Pool(None, 9)
    blocks = [block.Conv(counts, 2, 3, 3, neuron=MultiThresholdLIF), pool, block.Flatten()]
    blocks += (
        [block.Dense(MATCHED | {"threshold": 0.0625}, 12, 4, weight_scale=8), block.Readout(None, 4, 2)]
        if hidden
        else [block.Readout(None, 12, 2)]
    )
    net = assert_equal_to_torch(blocks, (2, 21, 20))
    weight = net.layers[1].connections[0].synapse.weight.reshape(-1, 3, 19, 18)
    assert not weight[:, :, 18].any()  # that row belongs to no window
    assert (weight[:, :, 9:18, 9:18] == weight[:, :, 9:10, 9:10]).all()


@pytest.mark.parametrize(("bits", "error"), [(0, 0.005), (2, 0.01), (4, 0.04), (6, 0.15)])
def test_readouts_of_many_inputs_keep_their_weights(bits, error):
    """24 bits for all steps leave a scale below 1 on 8-bit weights; fewer bits of the weights are left."""
    torch.manual_seed(0)
    blocks = [block.Input(bits=bits)] if bits else []
    blocks.append(block.Readout(None, 20_000, 3))
    model = models.SpikingNetwork(blocks, in_shape=(20_000,), num_steps=4).eval()
    reports = []
    net = convert(model, "extended", report=reports.append)
    assert reports[0].error < error
    largest = net.input.max_value
    x = np.random.default_rng(0).integers(0, largest + 1, (4, 20_000, 4))
    with torch.no_grad():
        sums = model(torch.from_numpy(x / largest).float()).cumsum(-1).numpy()
    found = simulate(net, x).readout / reports[0].unit
    spread = np.linalg.norm(blocks[-1].synapse.weight.detach().squeeze(), axis=1)
    assert np.abs(found - sums).max() < 3 * error * spread.max() * largest * 4


@pytest.mark.parametrize(
    ("bits", "options"),
    [
        (1, {"binarize": "channel"}),
        (1, {"binarize": "layer"}),
        (2, {"weight_bits": 2}),
        (4, {"weight_bits": 4}),
    ],
)
def test_a_readout_keeps_weights_of_few_bits_where_its_scale_can_hold_them(bits, options):
    torch.manual_seed(0)
    blocks = [block.Input(bits=4), block.Readout(None, 512, 5, **options)]
    model = models.SpikingNetwork(blocks, in_shape=(512,), num_steps=64)
    reports = []
    net = convert(model, "extended", report=reports.append)
    (connection,) = net.output.connections
    assert weight_bits(connection.synapse) == bits
    assert 1 < connection.scale.max() < 128
    assert reports[0].error < (1e-2 if options == {"binarize": "channel"} else 1e-6)  # float32
    if options != {"binarize": "channel"}:
        synapse = blocks[-1].synapse
        whole, step = synapse.pre_hook_fx.integers(synapse.weight)
        np.testing.assert_array_equal(connection.synapse.weight, whole.squeeze())
        real = step.double().flatten().numpy() * reports[0].unit
        np.testing.assert_allclose(connection.scale, np.broadcast_to(real, 5), rtol=1e-12)


@pytest.mark.parametrize("params", [None, MATCHED | {"threshold": 0.25}])
def test_a_pooling_may_have_a_negative_scale(assert_equal_to_torch, params):
    torch.manual_seed(0)
    pool = block.Pool(params, 2, weight_scale=-1.0)
    readout = block.Readout(None, 12, 2)
    torch.nn.init.constant_(readout.bias, 0.5)
    blocks = [block.Conv(MATCHED, 2, 3, 3, padding=1), pool, block.Flatten(), readout]
    net = assert_equal_to_torch(blocks, (2, 4, 4), quiet={"pool1"} if params else ())
    if params:
        assert (net["pool1"].connections[0].synapse.weight == -1).all()


@pytest.mark.parametrize("profile", ["matched", "stock"])
def test_a_pooling_of_all_pixels_keeps_one_weight(float_spikes, profile):
    """Its window is the image, along which weights of a dense layer would be rounded."""
    params = MATCHED | {"scale": 16} if profile == "matched" else {"threshold": 1.0}
    pool = block.Pool(params, 3, weight_scale=2 / 255)
    blocks = [block.Input(bits=8), pool, block.Flatten(), block.Readout(None, 1, 2)]
    model = models.SpikingNetwork(blocks, in_shape=(1, 3, 3), num_steps=STEPS).eval()
    net = convert(model, "stock" if profile == "stock" else "extended")
    (connection,) = net["pool1"].connections
    assert len(np.unique(connection.synapse.weight)) == 1
    x = np.random.default_rng(0).random((200, 1, 3, 3), dtype=np.float32)
    theirs = float_spikes(model, x)[0][0]
    ours = simulate(net, net.encode(x), trace=True).layers["pool1"].spikes
    if profile == "matched":
        np.testing.assert_array_equal(ours, theirs)
    assert np.mean(ours != theirs) < 0.05 and 0.1 < ours.mean() < 0.9


@pytest.mark.parametrize("bias", [False, True])
def test_a_readout_without_weights_gives_its_bias(bias):
    readout = block.Readout(None, 6, 2, bias=bias)
    model = models.SpikingNetwork([readout], in_shape=(6,), num_steps=4)
    with torch.no_grad():
        readout.synapse.weight.zero_()
        if bias:
            readout.bias.copy_(torch.tensor([1.0, -2.0]))
    found = simulate(convert(model, "extended"), np.ones((1, 6, 4), int)).readout[0, :, -1]
    assert (found[0] > 0 and abs(found[1] + 2 * found[0]) <= 4) if bias else not found.any()


@pytest.mark.parametrize("neuron", [LIF, MultiThresholdLIF])
def test_sums_too_large_for_the_grid_of_matched_mode_name_the_scale(neuron):
    params = {"scale": 64} if neuron is MultiThresholdLIF else MATCHED
    first = block.Dense(params, 4096, 2, norm=None, neuron=neuron)
    torch.nn.init.ones_(first.synapse.weight)
    model = models.SpikingNetwork([first, block.Readout(None, 2, 2)], in_shape=(4096,), num_steps=2)
    with pytest.raises(ExportError, match=r"may add up to 4\.1e\+03 thresholds, .* the neuron's scale=16,"):
        convert(model, "extended")
    if neuron is MultiThresholdLIF:
        first.neuron.scale = 16
        convert(model, "extended")


def test_a_readout_of_which_nothing_is_left_is_refused():
    blocks = [block.Input(bits=8), block.Readout(None, 50_000, 1)]
    model = models.SpikingNetwork(blocks, in_shape=(50_000,), num_steps=16)
    message = (
        r"Readout\(50000, 1\): rounding changes the current by 1 of the logits: 24 bits leave too few weight "
        r"steps over 50000 inputs of up to 255 and 16 steps; use fewer inputs, input bits"
    )
    with pytest.raises(ExportError, match=message):
        convert(model, "extended")


def test_a_residual_of_dense_blocks_may_follow_an_image(assert_equal_to_torch):
    blocks = [
        block.Conv(MATCHED, 2, 3, 3),
        block.Flatten(),
        block.Residual([block.Dense(MATCHED, 48, 48)]),
        block.Readout(None, 48, 2),
    ]
    net = assert_equal_to_torch(blocks, (2, 6, 6))
    np.testing.assert_array_equal(net.layers[1].connections[1].synapse.weight, np.eye(48))


def test_multiples_of_a_power_of_two_are_converted_without_error(assert_equal_to_torch):
    neuron = {"levels": 2, "threshold": 0.75, "learn_lam": False}
    conv = block.Conv(neuron, 2, 3, 3, norm=None, neuron=MultiThresholdLIF)
    torch.nn.init.constant_(conv.synapse.weight, 0.375)
    blocks = [conv, block.Flatten(), block.Readout(None, 48, 2)]
    assert_equal_to_torch(blocks, (2, 6, 6), steps=2, matched=False)
    reports = []
    model = models.SpikingNetwork(blocks, in_shape=(2, 6, 6), num_steps=2).eval()
    convert(model, "extended", report=reports.append)
    assert reports[0].error == reports[0].worst == 0
