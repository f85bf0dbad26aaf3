from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import functional
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.functional.dynamics import Spiking
from lava_bsnn.functional.time import fold_time, unfold_time


@pytest.mark.parametrize("scale", ["channel", "layer"])
def test_binarize_is_mean_magnitude_times_sign(scale):
    w = torch.randn(4, 3, 2, 2)
    w[0, 0, 0, 0] = 0.0
    expected = np.empty(w.shape, dtype=np.float32)
    for c, channel in enumerate(w.numpy()):
        alpha = np.abs(channel if scale == "channel" else w.numpy()).mean()
        expected[c] = np.where(channel >= 0, alpha, -alpha)
    np.testing.assert_allclose(functional.binarize(w, scale), expected, rtol=1e-6)


def test_binarize_gradient_is_straight_through():
    w = torch.tensor([[-2.0, -0.5, 0.0, 0.5, 2.0]], requires_grad=True)
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    (plain,) = torch.autograd.grad(functional.binarize(w), w, upstream)
    (clipped,) = torch.autograd.grad(functional.binarize(w, clip=1.0), w, upstream)
    assert plain.tolist() == [[1, 2, 3, 4, 5]]
    assert clipped.tolist() == [[0, 2, 3, 4, 0]]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantized_weights_lie_on_the_grid(bits):
    w = torch.randn(5, 7)
    q = functional.quantize_weights(w, bits)
    largest = 2 ** (bits - 1) - 1
    steps = q / (w.abs().amax(1, keepdim=True) / largest)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
    assert steps.abs().max().round() == largest
    assert (q - w).abs().max() <= (w.abs().amax() / largest / 2) * 1.001


def test_quantized_zero_weights_stay_zero():
    assert functional.quantize_weights(torch.zeros(2, 3), 8).tolist() == [[0, 0, 0]] * 2


def test_unknown_options_list_what_exists():
    with pytest.raises(OptionError, match="'group' is unknown; use one of 'channel', 'layer'"):
        functional.binarize(torch.ones(2, 2), "group")
    with pytest.raises(OptionError, match="bits=1 is not allowed; use 2..16"):
        functional.quantize_weights(torch.ones(2, 2), 1)
    with pytest.raises(OptionError, match="'triangular', 'rectangular', 'exponential'"):
        functional.surrogate_derivative("sigmoid")


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_surrogates_match_their_closed_forms_and_integrate_to_one(gamma):
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    far = np.abs(x.numpy())
    closed = {
        "triangular": np.maximum(0, gamma - far) / gamma**2,
        "rectangular": (far < gamma / 2) / gamma,
        "exponential": np.exp(-far / gamma) / (2 * gamma),
    }
    assert set(closed) == set(functional.SURROGATES)
    for name, expected in closed.items():
        y = functional.SURROGATES[name](x.clone(), gamma)
        np.testing.assert_allclose(y, expected, atol=1e-12)
        assert abs(torch.trapezoid(y, x).item() - 1) < 1e-3


class _Spike(torch.autograd.Function):
    """Heaviside with a surrogate, for the slow reference."""

    @staticmethod
    def forward(ctx, distance, derivative, gamma):
        ctx.save_for_backward(distance)
        ctx.options = derivative, gamma
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad):
        derivative, gamma = ctx.options
        return grad * derivative(ctx.saved_tensors[0].clone(), gamma), None, None


def slow_lif(current, retain, state, threshold, derivative, gamma, detach_reset):
    """The equations step by step, differentiated by autograd."""
    spikes, potentials, v = [], [], state
    for i in current:
        u = retain * v + i
        s = _Spike.apply(u - threshold, derivative, gamma)
        spikes.append(s)
        potentials.append(u)
        v = u * (1 - (s.detach() if detach_reset else s))
    return torch.stack(spikes), torch.stack(potentials)


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("surrogate", sorted(functional.SURROGATES))
def test_lif_equals_the_slow_reference_and_its_gradients(surrogate, detach_reset):
    derivative, gamma, threshold = functional.SURROGATES[surrogate], 1.3, 0.8
    current = torch.randn(7, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    retain = torch.tensor([0.6], dtype=torch.float64, requires_grad=True)
    state = torch.rand(3, 2, 2, dtype=torch.float64)
    how = Spiking(threshold=threshold, derivative=derivative, gamma=gamma, detach_reset=detach_reset)
    spikes, potential, stored = functional.lif(current, retain, state, how)
    slow_spikes, slow_potential = slow_lif(current, retain, state, threshold, derivative, gamma, detach_reset)
    assert 0.1 < spikes.mean() < 0.9
    assert torch.equal(spikes, slow_spikes)
    np.testing.assert_allclose(potential, slow_potential.detach(), rtol=1e-12)
    np.testing.assert_allclose(stored, (potential * (1 - spikes.detach()))[-1], rtol=1e-12)
    upstream = torch.randn_like(spikes)
    ours = torch.autograd.grad(spikes, [current, retain], upstream)
    slow = torch.autograd.grad(slow_spikes, [current, retain], upstream)
    for mine, reference in zip(ours, slow, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-9, atol=1e-12)


def test_leaky_integration_passes_gradcheck():
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    retain = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: functional.leaky_integrate(a, b, state), (x, retain))


def test_time_folds_without_a_copy():
    stored = torch.randn(4, 2, 3, 5, 5)  # time-major
    x = stored.movedim(0, -1)
    images, num_steps = fold_time(x)
    assert images.data_ptr() == stored.data_ptr() and images.shape == (8, 3, 5, 5)
    back = unfold_time(images, 2, num_steps)
    assert back.data_ptr() == stored.data_ptr() and torch.equal(back, x)


def test_a_repeated_frame_folds_to_one_frame():
    frames = torch.randn(2, 3, 5, 5)
    x = functional.direct_code(frames, 6)
    assert x.shape == (2, 3, 5, 5, 6)
    images, num_steps = fold_time(x)
    assert images.shape == frames.shape and num_steps == 6
    assert torch.equal(unfold_time(images, 2, 6), x)


def test_direct_code_needs_a_step():
    with pytest.raises(ShapeError, match="num_steps=0"):
        functional.direct_code(torch.ones(1, 2), 0)
