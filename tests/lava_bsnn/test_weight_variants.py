"""Weights as Q-SNN's program makes them, against references written filter by filter."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from lava_bsnn import block, functional, models
from lava_bsnn.errors import OptionError
from lava_bsnn.functional import weights
from lava_bsnn.synapse import Binarize, Quantize


def filters(w):
    """Each output channel's weights, as lists of floats."""
    return [channel.flatten().tolist() for channel in w]


def like_filters(rows, w):
    return torch.tensor(rows, dtype=w.dtype).view_as(w)


def test_each_filter_is_standardised_with_its_unbiased_deviation():
    w = 3 + 2 * torch.randn(5, 4, 3, 3, 1, dtype=torch.float64)
    rows = [[(value - statistics.mean(row)) / statistics.stdev(row) for value in row] for row in filters(w)]
    torch.testing.assert_close(functional.standardize(w, "filter"), like_filters(rows, w), rtol=1e-6, atol=0)
    small = torch.rand(3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: functional.standardize(w, "filter"), (small,))


def test_a_filter_of_one_weight_stays_finite():
    assert functional.standardize(torch.ones(3, 1), "filter").tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_are_the_nearest_powers_of_two_in_the_exponent(dtype):
    w = torch.randn(6, 4, 3, 3, 1, dtype=dtype) * 2.0 ** torch.arange(-9, 9, 3).view(-1, 1, 1, 1, 1)
    w[3] = 0
    rows = []
    for row in filters(w):
        mean = sum(abs(value) for value in row) / len(row)
        alpha = 0.0 if mean == 0 else 2.0 ** round(math.log2(mean))
        rows.append([alpha if value >= 0 else -alpha for value in row])
    expected = like_filters(rows, w)
    assert torch.equal(functional.binarize(w, "power_of_two"), expected)  # machine code in float32
    signs, step = Binarize(scale="power_of_two").integers(w)
    assert torch.equal(signs * step, expected)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("scale", weights.BINARY_SCALES)
@pytest.mark.parametrize("standard", weights.STANDARDS)
def test_the_annealed_gradient_is_that_of_a_hyperbolic_tangent(sharpness, scale, standard):
    w = torch.randn(4, 3, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(w)
    made = Binarize(scale=scale, standardize=standard, sharpness=sharpness)(w)
    (ours,) = torch.autograd.grad(made, w, upstream)
    shifted = w
    if standard == "layer":
        shifted = (w - w.mean()) / w.std(correction=0)
    elif standard == "filter":
        rows = w.flatten(1)
        shifted = ((rows - rows.mean(1, True)) / rows.std(1, keepdim=True)).view_as(w)
    alpha = made.detach().abs()
    smooth = alpha * max(1 / sharpness, 1) * torch.tanh(sharpness * shifted)
    (slow,) = torch.autograd.grad(smooth, w, upstream)
    torch.testing.assert_close(ours, slow, rtol=1e-5, atol=1e-7)
    assert torch.equal(made, alpha * torch.where(shifted >= 0, 1.0, -1.0))


def test_the_forward_pass_does_not_depend_on_the_sharpness():
    w = torch.randn(4, 3, 3, 3, 1)
    assert torch.equal(Binarize(sharpness=0.1)(w), Binarize()(w))


def test_the_step_of_the_signed_maximum_is_of_the_largest_weight_with_its_sign():
    w = torch.tensor([[0.5, -1.5, 0.25], [0.1, 0.7, -0.2]], requires_grad=True)
    step = 0.7 / 127
    rows = [[round(value / step) for value in row] for row in w.tolist()]
    assert min(map(min, rows)) < -128  # nothing is clipped
    hook = Quantize(bits=8, scale="signed_maximum")
    whole, found = hook.integers(w)
    assert whole.tolist() == rows
    assert found.item() == pytest.approx(step)
    torch.testing.assert_close(hook(w), torch.tensor(rows) * step)
    hook(w).sum().backward()
    assert torch.equal(w.grad, torch.ones_like(w))
    assert torch.equal(hook(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_a_method_gives_them_to_its_layers():
    model = models.create(
        "resnet20",
        num_classes=3,
        in_shape=(2, 8, 8),
        num_steps=2,
        width=0.25,
        method=models.Method(
            hidden="power_of_two",
            shortcut="channel",
            standardize="filter",
            estimator="annealed",
            ends=8,
            ends_scale="signed_maximum",
        ),
    )
    hooks = [m.synapse.pre_hook_fx for m in model.modules() if isinstance(m, (block.Conv, block.Dense))]
    first, *inner = hooks
    assert first == model.blocks[-1].synapse.pre_hook_fx == Quantize(bits=8, scale="signed_maximum")
    assert {hook.scale for hook in inner} == {"power_of_two", "channel"}
    assert {(hook.standardize, hook.sharpness) for hook in inner} == {("filter", 0.1)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Binarize(scale="signed_maximum"), "use one of 'channel', 'layer', 'power_of_two'"),
        (lambda: Quantize(scale="power_of_two"), "use one of 'channel', 'layer', 'signed_maximum'"),
        (
            lambda: Binarize(standardize=True),
            "standardize=True is unknown; use one of 'layer', 'filter', None",
        ),
        (lambda: Binarize(sharpness=0.0), r"sharpness=0.0 with clip=None is not allowed; use a number > 0"),
        (lambda: Binarize(sharpness=1.0, clip=1.0), r"sharpness=1.0 with clip=1.0 is not allowed"),
        (lambda: models.Method(estimator="tanh"), "estimator='tanh' is unknown"),
        (lambda: models.Method(ends_scale="power_of_two"), "ends_scale='power_of_two' is unknown"),
    ],
)
def test_other_values_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
