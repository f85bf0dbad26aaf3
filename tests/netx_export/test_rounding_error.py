"""Networks trained on digits: the errors that ``convert`` reports without calibration hold on test data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lava_bsnn import data, models, training
from lava_bsnn.errors import ExportError
from netx_export import convert
from netx_export.lowering.observe import observe, samples_for

METHODS = ("fp", "binary", "agmm", "qsnn", "lmht")
VISIBLE = 1e-4
STEPS = 3


@pytest.fixture(scope="module")
def digits():
    return data.digits()


def trained(digits, method, bits, kind, epochs=3):
    torch.manual_seed(0)
    options = {"cnn": {"channels": (4, 8), "hidden": 32}, "mlp": {"hidden": (48,)}}[kind]
    model = models.create(
        kind, num_classes=10, in_shape=(1, 8, 8), num_steps=STEPS, method=method, input_bits=bits, **options
    )
    train, test = (digits.train_images, digits.train_labels), (digits.test_images, digits.test_labels)
    training.fit(model, train, test, epochs=epochs, batch_size=64)
    return model


def profiles(method, digits):
    """(profile, options) in which models of a method can be exported."""
    yield "extended", {}
    if method == "agmm":
        yield "stock", {"calibration": digits.train_images[:64]}
    elif method != "lmht":
        yield "stock", {"ignore_membrane": True}


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("method", METHODS)
def test_reported_errors_hold_on_test_data(digits, rounding_errors, method, bits, kind):
    """No calibration is given, but to make constants of gates."""
    model = trained(digits, method, bits, kind)
    visible = 0
    for profile, options in profiles(method, digits):
        reports = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = convert(model, profile, report=lambda r, into=reports: into.update({r.name: r}), **options)
        measured = rounding_errors(model, net, reports, digits.test_images)
        assert measured.keys() == reports.keys() and len(measured) >= 2
        for name, (error, worst) in measured.items():
            told = reports[name]
            assert told.worst >= told.error
            if max(error, told.error) > VISIBLE:
                visible += 1
                assert 0.5 < told.error / error < 2, (profile, name, told, error)
                assert 0.4 < told.worst / worst < 2.5, (profile, name, told, worst)
    assert visible


def test_what_the_input_kept_of_the_training_is_what_is_measured(digits, rounding_errors):
    """On these samples reports and measurement agree to the last digit."""
    model = trained(digits, "binary", 8, "mlp")
    kept = model.blocks[0].samples
    assert kept.shape == (16, 1, 8, 8)
    for profile in ("stock", "extended"):
        reports = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = convert(model, profile, report=lambda r, into=reports: into.update({r.name: r}))
        for name, (error, worst) in rounding_errors(model, net, reports, kept).items():
            assert reports[name].error == pytest.approx(error, rel=1e-3)
            assert reports[name].worst == pytest.approx(worst, rel=1e-3)


def test_kept_samples_are_real_ones_and_no_part_of_a_checkpoint(digits):
    model = trained(digits, "fp", 4, "mlp")
    kept = model.blocks[0].samples
    rows = {row.tobytes() for row in np.float32(digits.train_images)}
    assert all(row.numpy().tobytes() in rows for row in kept)
    assert not any("samples" in name for name in model.state_dict())


def test_given_samples_come_before_kept_ones_and_those_before_random_ones(digits):
    model = trained(digits, "fp", 4, "mlp")
    shape, blocks = (1, 8, 8), list(model.blocks)
    given = digits.test_images[:20]
    torch.testing.assert_close(
        samples_for(blocks, shape, STEPS, given)[..., 0], torch.from_numpy(given[:16]).float()
    )
    torch.testing.assert_close(samples_for(blocks, shape, STEPS)[..., 1], model.blocks[0].samples)
    model.blocks[0].samples = None
    random = samples_for(blocks, shape, STEPS)
    assert random.shape == (16, 1, 8, 8, STEPS) and 0.4 < random.mean() < 0.6


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_a_calibration_needs_a_sample(digits, profile):
    model = trained(digits, "binary", 4, "mlp", epochs=1)
    with pytest.raises(ExportError, match="calibration has no sample; give at least one"):
        convert(model, profile, digits.test_images[:0])
    with pytest.raises(ExportError, match="calibration has no sample; give at least one"):
        convert(model, profile, (digits.test_images[:0], digits.test_labels[:0]))


@pytest.mark.parametrize("kind", ["pixels", "float64", "tensor", "time axis", "with labels"])
def test_calibration_may_be_all_that_the_model_takes(digits, kind):
    """Pixels, labels, and a time axis change nothing; gates become constants by them, too."""
    model = trained(digits, "agmm", 4, "mlp", epochs=1)
    pixels = np.rint(digits.test_images[:40] * 255).astype(np.uint8)
    x = np.float32(pixels) / np.float32(255)
    given = {
        "pixels": pixels,
        "float64": x.astype(np.float64),
        "tensor": torch.from_numpy(x),
        "time axis": x[..., None].repeat(STEPS, -1),
        "with labels": (x, digits.test_labels[:40]),
    }[kind]
    for profile in ("extended", "stock"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reports: list = []
            expected = convert(model, profile, x, report=reports.append)
            assert convert(model, profile, given, report=reports.append) == expected
        half = len(reports) // 2
        assert reports[:half] == reports[half:]


class Summed(torch.nn.Module):
    """A model that returns a mean over time, and something else."""

    def __init__(self, inner):
        super().__init__()
        self.blocks, self.inner = inner.blocks, inner

    def forward(self, x):
        return self.inner(x).mean(-1), None


def test_gates_become_constants_in_models_that_average_over_time(digits):
    model = trained(digits, "agmm", 4, "mlp", epochs=1)
    x, labels = digits.test_images[:40], digits.test_labels[:40]
    with pytest.warns(UserWarning, match="gates became constants: accuracy on 40") as expected:
        net = convert(model, "stock", (x, labels))
    with pytest.warns(UserWarning, match="gates became constants: accuracy on 40") as found:
        assert convert(Summed(model), "stock", (x, labels), num_steps=STEPS).layers == net.layers
    assert str(found[0].message) == str(expected[0].message)


def test_what_is_observed_is_what_the_layers_got_and_computed(digits):
    model = trained(digits, "binary", 4, "cnn").eval()
    samples = samples_for(list(model.blocks), (1, 8, 8), STEPS, digits.test_images)
    seen = observe(list(model.blocks), samples)
    x = samples
    with torch.no_grad():
        for module in model.blocks:
            if hasattr(module, "synapse"):
                assert torch.equal(seen.inputs[module], x)
                assert torch.equal(seen.currents[module], module.current(x))
            x = module(x)
    assert torch.equal(seen.currents[model.blocks[-1]], x)
