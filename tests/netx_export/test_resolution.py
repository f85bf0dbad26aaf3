"""Rounding leaves every layer alive, or says that it does not: warnings, refusals, large graded inputs."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from lava_bsnn import block, data, models, training
from lava_bsnn.errors import ExportError
from netx_export import agreement, convert, simulate
from netx_export.lowering.resolution import COARSE, TOO_COARSE, LayerReport, judge

PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}


def enlarged(images, size):
    """Images 8x8 with each pixel repeated."""
    return np.kron(images, np.ones((1, 1, size // 8, size // 8), np.float32))


@pytest.fixture(scope="module", params=[32, 48])
def large_digits(request):
    """A network of 8-bit digits of that size, and all digits: of 450 a few decide by chance."""
    digits, size = data.digits(), request.param
    train = (enlarged(digits.train_images, size), digits.train_labels)
    test = (enlarged(digits.test_images, size), digits.test_labels)
    torch.manual_seed(0)
    model = models.create(
        "mlp",
        num_classes=10,
        in_shape=(1, size, size),
        num_steps=4,
        method="binary",
        input_bits=8,
        hidden=(96, 48),
    )
    training.fit(model, train, test, epochs=3, batch_size=32)
    return model, tuple(np.concatenate(parts) for parts in zip(test, train, strict=True))


@pytest.mark.filterwarnings("ignore:.*rounding changes the current")
@pytest.mark.parametrize("profile", ["extended", "stock"])
def test_no_layer_dies_behind_many_graded_pixels(large_digits, profile):
    model, test = large_digits
    reports = []
    result = agreement(model, convert(model, profile, report=reports.append), *test)
    assert result.float_accuracy > 0.95
    lost = result.float_accuracy - result.integer_accuracy
    assert result.samples == 1797 and lost <= {"extended": 0.003, "stock": 0.01}[profile]
    assert result.warnings == []
    for layer in result.layers:
        assert layer.integer_rate == pytest.approx(layer.float_rate, rel=0.05)
        assert abs(layer.silent - layer.float_silent) < 0.05
    assert all(report.worst < TOO_COARSE for report in reports)
    if profile == "extended":
        assert all(report.worst < 0.01 for report in reports)


def network(num_inputs=64, outputs=4, *, bits=8, settle, **options):
    torch.manual_seed(0)
    blocks = [block.Input(bits=bits), block.Dense(PARAMS, num_inputs, outputs, name="dense", **options)]
    blocks.append(block.Readout(None, outputs, 3, name="readout"))
    return settle(models.SpikingNetwork(blocks, in_shape=(num_inputs,), num_steps=4))


@pytest.mark.parametrize("profile", ["extended", "stock"])
@pytest.mark.parametrize("offset", [-0.5, 2.0])
def test_a_channel_that_computes_a_constant_may_lose_its_weights(settle, float_spikes, profile, offset):
    """A gain near 0 leaves the offset, by which the channel is silent, or fires always."""
    model = network(bits=1, settle=settle)
    with torch.no_grad():
        model.blocks[1].norm.weight[2] = 1e-9
        model.blocks[1].norm.bias[2] = offset
    reports = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = convert(model, profile, report=reports.append)
    assert reports[0].worst < 0.05
    assert not net.layers[0].connections[0].synapse.weight[2].any() or profile == "extended"
    x = np.random.default_rng(0).integers(0, 2, (20, 64, 4))
    ours = simulate(net, x, trace=True).layers["dense"].spikes
    theirs = float_spikes(model, x)[0][0]
    np.testing.assert_array_equal(ours[:, 2], theirs[:, 2])
    assert ours[:, 2].mean() == (offset > 1) and ours.mean(axis=(0, 2)).any()


@pytest.mark.parametrize("profile", ["extended", "stock"])
def test_channels_that_matter_do_not_vanish_in_silence(settle, profile):
    """1-bit weights over many 8-bit inputs: no number of membrane steps per weight is left."""
    model = network(60_000, settle=settle)
    which = "24 bits leave too few weight steps" if profile == "extended" else "sums of 24 bits"
    remedy = "use fewer inputs, input bits" if profile == "extended" else "use fewer input bits, inputs"
    message = (
        rf"^dense: rounding changes the current by \d\S* thresholds in channel \d: .*{which}.* over 60000 "
        rf"inputs of up to 255.*; {remedy}"
    )
    with pytest.raises(ExportError, match=message):
        convert(model, profile)


def test_one_large_channel_leaves_stock_too_few_steps_for_the_others(settle):
    """Stock Lava has one threshold per layer; with a scale per channel little is lost."""
    model = network(5000, bits=1, settle=settle, binarize=None, weight_bits=None, norm=None)
    weight = torch.zeros(4, 5000)
    weight[0, :60] = torch.tensor([1.0, -1.0]).repeat(30)
    weight[1:] = torch.rand(3, 5000) * 0.003  # the sums of many small ones are some thresholds
    with torch.no_grad():
        model.blocks[1].synapse.weight.copy_(weight.reshape(4, 5000, 1, 1, 1))
    with pytest.raises(ExportError, match=r"^dense: .* thresholds in channel [123]: .* profile='extended'$"):
        convert(model, "stock")
    reports = []
    convert(model, "extended", report=reports.append)
    assert reports[0].worst < 0.01


@pytest.mark.parametrize("num_inputs", [100, 1000, 4000, 16_000])
@pytest.mark.parametrize("profile", ["extended", "stock"])
def test_a_network_is_refused_or_follows_the_float_model(settle, profile, num_inputs):
    """What is accepted fires as often as the model, and differs no more than its report allows."""
    model = network(num_inputs, 16, settle=settle, norm="batch")
    reports = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net = convert(model, profile, report=reports.append)
        except ExportError as error:
            assert "rounding changes the current by" in str(error)
            assert profile == "stock" or num_inputs > 10_000
            return
        x = np.random.default_rng(0).random((32, num_inputs), dtype=np.float32)
        (layer,) = agreement(model, net, x).layers
    assert layer.integer_rate == pytest.approx(layer.float_rate, abs=0.05)
    assert layer.equal > 1 - 2 * reports[0].error - 0.01


def test_a_warning_comes_before_the_refusal(settle):
    """The same layer with more and more inputs: silence, a warning, an error."""
    outcomes = []
    for num_inputs in (64, 500, 2000):
        model = network(num_inputs, 8, settle=settle)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                convert(model, "stock")
                outcomes.append([str(w.message) for w in caught])
            except ExportError as error:
                outcomes.append(str(error))
    silent, warned, refused = outcomes
    assert silent == []
    assert len(warned) == 1 and warned[0].startswith("dense: rounding changes the current by 0.")
    assert "thresholds in channel" in warned[0] and warned[0].endswith("or profile='extended'")
    assert isinstance(refused, str) and refused.startswith("dense: rounding changes the current by ")


def currents(errors, theta, shape=(2, 3, 5)):
    """Currents of channels, and the same with an error of ``errors`` thresholds per channel."""
    real = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    signs = torch.where(torch.arange(real.numel()).reshape(shape) % 2 == 0, 1.0, -1.0)
    return real + signs * theta * torch.tensor(errors)[:, None], real


def judged(errors, theta, scale=1.0):
    ours, real = currents(errors, scale if theta is None else theta)
    return judge("dense1", "dense", 64.0, ours.double(), real, theta, "too few steps", "use more")


@pytest.mark.parametrize("theta", [0.25, 1.0, 4.0])
def test_errors_are_root_mean_squares_in_thresholds(theta):
    report = judged([0.01, 0.02, 0.03], theta)
    assert report == LayerReport(name="dense1", unit=64.0, error=report.error, worst=report.worst)
    assert report.error == pytest.approx(math.sqrt((1 + 4 + 9) / 3) / 100, rel=1e-5)
    assert report.worst == pytest.approx(0.03, rel=1e-5)


def test_the_worst_channel_is_judged():
    assert (COARSE, TOO_COARSE) == (0.15, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged([0.149, 0.0, 0.149], 1.0)
    for worst in (0.151, 0.499):
        with pytest.warns(
            UserWarning, match=rf"^dense: .* {worst:.2g} thresholds in channel 1: too few steps"
        ):
            report = judged([0.0, worst, 0.1], 1.0)
        assert report.worst == pytest.approx(worst, rel=1e-5)
    with pytest.raises(ExportError, match=r"^dense: .* by 0.51 thresholds in channel 2: .*; use more$"):
        judged([0.0, 0.1, 0.51], 1.0)


def test_a_readout_is_judged_by_all_its_logits():
    """Relative to their root mean square; one bad class of three is no reason yet."""
    _, real = currents([0, 0, 0], 1.0)
    size = float(real.square().mean().sqrt())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = judged([0.0, 0.2, 0.0], None, size)
    assert report.error == pytest.approx(0.2 / math.sqrt(3), rel=1e-5)
    assert report.worst == pytest.approx(0.2, rel=1e-5)
    with pytest.warns(UserWarning, match=r"by 0.2 of the logits: too few steps; use more"):
        judged([0.2, 0.2, 0.2], None, size)
    with pytest.raises(ExportError, match=r"by 0.6 of the logits: "):
        judged([0.6, 0.6, 0.6], None, size)


def test_logits_that_are_all_zero_have_no_error():
    nothing = torch.zeros(2, 3, 5)
    assert judge("r", "r", 1.0, nothing, nothing, None, "", "").error == 0
