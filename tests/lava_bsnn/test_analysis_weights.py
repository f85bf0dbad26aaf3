from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lava_bsnn import analysis, models, training
from lava_bsnn.errors import OptionError, ShapeError


def small(method="binary", **options):
    shape = {"num_classes": 3, "in_shape": (1, 6, 6), "num_steps": 2, "width": 0.125}
    return models.create("cnn", method=method, input_bits=None, **shape, **options)


def slow_flip_ratio(before, after):
    total = 0
    for a, b in zip(np.ravel(before), np.ravel(after), strict=True):
        sign_a = -1 if a < 0 else 1
        sign_b = -1 if b < 0 else 1
        total += abs(sign_b - sign_a)
    return total / (2 * np.size(before))


VALUES = st.lists(st.sampled_from([-2.0, -1e-30, -0.0, 0.0, 1e-30, 0.5]), min_size=1, max_size=30)


@given(VALUES, st.randoms(use_true_random=False))
def test_flip_ratio_equals_equation_8_for_arrays_and_tensors(before, random):
    after = list(before)
    random.shuffle(after)
    expected = slow_flip_ratio(before, after)
    arrays = np.array(before), np.array(after)
    tensors = torch.tensor(before), torch.nn.Parameter(torch.tensor(after))
    for one, other in (arrays, tensors, (arrays[0], tensors[1])):
        assert analysis.flip_ratio(one, other) == expected


def test_flip_ratio_takes_zero_as_positive():
    assert analysis.flip_ratio(np.array([0.0, 1.0, -1.0, 2.0]), np.array([1.0, 0.0, 0.0, -2.0])) == 0.5


@pytest.mark.parametrize(("one", "other"), [((2, 3), (3, 2)), ((0,), (0,))])
def test_flip_ratio_refuses_unequal_or_empty_shapes(one, other):
    with pytest.raises(ShapeError, match="use the weights of one layer"):
        analysis.flip_ratio(np.zeros(one), np.zeros(other))


def test_recorder_listens_to_the_epochs_of_fit():
    model = small()
    recorder = analysis.FlipRecorder(model)
    data = (np.random.default_rng(0).random((8, 1, 6, 6), np.float32), np.arange(8) % 3)
    history = training.fit(model, data, data, epochs=2, batch_size=4, on_epoch=recorder.record)
    assert recorder.mean() == [epoch.flip_ratio for epoch in history]


def test_recorder_follows_only_binary_layers_from_epoch_to_epoch():
    model = small()
    first, hidden, dense, last = (
        m.synapse for m in model.modules() if hasattr(m, "synapse") and hasattr(m, "norm")
    )
    recorder = analysis.FlipRecorder(model)
    assert list(recorder.ratios) == ["blocks.2", "blocks.4"]
    weights = [hidden.weight.detach().clone()]
    for _ in range(2):
        with torch.no_grad():
            for synapse in (first, hidden, last):
                synapse.weight += 0.5 * synapse.weight.abs().mean() * torch.randn_like(synapse.weight)
        weights.append(hidden.weight.detach().clone())
        recorder.record()
    expected = [slow_flip_ratio(a.numpy(), b.numpy()) for a, b in itertools.pairwise(weights)]
    assert recorder.ratios == {"blocks.2": expected, "blocks.4": [0.0, 0.0]}
    assert min(expected) > 0.05
    sizes = hidden.weight.numel(), dense.weight.numel()
    assert recorder.mean() == pytest.approx([e * sizes[0] / sum(sizes) for e in expected])


def test_recorder_of_a_floating_point_model_needs_to_be_told_its_layers():
    with pytest.raises(OptionError, match="which='binary' selects no layer"):
        analysis.FlipRecorder(small("fp"))
    assert list(analysis.FlipRecorder(small("fp"), which="hidden").ratios) == ["blocks.2", "blocks.4"]
    assert len(analysis.FlipRecorder(small("fp"), which="all").ratios) == 4
    with pytest.raises(OptionError, match="which='some' is unknown"):
        analysis.FlipRecorder(small(), which="some")


def test_weight_entropy_is_that_of_the_share_of_positive_signs():
    model = small()
    weight = model.blocks[2].synapse.weight
    with torch.no_grad():
        weight.fill_(-1)
        weight.view(-1)[: weight.numel() // 4] = 0.0  # sign(0) = +1
        model.blocks[4].synapse.weight.fill_(3)
    entropies = analysis.weight_entropy(model)
    assert entropies["blocks.2"] == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    assert entropies["blocks.4"] == 0


def test_signs_are_those_of_a_hook_that_shifts_the_weights():
    class Standardised:
        bits = 1

        def __call__(self, w):
            return torch.where(w - w.mean() >= 0, 1.0, -1.0)

    model = small()
    model.blocks[2].synapse.pre_hook_fx = Standardised()
    with torch.no_grad():
        model.blocks[2].synapse.weight += 10
    assert analysis.weight_entropy(model)["blocks.2"] > 0.6


def test_gradient_statistics_are_numpy_mean_and_variance():
    model = small()
    with pytest.raises(OptionError, match=r"blocks\.2 has no gradient \(None\); call loss\.backward"):
        analysis.gradient_statistics(model)
    model(torch.rand(4, 1, 6, 6)).square().sum().backward()
    for name, one in analysis.gradient_statistics(model, which="all").items():
        gradient = model.get_submodule(name).synapse.weight.grad.numpy().astype(float)
        assert one.mean == pytest.approx(np.mean(gradient), rel=1e-9)
        assert one.variance == pytest.approx(np.mean((gradient - np.mean(gradient)) ** 2), rel=1e-9)
        assert one.variance > 0
