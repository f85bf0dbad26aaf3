"""Every model of the package in the extended profile: lowered, saved, loaded, simulated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import device, fixed_point, models, training
from lava_bsnn.errors import ExportError
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, QCFS, MultiThresholdLIF
from lava_bsnn.training.hybrid import to_lmht, to_single_threshold
from netx_export import convert, read, simulate, stream, write
from netx_export.network import Identity, MultiThreshold

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
    "vggsnn-strided-head-lmht": (
        "vggsnn",
        (2, 16, 16),
        {"method": "lmht", "width": 0.0625, "pool": "stride", "head": [160]},
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
                if module.weight is not None:
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
    reports = {}
    net = convert(model, "extended", report=lambda layer: reports.update({layer.name: layer}))
    return f"{name}-{how}", model, net, reports


def test_a_model_survives_the_file(case, tmp_path):
    _, _, net, _ = case
    write(net, tmp_path / "a.net")
    back = read(tmp_path / "a.net")
    assert back == net and hash(back) == hash(net) and back.digest() == net.digest()
    x = spikes_in()
    first, second = simulate(net, x, trace=True), simulate(back, x, trace=True)
    np.testing.assert_array_equal(first.readout, second.readout)
    for name, trace in first.layers.items():
        np.testing.assert_array_equal(trace.spikes, second.layers[name].spikes)


def test_integers_are_those_of_the_float_model(case, rounding_errors):
    """A wrong scale, sign or order costs thresholds, in whatever layer; rounding costs next to nothing."""
    name, model, net, reports = case
    found = rounding_errors(model, net, reports, spikes_in())
    assert found.keys() == reports.keys()
    for layer, (_, worst) in found.items():
        if "matched" in name:
            assert worst == 0, layer
        else:
            assert worst < (0.004 if "hybrid" in name else 0.001), (layer, worst)


def test_integers_follow_the_float_model(case, float_spikes, float_models):
    """Matched models are equal in every spike; others add up their rounding from layer to layer."""
    name, model, net, reports = case
    x = spikes_in()
    ours = simulate(net, x, trace=True)
    theirs, logits = float_spikes(model, x)
    layers = float_models.spiking_layers(net)
    assert len(layers) == len(theirs)
    for depth, (layer, spikes) in enumerate(zip(layers, theirs, strict=True)):
        trace = ours.layers[layer.name].spikes
        different = np.mean(trace != spikes.reshape(trace.shape))
        if "matched" in name:
            assert different == 0, layer.name
        elif depth < 3:
            assert different < (0.04 if "hybrid" in name else 0.02), (layer.name, different)
    if "matched" in name:
        sums = logits.astype(np.float64).cumsum(-1)
        np.testing.assert_array_equal(ours.readout / reports[net.output.name].unit, sums)


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


def test_hidden_weights_are_single_bits_and_skips_align(case, float_models):
    name, _, net, _ = case
    layers = {layer.name: layer for layer in net.layers}
    if "resnet" in name:
        skips = [layer for layer in net.layers if len(layer.connections) > 1]
        assert skips and any(isinstance(c.synapse, Identity) for layer in skips for c in layer.connections)
        if "resnet19" in name:  # double skips: both paths are one synapse long
            assert all(net.balancing_delay(layer, c) == 0 for layer in skips for c in layer.connections)
        if "classic" in name:
            assert {net.balancing_delay(layer, c) for layer in skips for c in layer.connections} == {0, 1}
    if "lmht" not in name and "hybrid" not in name:
        hidden = [c.synapse.weight for c in layers[float_models.spiking_layers(net)[1].name].connections[:1]]
        assert set(np.unique(hidden[0])) == {-1, 1}


def test_full_resnet19_takes_at_most_two_megabytes(settle, tmp_path):
    model = models.create("resnet19", num_classes=100, in_shape=(3, 32, 32), num_steps=2, method="agmm")
    write(convert(settle(model, batches=1, number=1), "extended"), tmp_path / "a.net")
    assert (tmp_path / "a.net").stat().st_size <= 2.0e6


def test_k_bit_membranes_keep_their_range(float_models):
    model = make("vggsnn-qsnn", "trained")
    net = convert(model, "extended")
    neurons = [m for m in model.modules() if isinstance(m, LIF)]
    reports = []
    convert(model, "extended", report=reports.append)
    layers = float_models.spiking_layers(net)
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


@pytest.mark.parametrize("lam", [0.0, 0.4])
def test_single_threshold_neurons_follow_the_reparameterised_network(lam, float_spikes, float_models):
    """Uniform windows: spike sums over a window are those of the multi-threshold network."""
    model = make("resnet18-lmht", "trained")
    for module in model.modules():
        if isinstance(module, MultiThresholdLIF):
            module.lam_logit.data.fill_(lam)
    net = convert(model, "extended", single_threshold=True)
    single = to_single_threshold(model)
    assert all(layer.neuron.max_message <= 1 for layer in float_models.spiking_layers(net))
    x = spikes_in()
    ours = simulate(net, x.repeat(2, -1), trace=True)
    theirs, _ = float_spikes(single, x)
    layers = float_models.spiking_layers(net)
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
