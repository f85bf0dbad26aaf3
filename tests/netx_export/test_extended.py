"""Every model of the package in the extended profile: lowered, saved, loaded, simulated."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lava_bsnn import block, device, fixed_point, models, training
from lava_bsnn.errors import ExportError
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, QCFS, MultiThresholdLIF
from lava_bsnn.training.hybrid import to_lmht, to_single_threshold
from netx_export import convert, read, simulate, stream, write
from netx_export.network import Identity, MultiThreshold
from netx_export.synapses import weight_bits

MODELS = {
    "resnet19-agmm": ("resnet19", (2, 16, 16), {"method": "agmm", "width": 0.0625}),
    "vggsnn-qsnn": ("vggsnn", (2, 16, 16), {"method": "qsnn", "width": 0.0625}),
    "resnet20-classic": ("resnet20", (2, 16, 16), {"method": "binary", "width": 0.5, "skip": "classic"}),
    "resnet18-lmht": ("resnet18", (2, 16, 16), {"method": "lmht", "width": 0.125}),
    "resnet20-hybrid": ("resnet20", (2, 16, 16), {"method": "qcfs", "width": 0.5}),
    "vgg13-lmht-causal": (
        "vgg13",
        (2, 16, 16),
        {
            "method": "lmht",
            "width": 0.125,
            "method_options": {"neuron_params": {"levels": 4, "threshold": 0.5, "mix": "causal"}},
        },
    ),
    "cnn-alpha-per-channel": (
        "cnn",
        (2, 16, 16),
        {
            "method": "agmm",
            "width": 0.25,
            "method_options": {"modulation_options": {"alpha": "channel", "per": "layer"}},
        },
    ),
    "resnet20-matched": (
        "resnet20",
        (2, 16, 16),
        {
            "method": "agmm",
            "width": 0.5,
            "method_options": {
                "shortcut": "channel",
                "neuron_params": {
                    "threshold": 1.0,
                    "voltage_decay": 0.5,
                    "membrane_bits": 4,
                    "membrane_mode": "matched",
                },
            },
        },
    ),
    "vggsnn-matched": (
        "vggsnn",
        (2, 16, 16),
        {
            "method": "qsnn",
            "width": 0.0625,
            "method_options": {
                "neuron_params": {
                    "threshold": 1.0,
                    "voltage_decay": 0.5,
                    "membrane_bits": 2,
                    "membrane_mode": "matched",
                }
            },
        },
    ),
}
STEPS = 3


def spikes_in(seed=0, number=6, shape=(2, 16, 16)):
    return np.random.default_rng(seed).integers(0, 2, (number, *shape, STEPS))


def make(name, how):
    torch.manual_seed(0)
    kind, shape, options = MODELS[name]
    steps = 1 if options["method"] == "qcfs" else STEPS
    model = models.create(kind, num_classes=5, in_shape=shape, num_steps=steps, **options)
    if options["method"] == "qcfs":
        for module in model.modules():
            if isinstance(module, QCFS):
                module.theta.data.uniform_(0.5, 2.0)
        model = to_lmht(model, levels=2, num_steps=STEPS)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():  # gains of both signs
                module.weight.uniform_(-1, 1.5)
                module.bias.normal_(0, 0.3)
    x = torch.from_numpy(spikes_in(1, 16)).float()
    if how != "fresh":
        data = (x.numpy(), np.arange(16) % 5)
        training.fit(model, data, data, epochs=3, batch_size=8)
        if how == "matched":
            training.match_device(model)
    else:
        model.train()
        with torch.no_grad():
            for _ in range(20):
                model(x)
    return model.eval()


CASES = [(name, how) for name in MODELS for how in ("fresh", "trained", "matched")]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    name, how = request.param
    model = make(name, how)
    name = f"{name}-{how}"
    return name, model, convert(model, "extended")


def spiking_layers(net):
    return [layer for layer in net.layers if layer is not net.output and not layer.name.startswith("pool")]


def test_a_model_survives_the_file(case, tmp_path):
    _, _, net = case
    write(net, tmp_path / "a.net")
    back = read(tmp_path / "a.net")
    assert back == net and hash(back) == hash(net) and back.digest() == net.digest()
    x = spikes_in()
    first, second = simulate(net, x, trace=True), simulate(back, x, trace=True)
    np.testing.assert_array_equal(first.readout, second.readout)
    for name, trace in first.layers.items():
        np.testing.assert_array_equal(trace.spikes, second.layers[name].spikes)


def test_integers_follow_the_float_model(case, float_spikes):
    """Rounding changes few spikes of the first layers; a wrong scale, sign or order changes many."""
    name, model, net = case
    x = spikes_in()
    ours = simulate(net, x, trace=True)
    theirs, _ = float_spikes(model, x)
    layers = spiking_layers(net)
    assert len(layers) == len(theirs)
    for depth, (layer, spikes) in enumerate(zip(layers, theirs, strict=True)):
        trace = ours.layers[layer.name].spikes
        different = np.mean(trace != spikes.reshape(trace.shape))
        if "matched" in name:
            assert different == 0, layer.name
        elif depth < 3:
            assert different < (0.04 if "hybrid" in name else 0.02), (layer.name, different)


def test_currents_in_matched_mode_are_whole_membrane_steps():
    model = make("resnet20-matched", "trained")
    found = []
    for neuron in (m for m in model.modules() if isinstance(m, LIF)):
        neuron.register_forward_pre_hook(lambda n, args: found.append(args[0] * n.fixed_point().unit))
    with torch.no_grad():
        model(torch.from_numpy(spikes_in()).float())
    assert len(found) == 19
    assert all(torch.equal(current, current.round()) for current in found)


@pytest.mark.parametrize("alpha", ["step", "channel"])
def test_integer_gates_follow_the_real_ones(alpha):
    agmm = AGMM(STEPS, 4, alpha=alpha)
    agmm.alpha.data.uniform_(-3, 3)
    x = torch.randn(5, 4, 6, 6, STEPS) + torch.linspace(-2, 2, 4)[:, None, None, None]
    unit = 1 << 14
    multiplier, shift = device.gate_multiplier(agmm.alpha.detach().numpy(), unit, 36)
    factor = torch.from_numpy(multiplier)
    factor = factor.mT.reshape(4, 1, 1, STEPS) if alpha == "channel" else factor
    gated = fixed_point.gate((x * unit).round().long(), factor, shift, axes=(2, 3)) / unit
    assert (gated - agmm(x)).abs().max() < 0.002 * x.abs().max()


@pytest.mark.parametrize("case", [case for case in CASES if "matched" in str(case)], indirect=True, ids=str)
def test_readouts_add_up_the_logits(case, float_spikes):
    _, model, net = case
    reports = []
    convert(model, "extended", report=reports.append)
    x = spikes_in()
    _, logits = float_spikes(model, x)
    potential = simulate(net, x).readout / reports[-1].unit
    sums = logits.cumsum(-1)
    np.testing.assert_allclose(potential, sums, atol=2e-2 * np.abs(sums).max())


def test_hidden_weights_are_single_bits_and_skips_align(case):
    name, _, net = case
    layers = {layer.name: layer for layer in net.layers}
    if "resnet" in name:
        skips = [layer for layer in net.layers if len(layer.connections) > 1]
        assert skips and any(isinstance(c.synapse, Identity) for layer in skips for c in layer.connections)
        if "resnet19" in name:  # double skips: both paths are one synapse long
            assert all(net.balancing_delay(layer, c) == 0 for layer in skips for c in layer.connections)
        if "classic" in name:
            assert {net.balancing_delay(layer, c) for layer in skips for c in layer.connections} == {0, 1}
    if "lmht" not in name and "hybrid" not in name:
        hidden = [c.synapse.weight for c in layers[spiking_layers(net)[1].name].connections[:1]]
        assert set(np.unique(hidden[0])) == {-1, 1}


def test_full_resnet19_takes_at_most_two_megabytes(tmp_path):
    model = models.create("resnet19", num_classes=100, in_shape=(3, 32, 32), num_steps=2, method="agmm")
    write(convert(model.eval(), "extended"), tmp_path / "a.net")
    assert (tmp_path / "a.net").stat().st_size <= 2.0e6


def chain(*neurons, norm="batch", **options):
    blocks = [
        block.Conv(neuron, 2 if not i else 3, 3, 3, norm=norm, **options) for i, neuron in enumerate(neurons)
    ]
    blocks += [block.Flatten(), block.Readout(None, 3 * (8 - 2 * len(neurons)) ** 2, 2)]
    return models.SpikingNetwork(blocks, in_shape=(2, 8, 8), num_steps=STEPS).eval()


def test_a_gain_of_zero_is_a_dead_channel_and_said():
    model = chain({"threshold": 1.0})
    model.blocks[0].norm.weight.data[1] = 0
    with pytest.warns(UserWarning, match=r"channels \[1\] have a batch norm gain of 0"):
        net = convert(model, "extended")
    assert net.layers[0].connections[0].scale[1] == 0


def test_a_negative_gain_flips_the_signs_of_its_channel():
    model = chain({"threshold": 1.0})
    before = convert(model, "extended").layers[0].connections[0]
    model.blocks[0].norm.weight.data[1] *= -1
    after = convert(model, "extended").layers[0].connections[0]
    np.testing.assert_array_equal(before.scale, after.scale)
    np.testing.assert_array_equal(before.synapse.weight[1], -after.synapse.weight[1])
    np.testing.assert_array_equal(before.synapse.weight[0], after.synapse.weight[0])


def test_the_threshold_itself_fires():
    """Weight 1 and threshold 1: the potential is exactly at the threshold."""
    conv = block.Conv({"threshold": 1.0, "voltage_decay": 1.0}, 1, 1, 1, norm=None)
    conv.synapse.weight.data.fill_(1.0)
    model = models.SpikingNetwork(
        [conv, block.Flatten(), block.Readout(None, 1, 2)], in_shape=(1, 1, 1), num_steps=2
    )
    net = convert(model.eval(), "extended")
    x = np.array([0, 1]).reshape(1, 1, 1, 1, 2)
    assert simulate(net, x, trace=True).layers["conv0"].spikes.reshape(-1).tolist() == [False, True]


def test_every_offending_block_is_listed_before_anything_is_done():
    qcfs = models.create("cnn", num_classes=5, in_shape=(1, 8, 8), num_steps=1, method="qcfs", width=0.1)
    with pytest.raises(ExportError) as error:
        convert(qcfs, "extended")
    assert str(error.value).count("use training.hybrid.to_lmht first") == 3
    model = chain({"membrane_bits": 4, "membrane_when": "before_spike"}, {"membrane_bits": 4})
    with pytest.raises(ExportError, match="membrane_when='before_spike'"):
        convert(model, "extended")
    with pytest.raises(ExportError, match="train the model first"):
        convert(chain({"membrane_bits": 4}), "extended")


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (
            lambda: chain({"threshold": 1.0, "persistent_state": True}),
            "persistent_state=True cannot be exported",
        ),
        (
            lambda: chain({"threshold": 1.0}, binarize=None, weight_bits=16),
            "weights of 16 bits .* use weight_bits=8",
        ),
    ],
)
def test_what_would_differ_is_refused(make_model, message):
    with pytest.raises(ExportError, match=message):
        convert(make_model(), "extended")


def test_k_bit_membranes_keep_their_range():
    model = make("vggsnn-qsnn", "trained")
    net = convert(model, "extended")
    neurons = [m for m in model.modules() if isinstance(m, LIF)]
    reports = []
    convert(model, "extended", report=reports.append)
    layers = spiking_layers(net)
    units = {report.name: report.unit for report in reports}
    for layer, neuron in zip(layers, neurons, strict=True):
        memory = layer.neuron.membrane
        alpha = (127 << memory.shift) / units[layer.name]
        assert alpha == pytest.approx(float(neuron.membrane_scale), rel=1e-6)


def test_pooling_sends_sums():
    net = convert(make("vggsnn-qsnn", "fresh"), "extended")
    relays = [layer for layer in net.layers if layer.name.startswith("pool")]
    assert relays and all(isinstance(layer.neuron, MultiThreshold) for layer in relays)
    assert {layer.neuron.levels for layer in relays} == {4}
    blocks = [block.Pool(None, 16), block.Conv({}, 2, 2, 1), block.Flatten(), block.Readout(None, 2, 2)]
    big = models.SpikingNetwork(blocks, in_shape=(2, 16, 16), num_steps=1)
    with pytest.raises(ExportError, match="sums of 256 messages up to 1 are more than 255"):
        convert(big.eval(), "extended")


def test_calibrated_gates_fold_into_a_stock_chain(float_spikes):
    model = make("cnn-alpha-per-channel", "trained")
    x = torch.from_numpy(spikes_in(1, 16)).float()
    with pytest.raises(ExportError, match=r"or calibration=inputs \(--calibration N\) for constant gates"):
        convert(model, "stock")
    with pytest.warns(
        UserWarning, match=r"gates became constants: .* of 16 calibration samples keep their class"
    ):
        net = convert(model, "stock", calibration=x)
    assert net.profile == "stock"
    with pytest.warns(UserWarning, match=r"accuracy on 16 calibration samples \d+\.\d+% -> \d+\.\d+%"):
        convert(model, "stock", calibration=(x, np.arange(16) % 5))
    theirs, _ = float_spikes(model, spikes_in())
    ours = simulate(net, spikes_in(), trace=True)
    first = next(iter(ours.layers.values())).spikes
    assert np.mean(first != theirs[0]) < 0.1
    with pytest.raises(ExportError, match="calibration has no sample"):
        convert(model, "stock", calibration=x[:0])


def test_a_membrane_of_few_bits_goes_to_stock_only_if_accepted():
    model = chain({"threshold": 1.0, "membrane_bits": 4})
    model.blocks[0].neuron.membrane_scale.fill_(1.0)
    with pytest.raises(ExportError, match="ignore_membrane=True"):
        convert(model, "stock")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert convert(model, "stock", ignore_membrane=True).profile == "stock"


def test_multi_threshold_neurons_keep_their_constants():
    neuron = {"levels": 3, "threshold": 0.7, "initial": 0.5, "num_steps": STEPS}
    model = chain(neuron, neuron=MultiThresholdLIF)
    model.blocks[0].neuron.lam_logit.data.fill_(0.3)
    made = convert(model, "extended").layers[0]
    assert made.neuron.lam == round(float(model.blocks[0].neuron.lam.detach()) * 4096)
    assert made.neuron.initial == round(made.neuron.threshold / 2)
    np.testing.assert_array_equal(made.mix.omega, np.full((STEPS, STEPS), round(4096 / STEPS)))


@pytest.mark.parametrize("lam", [0.0, 0.4])
def test_single_threshold_neurons_follow_the_reparameterised_network(lam, float_spikes):
    """Uniform windows: spike sums over a window are those of the multi-threshold network."""
    model = make("resnet18-lmht", "trained")
    for module in model.modules():
        if isinstance(module, MultiThresholdLIF):
            module.lam_logit.data.fill_(lam)
    net = convert(model, "extended", single_threshold=True)
    single = to_single_threshold(model)
    assert all(layer.neuron.max_message <= 1 for layer in spiking_layers(net))
    x = spikes_in()
    ours = simulate(net, x.repeat(2, -1), trace=True)
    theirs, _ = float_spikes(single, x)
    layers = spiking_layers(net)
    assert len(layers) == len(theirs)
    for depth, (layer, spikes) in enumerate(zip(layers, theirs, strict=True)):
        trace = ours.layers[layer.name].spikes
        assert trace.shape[-1] == 2 * STEPS
        if depth < 2:
            assert np.mean(trace != spikes.reshape(trace.shape)) < 0.02
    samples = np.concatenate([*x[:2].repeat(2, -1), np.zeros((*net.input.shape, net.latency))], -1)
    streamed = stream(net, samples.astype(int), reset_interval=2 * STEPS, clear_delays=True)
    first = layers[0].name
    start = net.depth(first)
    expected = np.concatenate(list(ours.layers[first].spikes[:2]), -1)
    np.testing.assert_array_equal(streamed.messages[first][..., start : start + 4 * STEPS], expected)


MATCHED = {"threshold": 1.0, "voltage_decay": 0.5, "membrane_bits": 8, "membrane_mode": "matched"}


def assert_equal_to_torch(blocks, in_shape, float_spikes, steps=STEPS):
    model = models.SpikingNetwork(blocks, in_shape=in_shape, num_steps=steps).eval()
    net = convert(model, "extended")
    x = np.random.default_rng(0).integers(0, 2, (50, *in_shape, steps))
    ours, (theirs, _) = simulate(net, x, trace=True), float_spikes(model, x)
    for layer, spikes in zip(spiking_layers(net), theirs, strict=True):
        counts = ours.layers[layer.name].spikes
        np.testing.assert_array_equal(counts, spikes.reshape(counts.shape), err_msg=layer.name)
        assert 0 < counts.mean() < layer.neuron.max_message
    return net


def test_matched_neurons_take_scaled_spikes(float_spikes):
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
    net = assert_equal_to_torch(blocks, (2, 6, 6), float_spikes)
    assert blocks[1].blocks[0].input_scale == 0.625
    assert net.layers[1].connections[1].scale.tolist() == [round(0.625 * (1 << 12))] * 4


@pytest.mark.parametrize("size", [3, (1, 3)])
def test_a_shortcut_of_averages_is_added_in_whole_membrane_steps(float_spikes, size):
    """1/9 of a spike is no whole number of membrane steps; nine of them are not a spike either."""
    residual = block.Residual([block.Conv(MATCHED | {"voltage_decay": 0.0}, 2, 2, 3, padding=1)])
    blocks = [block.Pool(None, size), residual, block.Flatten(), block.Readout(None, 18, 2)]
    in_shape = (2, 9, 9) if size == 3 else (2, 3, 9)
    assert_equal_to_torch(blocks, in_shape, float_spikes, steps=20)
    x = torch.full((1, *residual.input_shape, 1), 7.0) * residual.input_scale
    unit = residual.blocks[0].unit
    assert residual._on_grid(x)[0, 0, 0, 0, 0] * unit == 7 * round(unit * residual.input_scale)


@pytest.mark.parametrize("hidden", [True, False])
def test_sums_beyond_8_bits_become_a_part_of_the_dense_layer_behind(float_spikes, hidden):
    torch.manual_seed(0)
    counts = {"levels": 7, "threshold": 0.5, "scaled": True, "scale": 64}
    pool = block.Pool(None, 9)
    blocks = [block.Conv(counts, 2, 3, 3, neuron=MultiThresholdLIF), pool, block.Flatten()]
    blocks += (
        [block.Dense(MATCHED | {"threshold": 0.0625}, 12, 4, weight_scale=8), block.Readout(None, 4, 2)]
        if hidden
        else [block.Readout(None, 12, 2)]
    )
    net = assert_equal_to_torch(blocks, (2, 21, 20), float_spikes)
    weight = net.layers[1].connections[0].synapse.weight.reshape(-1, 3, 19, 18)
    assert not weight[:, :, 18].any()  # that row belongs to no window
    assert (weight[:, :, 9:18, 9:18] == weight[:, :, 9:10, 9:10]).all()
    model = models.SpikingNetwork(blocks, in_shape=(2, 21, 20), num_steps=STEPS)
    reports = []
    net = convert(model, "extended", report=reports.append)
    x = np.random.default_rng(0).integers(0, 2, (4, 2, 21, 20, STEPS))
    logits = float_spikes(model, x)[1].cumsum(-1)
    found = simulate(net, x).readout / reports[-1].unit
    np.testing.assert_allclose(found, logits, atol=1e-2 * np.abs(logits).max())


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
    assert reports[0].error < (1e-2 if options == {"binarize": "channel"} else 1e-9)


@pytest.mark.parametrize("params", [None, MATCHED | {"threshold": 0.25}])
def test_a_pooling_may_have_a_negative_scale(params, float_spikes):
    torch.manual_seed(0)
    pool = block.Pool(params, 2, weight_scale=-1.0)
    conv = block.Conv(MATCHED, 2, 3, 3, padding=1, weight_scale=8)
    blocks = [conv, pool, block.Flatten(), block.Readout(None, 12, 2)]
    model = models.SpikingNetwork(blocks, in_shape=(2, 4, 4), num_steps=STEPS).eval()
    reports = []
    net = convert(model, "extended", report=reports.append)
    x = np.random.default_rng(0).integers(0, 2, (8, 2, 4, 4, STEPS))
    spikes, logits = float_spikes(model, x)
    ours = simulate(net, x, trace=True)
    np.testing.assert_array_equal(ours.layers[net.layers[0].name].spikes, spikes[0])
    assert spikes[0].mean() > 0.1
    if params is not None:
        np.testing.assert_array_equal(ours.layers[net.layers[1].name].spikes, spikes[1])
    sums = logits.cumsum(-1)
    np.testing.assert_allclose(ours.readout / reports[-1].unit, sums, atol=1e-3 * max(1, np.abs(sums).max()))


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
    blocks = [block.Input(bits=8), block.Readout(None, 2_000_000, 1)]
    model = models.SpikingNetwork(blocks, in_shape=(2_000_000,), num_steps=16)
    with pytest.raises(ExportError, match=r"Readout\(2000000, 1\): all weights round to zero: .* 16 steps"):
        convert(model, "extended")


def test_a_residual_of_dense_blocks_may_follow_an_image(float_spikes):
    blocks = [
        block.Conv(MATCHED, 2, 3, 3),
        block.Flatten(),
        block.Residual([block.Dense(MATCHED, 48, 48)]),
        block.Readout(None, 48, 2),
    ]
    net = assert_equal_to_torch(blocks, (2, 6, 6), float_spikes)
    np.testing.assert_array_equal(net.layers[1].connections[1].synapse.weight, np.eye(48))


def test_multiples_of_a_power_of_two_are_converted_without_error(float_spikes):
    neuron = {"levels": 2, "threshold": 0.75, "learn_lam": False}
    conv = block.Conv(neuron, 2, 3, 3, norm=None, neuron=MultiThresholdLIF)
    torch.nn.init.constant_(conv.synapse.weight, 0.375)
    blocks = [conv, block.Flatten(), block.Readout(None, 48, 2)]
    assert_equal_to_torch(blocks, (2, 6, 6), float_spikes, steps=2)
    reports = []
    model = models.SpikingNetwork(blocks, in_shape=(2, 6, 6), num_steps=2).eval()
    convert(model, "extended", report=reports.append)
    assert reports[0].error == 0
