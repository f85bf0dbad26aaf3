"""Membranes of k bits: the formula, its gradient, and equality with the integers."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lava_bsnn import fixed_point, functional
from lava_bsnn.errors import OptionError
from lava_bsnn.neuron import LIF
from netx_export import FixedPointNetwork, network, simulate


@given(st.floats(-3, 3, width=32), st.integers(2, 12), st.sampled_from([0.5, 1.0, 2.0]))
def test_quantised_potential_is_eq_10(u, bits, scale):
    n = 2 ** (bits - 1) - 1
    clipped = max(Fraction(-1), min(Fraction(1), Fraction(u) / Fraction(scale)))
    exact = clipped * n + Fraction(1, 2)
    expected = Fraction(scale) / n * floor(exact)
    result = functional.quantize_membrane(torch.tensor(u), bits, scale).item()
    if abs(exact - round(exact)) > Fraction(1, 1000):  # float32 may fall on either side of a half
        assert abs(result - expected) < 1e-6 * scale
    assert abs(result - expected) < 1.01 * scale / n


def test_its_gradient_is_straight_through_inside_the_range():
    u = torch.tensor([-3.0, -2.0, -0.3, 0.0, 1.9, 2.1], requires_grad=True)
    functional.quantize_membrane(u, 4, 2.0).sum().backward()
    assert u.grad.tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_there_are_two_to_the_k_minus_one_levels(bits):
    values = functional.quantize_membrane(torch.linspace(-2, 2, 10001), bits, 1.5).unique()
    assert len(values) == 2**bits - 1
    assert values[0] == -1.5
    assert values[-1] == 1.5


@pytest.mark.parametrize("bits", [1, 25, True, 2.5])
def test_other_widths_are_refused(bits):
    with pytest.raises(OptionError, match=r"membrane_bits=.* is not allowed; use 2\.\.24"):
        functional.quantize_membrane(torch.ones(1), bits, 1.0)
    with pytest.raises(OptionError, match="membrane_bits"):
        LIF(membrane_bits=bits)


class _Heaviside(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0].abs()).clamp(min=0)


def slow_qsnn(x, tau, bits, when):
    """Q-SNN eq. 12 or algorithm 1 step by step, alpha_u the maximum of the step, by autograd."""
    spikes, alphas, v = [], [], torch.zeros_like(x[..., 0])
    for t in range(x.shape[-1]):
        u = tau * v + x[..., t]
        if when == "before_spike":
            alphas.append(u.detach().abs().max().item())
            u = functional.quantize_membrane(u, bits, alphas[-1])
        s = _Heaviside.apply(u - 1.0)
        v = u * (1 - s)
        if when == "stored":
            alphas.append(v.detach().abs().max().item())
            v = functional.quantize_membrane(v, bits, alphas[-1])
        spikes.append(s)
    return torch.stack(spikes, -1), float(np.mean(alphas))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("when", ["stored", "before_spike"])
def test_paper_mode_equals_the_slow_reference_and_its_gradient(bits, when):
    x = torch.randn(4, 6, 9, dtype=torch.float64, requires_grad=True)
    neuron = LIF(membrane_bits=bits, membrane_when=when).double()
    ours = neuron(x)
    slow, alpha = slow_qsnn(x, 0.5, bits, when)
    assert 0.05 < ours.mean() < 0.9
    assert torch.equal(ours, slow)
    assert neuron.membrane_scale.item() == pytest.approx(alpha)
    upstream = torch.randn_like(ours)
    (mine,) = torch.autograd.grad(ours, x, upstream)
    (reference,) = torch.autograd.grad(slow, x, upstream)
    torch.testing.assert_close(mine, reference)


def test_evaluation_uses_a_fixed_alpha():
    neuron = LIF(membrane_bits=4)
    neuron(torch.randn(4, 6, 9))
    neuron.eval()
    alpha = neuron.membrane_scale.clone()
    x = torch.randn(4, 6, 9)
    whole = neuron(x)
    assert torch.equal(neuron.membrane_scale, alpha)
    assert torch.equal(torch.cat([neuron(x[:2]), neuron(x[2:])]), whole)  # independent of the batch


def test_many_bits_change_nothing():
    x = torch.randn(4, 6, 20)
    assert torch.equal(LIF(membrane_bits=24)(x), LIF()(x))


@given(
    bits=st.integers(2, 24),
    voltage_decay=st.integers(0, 4096),
    shift=st.integers(0, 12) | st.none(),
    seed=st.integers(0, 2**16),
)
def test_matched_mode_is_the_devices_integers(bits, voltage_decay, shift, seed):
    """Against the simulator's arithmetic, for currents on the grid of weight steps."""
    rng = np.random.default_rng(seed)
    activation = rng.integers(-60, 90, (3, 5, 12))
    neuron = LIF(
        threshold=1.0,
        voltage_decay=voltage_decay / 4096,
        membrane_bits=bits,
        membrane_mode="matched",
        membrane_shift=shift,
    )
    how = neuron.fixed_point()
    u = v = np.zeros((3, 5), np.int64)
    expected = []
    for t in range(12):
        u, v = fixed_point.integrate(
            u, v, activation[..., t], current_decay=4096, voltage_decay=voltage_decay
        )
        s = v >= 4096  # the threshold itself fires
        v = fixed_point.quantize_potential(np.where(s, 0, v), bits, how.shift)
        expected.append(s)
    for training in (True, False):
        neuron.train(training)
        spikes = neuron(torch.from_numpy(activation / 64).float())
        np.testing.assert_array_equal(spikes.numpy().astype(bool), np.stack(expected, -1))


