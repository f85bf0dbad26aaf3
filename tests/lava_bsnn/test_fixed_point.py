from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from lava.proc.lif.models import PyLifModelBitAcc

from lava_bsnn import fixed_point

HALF = 1 << 23
state = st.integers(-HALF + 1, HALF - 1) | st.sampled_from([0, 1, -1, HALF - 1, -HALF + 1, 4095, -4095])
# weighted input of a synapse with a 24-bit accumulator, far beyond what a valid network produces
activation = st.integers(-HALF, HALF - 1) | st.sampled_from([0, 1 << 17, -(1 << 17), HALF - 1, -HALF])
decay = st.integers(0, 4096) | st.sampled_from([0, 1, 2048, 4095, 4096])
bias = st.integers(-4096, 4095)
threshold = st.integers(0, (1 << 17) - 1)


def stock_step(u, v, a, current_decay, voltage_decay, bias, threshold):
    """One step of lava's own bit-accurate neuron, called directly."""
    model = PyLifModelBitAcc(proc_params={})
    model.u, model.v = np.array(u, dtype=np.int32), np.array(v, dtype=np.int32)
    model.du, model.dv = current_decay - 1, voltage_decay
    model.bias_mant = np.array(bias, dtype=np.int16)
    model.bias_exp = np.full(np.shape(bias), 6, dtype=np.int16)
    model.vth = threshold
    model.scale_bias()
    model.scale_threshold()
    model.subthr_dynamics(activation_in=np.array(a, dtype=np.int32))
    spikes = model.spiking_activation()
    model.reset_voltage(spikes)
    return model.u, model.v, spikes


@given(state, state, activation, decay, decay, bias, threshold)
@example(0, HALF - 1, 0, 4096, 0, 1, (1 << 17) - 1)  # saturates above
@example(0, -HALF + 1, 0, 4096, 0, -1, 0)  # saturates below
@example(0, 0, 1 << 17, 4096, 0, 0, 0)  # current of exactly 2^23 stays
@example(0, 0, -(1 << 17), 4096, 0, 0, 0)  # current of exactly -2^23 wraps
@example(HALF - 1, 0, HALF - 1, 0, 0, 0, 0)  # wraps once only
@example(0, 64 * 5, 0, 4096, 0, 0, 5)  # at the threshold: no spike
@example(0, 64 * 5 + 1, 0, 4096, 0, 0, 5)
@example(0, -1, 0, 4096, 1, 0, 0)  # decay of -1 is towards zero
def test_a_step_equals_stock_lava(u, v, a, current_decay, voltage_decay, bias, threshold):
    expected = stock_step([u], [v], [a], current_decay, voltage_decay, [bias], threshold)
    options = dict(current_decay=current_decay, voltage_decay=voltage_decay, bias=bias, threshold=threshold)
    ours = fixed_point.lif_step(np.array([u]), np.array([v]), np.array([a]), **options)
    as_torch = fixed_point.lif_step(torch.tensor([u]), torch.tensor([v]), torch.tensor([a]), **options)
    for stock, mine, other in zip(expected, ours, as_torch, strict=True):
        np.testing.assert_array_equal(stock, mine)
        np.testing.assert_array_equal(mine, other.numpy())


@given(
    st.lists(st.integers(-(1 << 17) + 1, (1 << 17) - 1), min_size=1, max_size=30),
    decay,
    decay,
    bias,
    threshold,
)
def test_a_sequence_equals_stock_lava(activations, current_decay, voltage_decay, bias, threshold):
    u, v = np.zeros(1, np.int64), np.zeros(1, np.int64)
    stock_u, stock_v = u, v
    for a in activations:
        u, v, spikes = fixed_point.lif_step(
            u,
            v,
            np.array([a]),
            current_decay=current_decay,
            voltage_decay=voltage_decay,
            bias=bias,
            threshold=threshold,
        )
        stock_u, stock_v, stock_spikes = stock_step(
            stock_u, stock_v, [a], current_decay, voltage_decay, [bias], threshold
        )
        np.testing.assert_array_equal(u, stock_u)
        np.testing.assert_array_equal(v, stock_v)
        np.testing.assert_array_equal(spikes, stock_spikes)


@given(state, decay)
def test_decay_rounds_towards_zero(x, amount):
    exact = Fraction(x * (4096 - amount), 4096)
    expected = floor(exact) if exact >= 0 else -floor(-exact)
    assert fixed_point.decay(np.array(x), amount) == expected
    assert fixed_point.decay(torch.tensor(x), amount) == expected


@given(state, st.integers(2, 24), st.integers(0, 22))
def test_membrane_quantiser_is_round_half_up_and_clip(v, bits, shift):
    largest = 2 ** (bits - 1) - 1
    expected = max(-largest, min(largest, floor(Fraction(v, 2**shift) + Fraction(1, 2)))) * 2**shift
    assert fixed_point.quantize_potential(np.array(v), bits, shift) == expected
    assert fixed_point.quantize_potential(torch.tensor(v), bits, shift) == expected


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_steps_take_any_shape_and_bias_per_channel(make):
    shape = (2, 3, 4)
    zeros = make(np.zeros(shape, np.int64).tolist())
    u, v, s = fixed_point.lif_step(
        zeros,
        zeros,
        zeros + 5,
        current_decay=4096,
        voltage_decay=0,
        bias=make([[0], [1], [-5]]),
        threshold=5,
    )
    assert tuple(u.shape) == tuple(v.shape) == tuple(s.shape) == shape
    assert bool(s[:, 1].all()) and not bool(s[:, [0, 2]].any())
    assert bool((v[:, 0] == 320).all()) and bool((v[:, 1:] == 0).all())


