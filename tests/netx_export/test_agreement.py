"""A model and its integers side by side: figures against a slow reference, and what is warned of."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console

from lava_bsnn import block, data, models, training
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, OptionError, ShapeError
from lava_bsnn.limits import LIMITS
from lava_bsnn.neuron import MultiThresholdLIF
from lava_bsnn.training.hybrid import to_single_threshold
from netx_export import Agreement, agreement, convert, network, simulate
from netx_export.lowering.names import spiking_layers

matplotlib.use("Agg")
PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}
COUNTS = {"levels": 2, "threshold": 0.7, "num_steps": 3}
MATCHED = {"threshold": 1.0, "voltage_decay": 0.5, "membrane_bits": 12, "membrane_mode": "matched"}
STEPS = 3


def network_of(settle, params=PARAMS, *, first=None, kind=None, in_shape=(2, 6, 6), gain=0.5):
    torch.manual_seed(0)
    options = {} if kind is None else {"neuron": kind}
    channels = in_shape[0]
    inner = block.Conv(params, 4, 4, 3, padding=1, **options)
    blocks = [] if first is None else [block.Input(encoding=first)]
    blocks += [block.Conv(params, channels, 4, 3, padding=1, **options), block.Residual([inner])]
    blocks += [block.Pool(None, 2), block.Flatten(), block.Dense(params, 36, 12, **options)]
    blocks.append(block.Readout(None, 12, 3))
    model = models.SpikingNetwork(blocks, in_shape=in_shape, num_steps=STEPS)
    return settle(model)


def slow_agreement(model, net, x, labels, float_spikes):
    """The figures of an :class:`Agreement`, sample by sample, with loops over neurons and steps."""
    names = [name for name, module in spiking_layers(model.blocks) if module.neuron is not None]
    theirs, logits = float_spikes(model, x)
    ours = simulate(net, net.encode(x), trace=True)
    layers = {}
    for name, float_counts in zip(names, theirs, strict=True):
        counts = ours.layers[name].spikes.astype(int)
        float_counts = float_counts.reshape(counts.shape).astype(int)
        samples, steps = len(counts), counts.shape[-1]
        neurons = counts[0, ..., 0].size
        one = counts.reshape(samples, neurons, steps)
        other = float_counts.reshape(samples, neurons, steps)
        found = dict.fromkeys(("fired", "float_fired", "equal", "silent", "float_silent", "saturated"), 0)
        for neuron in range(neurons):
            pairs = [(one[n, neuron, t], other[n, neuron, t]) for n in range(samples) for t in range(steps)]
            found["fired"] += sum(bool(a) for a, _ in pairs)
            found["float_fired"] += sum(bool(b) for _, b in pairs)
            found["equal"] += sum(a == b for a, b in pairs)
            found["silent"] += not any(a for a, _ in pairs)
            found["float_silent"] += not any(b for _, b in pairs)
            found["saturated"] += all(a == net[name].neuron.max_message for a, _ in pairs)
        per_step = {
            key: found[key] / (neurons * samples * steps) for key in ("fired", "float_fired", "equal")
        }
        layers[name] = per_step | {
            key: found[key] / neurons for key in ("silent", "float_silent", "saturated")
        }
    classes = [[int(np.argmax(row)) for row in values] for values in (logits.sum(-1), ours.readout[..., -1])]
    accuracies = [float(np.mean(np.array(found) == labels)) for found in classes]
    return layers, accuracies, float(np.mean(np.array(classes[0]) == np.array(classes[1])))


@pytest.mark.parametrize(
    ("params", "kind", "profile"),
    [(PARAMS, None, "extended"), (COUNTS, MultiThresholdLIF, "extended"), (MATCHED, None, "extended")],
)
@pytest.mark.parametrize(
    "coding", [None, Encoding(kind="intensities", bits=4), Encoding(kind="counts", bits=3)]
)
def test_figures_are_those_of_a_slow_reference(
    settle, float_models, float_spikes, params, kind, profile, coding
):
    """More samples than a batch holds, and a part of one."""
    model = network_of(settle, params, kind=kind, first=coding)
    norm = model.blocks[-2].norm
    with torch.no_grad():  # some neurons that never fire, and some that always do
        norm.bias[:3], norm.bias[3:5] = -30.0, 30.0
    net = convert(model, profile)
    x = float_models.samples_of(model, 150, STEPS, seed=5).numpy()
    labels = np.arange(150) % 3
    layers, accuracies, same = slow_agreement(model, net, x, labels, float_spikes)
    found = agreement(model, net, x, labels)
    assert found.samples == 150 and found.saturated_inputs == 0
    assert [found.float_accuracy, found.integer_accuracy] == pytest.approx(accuracies, abs=1e-12)
    assert found.same_class == pytest.approx(same, abs=1e-12)
    assert [layer.name for layer in found.layers] == list(layers)
    for layer in found.layers:
        expected = layers[layer.name]
        assert layer.integer_rate == pytest.approx(expected["fired"], abs=1e-12)
        assert layer.float_rate == pytest.approx(expected["float_fired"], abs=1e-12)
        for name in ("equal", "silent", "float_silent", "saturated"):
            assert getattr(layer, name) == pytest.approx(expected[name], abs=1e-12), (layer.name, name)
    last = found.layers[-1]
    assert last.silent >= 3 / 12 and last.saturated >= 2 / 12
    if params is MATCHED:
        assert found.same_class == 1 and all(layer.equal == 1 for layer in found.layers)


@pytest.mark.parametrize("steps", [[], [STEPS]])
@pytest.mark.parametrize("kind", ["intensities", "images", "rails"])
def test_matched_models_are_equal_for_every_spike(settle, kind, steps):
    coding = Encoding(kind="intensities", bits=8)
    if kind != "intensities":
        coding = Encoding.images((0.4, 0.6), (0.3, 0.5))
        coding = replace(coding, bits=7, rails=True) if kind == "rails" else coding
    dense = block.Dense(MATCHED, 36 * (4 if kind == "rails" else 2), 20)
    blocks = [block.Input(encoding=coding), block.Flatten(), dense, block.Readout(None, 20, 4)]
    model = settle(models.SpikingNetwork(blocks, in_shape=(2, 6, 6), num_steps=STEPS))
    rng = np.random.default_rng(0)
    for x in (rng.random((70, 2, 6, 6, *steps)), rng.integers(0, 256, (70, 2, 6, 6, *steps), dtype=np.uint8)):
        found = agreement(model, convert(model, "extended"), x)
        assert found.same_class == 1 and [layer.equal for layer in found.layers] == [1]
        assert 0.02 < found.layers[0].float_rate == found.layers[0].integer_rate < 0.98
        assert found.warnings == []


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_single_threshold_networks_are_compared_over_all_their_steps(settle, float_spikes, lam):
    model = network_of(settle, COUNTS, kind=MultiThresholdLIF)
    for module in model.modules():
        if isinstance(module, MultiThresholdLIF):
            torch.nn.init.constant_(module.lam_logit, lam)
    net = convert(model, "extended", single_threshold=True)
    single = to_single_threshold(model)
    x = np.random.default_rng(0).integers(0, 2, (20, 2, 6, 6)).astype(np.float32)
    labels = np.arange(20) % 3
    layers, accuracies, same = slow_agreement(single, net, x, labels, float_spikes)
    for one in (model, single):
        found = agreement(one, net, x, labels)
        assert [found.float_accuracy, found.integer_accuracy] == pytest.approx(accuracies)
        assert found.same_class == pytest.approx(same)
        for layer in found.layers:
            assert layer.equal == pytest.approx(layers[layer.name]["equal"])
            assert layer.float_rate == pytest.approx(layers[layer.name]["float_fired"])
    assert found.layers[0].equal > 0.97


def shown(found):
    """The table as a terminal shows it, line by line."""
    console = Console(file=io.StringIO(), width=200)
    console.print(found.table())
    return console.file.getvalue().splitlines()


def binary_data(number=40, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (number, 2, 6, 6, STEPS)).astype(np.float32)


@pytest.mark.parametrize(
    ("bias", "message"),
    [(-30.0, "never fires at all, in the model neither"), (30.0, ": every neuron fires at every step")],
)
def test_a_layer_without_information_is_told_in_the_first_line(settle, bias, message):
    model = network_of(settle)
    torch.nn.init.constant_(model.blocks[-2].norm.bias, bias)
    torch.nn.init.constant_(model.blocks[-2].norm.weight, 0.01)
    found = agreement(model, convert(model, "extended"), binary_data())
    name = found.layers[-1].name
    separator = "" if message.startswith(":") else " "
    assert found.warnings == [f"{name}{separator}{message}"]
    assert shown(found)[0].strip() == f"WARNING: {name}{separator}{message}"
    assert "layer" in shown(found)[1] and name in "".join(shown(found)[2:])


def with_layer(net, name, **neuron):
    """A network with another neuron in one layer."""
    layers = tuple(
        replace(layer, neuron=replace(layer.neuron, **neuron)) if layer.name == name else layer
        for layer in net.layers
    )
    return replace(net, layers=layers)


def test_a_layer_that_dies_in_integers_is_told(settle):
    model = network_of(settle)
    net = convert(model, "extended")
    name = agreement(model, net, binary_data()).layers[1].name
    dead = with_layer(net, name, threshold=LIMITS.potential_max)
    found = agreement(model, dead, binary_data())
    assert f"{name} never fires in integers" in found.warnings
    layer = found.layers[1]
    assert (layer.integer_rate, layer.silent) == (0, 1) and layer.float_rate > 0 and layer.float_silent < 1
    assert shown(found)[0].startswith("WARNING: ")


@pytest.fixture(scope="module")
def digits_network():
    digits = data.digits()
    torch.manual_seed(0)
    model = models.create(
        "mlp", num_classes=10, in_shape=(1, 8, 8), num_steps=3, method="binary", input_bits=4, hidden=(48,)
    )
    train, test = (digits.train_images, digits.train_labels), (digits.test_images, digits.test_labels)
    training.fit(model, train, test, epochs=4, batch_size=32)
    return model, convert(model, "extended"), test


def test_accuracy_that_is_lost_is_told(digits_network):
    model, net, (x, labels) = digits_network
    good = agreement(model, net, x, labels)
    assert good.warnings == [] and good.table().title is None
    name = good.layers[0].name
    broken = with_layer(net, name, threshold=net[name].neuron.threshold // 12)
    bad = agreement(model, broken, x, labels)
    assert bad.float_accuracy == good.float_accuracy > 0.9
    drop = f"accuracy falls from {bad.float_accuracy:.2%} to {bad.integer_accuracy:.2%}"
    assert bad.warnings[0].startswith(drop) and shown(bad)[0].startswith(f"WARNING: {drop}")
    assert bad.layers[0].integer_rate > 1.2 * bad.layers[0].float_rate
    assert f"{bad.float_accuracy:.2%} in floating point, {bad.integer_accuracy:.2%} in integers" in str(bad)
    unknown = agreement(model, broken, x)
    assert unknown.float_accuracy is unknown.integer_accuracy is None
    assert unknown.same_class == bad.same_class < 0.95
    kept = f"only {unknown.same_class:.2%} of the samples keep their class in integers"
    assert unknown.warnings == [kept]
    assert "accuracy" not in str(unknown)


def figures(samples, float_accuracy, integer_accuracy, same_class=1.0, **options):
    return Agreement(
        samples=samples,
        same_class=same_class,
        float_accuracy=float_accuracy,
        integer_accuracy=integer_accuracy,
        layers=(),
        **options,
    )


@pytest.mark.parametrize(
    ("samples", "lost", "told"),
    [(10, 2, False), (10, 3, True), (100, 2, False), (100, 3, True), (1000, 9, False), (1000, 11, True)],
)
def test_more_than_a_percent_and_more_than_two_samples_must_be_lost(samples, lost, told):
    found = figures(samples, 0.9, (0.9 * samples - lost) / samples)
    assert bool(found.warnings) == told
    assert not figures(samples, 0.9, 0.9 + lost / samples).warnings


def test_saturated_inputs_are_told(settle):
    model = network_of(settle, first=Encoding(kind="counts", bits=2, saturate=True))
    net = convert(model, "extended")
    x = np.random.default_rng(0).integers(0, 4, (70, 2, 6, 6, STEPS))
    x[:7, 0] = 5
    found = agreement(model, net, x)
    assert found.saturated_inputs == pytest.approx(0.05)
    assert found.warnings[-1] == "5.00% of the input counts were above the largest message"
    assert agreement(model, net, x.clip(0, 3)).saturated_inputs == 0


def test_plots_show_the_figures(digits_network):
    model, net, (x, labels) = digits_network
    found = agreement(model, net, x, labels)
    axes = found.plot(Figure().subplots())
    model_bars, integer_bars = axes.containers
    for bars, name in ((model_bars, "float_rate"), (integer_bars, "integer_rate")):
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx([100 * getattr(layer, name) for layer in found.layers])
    (line,) = axes.figure.axes[1].lines
    assert list(line.get_ydata()) == pytest.approx([100 * layer.equal for layer in found.layers])
    assert [label.get_text() for label in axes.get_xticklabels()] == [layer.name for layer in found.layers]
    assert axes.get_ylabel() == "firing rate (%)"


def test_figures_are_plain_data(digits_network):
    model, net, (x, labels) = digits_network
    found = agreement(model, net, x[:30], labels[:30])
    back = json.loads(json.dumps(found.as_dict()))
    assert back == found.as_dict()
    assert back["layers"][0]["equal"] == found.layers[0].equal and back["warnings"] == found.warnings


def test_the_model_is_left_as_it_was_and_may_be_wrapped(digits_network):
    model, net, (x, labels) = digits_network
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = model.blocks[0].samples.clone()
    done = []
    found = agreement(model, net, x, labels, progress=done.append)
    assert done == [*range(64, 450, 64), 450]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model.blocks[0].samples, kept)
    assert not any(module._forward_hooks for module in model.modules())
    for wrapped in (torch.nn.DataParallel(model), torch.optim.swa_utils.AveragedModel(model)):
        assert agreement(wrapped, net, x, labels) == found


class Summed(torch.nn.Module):
    """A model that adds up its logits over time."""

    def __init__(self, inner):
        super().__init__()
        self.blocks, self.inner = inner.blocks, inner

    def forward(self, x):
        return self.inner(x).sum(-1)


def test_models_that_add_up_over_time_are_compared_over_all_steps(digits_network):
    model, net, (x, labels) = digits_network
    expected = agreement(model, net, x, labels)
    assert agreement(Summed(model), net, x, labels) == expected
    assert agreement(Summed(model), net, x[..., None].repeat(3, -1), labels) == expected


def test_what_does_not_fit_is_named(digits_network, settle):
    model, net, (x, labels) = digits_network
    with pytest.raises(OptionError, match="there is no sample; give at least one"):
        agreement(model, net, x[:0])
    with pytest.raises(ShapeError, match=r"450 samples and labels of shape \(449,\) do not fit"):
        agreement(model, net, x, labels[1:])
    other = network_of(settle, first=Encoding(kind="intensities", bits=4), in_shape=(1, 6, 6))
    with pytest.raises(ExportError, match="the network has no layer .*; it was made of another model"):
        agreement(other, net, np.zeros((2, 1, 6, 6), np.float32))
    with pytest.raises(ShapeError):
        agreement(model, net, x[:, :, :5])
    assert isinstance(net, network.FixedPointNetwork)