def test_matched_24_bit_equals_the_simulated_network():
    weight = np.random.default_rng(0).integers(-40, 50, (6, 8))
    layer = network.Layer(
        name="dense",
        connections=(network.Connection(source="input", synapse=network.Dense(weight=weight)),),
        neuron=network.LIF(threshold=64 * 64 - 1, exponent=0, voltage_decay=1000),
        shape=(6,),
    )
    net = FixedPointNetwork(input=network.Input(shape=(8,)), layers=(layer,), profile="extended")
    x = np.random.default_rng(1).integers(0, 2, (4, 8, 30))
    neuron = LIF(
        threshold=1.0, voltage_decay=1000 / 4096, membrane_bits=24, membrane_mode="matched", membrane_shift=0
    )
    current = torch.einsum("oi,nit->not", torch.tensor(weight).float(), torch.tensor(x).float()) / 64
    spikes = simulate(net, x).spikes
    assert 0.05 < spikes.mean() < 0.9
    np.testing.assert_array_equal(neuron(current).numpy().astype(bool), spikes)


def test_matched_mode_learns_with_the_same_surrogate():
    x = (torch.randint(-40, 70, (3, 5, 10)) / 64).requires_grad_()
    exact = LIF(membrane_bits=24, membrane_mode="matched", membrane_shift=0)
    plain = LIF()
    (ours,) = torch.autograd.grad(exact(x).sum(), x)
    (reference,) = torch.autograd.grad(plain(x).sum(), x)
    assert torch.equal(exact(x), plain(x))
    torch.testing.assert_close(ours, reference, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("mode", ["paper", "matched"])
def test_persistent_state_carries_the_stored_bits(mode):
    options = dict(membrane_bits=4, membrane_mode=mode)
    x = torch.randint(-40, 70, (3, 5, 20)) / 64
    neuron = LIF(**options, persistent_state=True)
    neuron(x)
    neuron.reset_state()
    neuron.eval()
    whole = LIF(**options).eval()
    whole.load_state_dict(neuron.state_dict())
    parts = torch.cat([neuron(x[..., :7]), neuron(x[..., 7:])], dim=-1)
    assert torch.equal(parts, whole(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(membrane_mode="exact"),
            "membrane_mode='exact' is unknown; use one of 'paper', 'authors', 'matched'",
        ),
        (dict(membrane_when="after"), "membrane_when='after' is unknown"),
        (dict(membrane_mode="matched", current_decay=0.5), "needs current_decay=1"),
        (dict(membrane_mode="matched", membrane_when="before_spike"), "membrane_when='stored'"),
        (dict(membrane_mode="matched", threshold=1e-4), "threshold=0.0001 is 0.4096 membrane steps with"),
        (dict(membrane_mode="matched", threshold=2049.0), r"needs 1..8388607; change threshold or scale"),
        (dict(membrane_mode="matched", scale=100), "scale=100 is not allowed with membrane_mode='matched'"),
        (dict(membrane_mode="matched", membrane_shift=23), "membrane_shift=23 is not allowed"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        LIF(membrane_bits=8, **options)