def round_half_up(x):
    return floor(x + Fraction(1, 2))


@given(state, state, st.integers(1, HALF - 1), st.integers(1, 8), st.integers(0, 8192))
@example(-5, 0, 3, 2, 4096)  # below 0 nothing fires
@example(0, 6, 3, 2, 4096)  # at the threshold it fires
@example(0, 100, 3, 2, 4096)  # at most L spikes
@example(-1, 0, 3, 2, 2048)  # half of -1 is towards zero
@example(HALF - 1, HALF - 1, 1, 1, 6144)  # saturates
def test_a_multi_threshold_step_equals_python_integers(v, current, theta, levels, lam):
    kept = Fraction(v * lam, 4096)
    m = max(-HALF + 1, min(HALF - 1, (floor(kept) if kept >= 0 else -floor(-kept)) + current))
    s = max(0, min(levels, m // theta))
    options = dict(threshold=theta, levels=levels, lam=lam)
    for make in (np.array, torch.tensor):
        result = fixed_point.multi_threshold_step(make([v]), make([current]), **options)
        assert [part.item() for part in result] == [s, m, m - theta * s]


def slow_gate(x, multiplier, shift):
    """The gate of one mean, in Python integers."""
    z = round_half_up(Fraction(sum(x) * multiplier, 2**shift))
    g = fixed_point.SIGMOID.tolist()[max(-2048, min(2047, z)) + 2048]
    return [round_half_up(Fraction(value * g, 4096)) for value in x]


@given(st.lists(state, min_size=1, max_size=12), st.integers(-(1 << 20), 1 << 20), st.integers(0, 40))
@example([3, -5, 64], 1, 0)
def test_the_gate_equals_python_integers(x, multiplier, shift):
    expected = slow_gate(x, multiplier, shift)
    for make in (np.array, torch.tensor):
        assert fixed_point.gate(make(x), multiplier, shift, axes=(0,)).tolist() == expected


@pytest.mark.parametrize("axes", [(2, 3), (1, 2, 3)])
def test_the_gates_mean_is_per_channel_or_per_layer(axes):
    x = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, (2, 3, 4, 5))
    multiplier = np.array([9, -4, 2])
    result = fixed_point.gate(x, multiplier[:, None, None], 12, axes=axes)
    for n in range(2):
        for c in range(3):
            values = x[n, c] if len(axes) == 2 else x[n]
            gated = slow_gate([int(v) for v in values.flat], int(multiplier[c]), 12)
            own = gated if len(axes) == 2 else gated[c * 20 : (c + 1) * 20]
            assert result[n, c].flatten().tolist() == own
    as_torch = fixed_point.gate(torch.tensor(x), torch.tensor(multiplier)[:, None, None], 12, axes=axes)
    np.testing.assert_array_equal(as_torch.numpy(), result)


def test_the_sigmoid_table_is_as_near_as_documented():
    exact = np.linspace(-9, 9, 100_001)
    z = np.clip(np.floor(exact * 256 + 0.5), -2048, 2047).astype(int)
    error = np.abs(fixed_point.SIGMOID[z + 2048] / 4096 - 1 / (1 + np.exp(-exact)))
    assert error.max() < 0.0007
    assert (np.diff(fixed_point.SIGMOID) >= 0).all()
    assert fixed_point.SIGMOID[2048] == 2048


@given(st.data())
def test_mixing_equals_python_integers(data):
    steps, seen, size = (data.draw(st.integers(1, 5)) for _ in range(3))
    x = [[data.draw(state) for _ in range(size)] for _ in range(seen)]
    omega = [[data.draw(st.integers(-(1 << 14), 1 << 14)) for _ in range(seen)] for _ in range(steps)]
    expected = [
        [round_half_up(Fraction(sum(row[j] * x[j][i] for j in range(seen)), 4096)) for i in range(size)]
        for row in omega
    ]
    for make in (np.array, torch.tensor):
        assert fixed_point.mix(make(x), make(omega)).tolist() == expected


@given(state, state, st.integers(-(HALF - 1), HALF - 1), decay, st.integers(0, HALF - 1))
def test_without_alignment_the_neuron_counts_in_membrane_steps(v, a, bias, voltage_decay, threshold):
    options = dict(current_decay=4096, voltage_decay=voltage_decay, bias=bias, exponent=0)
    u, after = fixed_point.integrate(np.array([0]), np.array([v]), np.array([a]), **options)
    kept = Fraction(v * (4096 - voltage_decay), 4096)
    total = (floor(kept) if kept >= 0 else -floor(-kept)) + a + bias
    assert u == a and after == max(-HALF + 1, min(HALF - 1, total))
    spikes, reset = fixed_point.fire(after, threshold, exponent=0)
    assert spikes == (after > threshold) and reset == (0 if spikes else after)
