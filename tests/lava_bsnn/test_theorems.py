"""Lemma 4.1, theorems 4.2 and 4.4, corollary 4.3 of LM-HT in exact integers; proposition 1 of AGMM."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lava_bsnn import functional
from lava_bsnn.analysis import flip_ratio
from lava_bsnn.neuron import QCFS, MultiThresholdLIF, TemporalMix

levels = st.integers(1, 8)
steps = st.integers(1, 8)


def multi_threshold(inputs, theta, L, v):
    """M-HT eq. 8-11 with lam = 1 in Python integers: spike counts, and the kept potential."""
    counts = []
    for i in inputs:
        m = v + i
        s = max(0, min(L, m // theta))
        v = m - theta * s
        counts.append(s)
    return counts, v


def ours(inputs, theta, L, v):
    """The same by the library; float64 is exact on integers of this size."""
    current = torch.tensor(inputs, dtype=torch.float64)[:, None]
    one = torch.ones((), dtype=torch.float64)
    spikes, _, kept = functional.multi_threshold(
        current, one, one * theta, torch.tensor([float(v)], dtype=torch.float64), L
    )
    return [int(s) for s in spikes[:, 0]], int(kept)


@given(
    st.lists(st.integers(-500, 500), min_size=1, max_size=8), st.integers(1, 60), levels, st.integers(-99, 99)
)
def test_the_library_is_the_equation(inputs, theta, L, v):
    assert ours(inputs, theta, L, v) == multi_threshold(inputs, theta, L, v)


@given(st.data(), levels, steps, st.integers(1, 60))
def test_lemma_a_1_bounded_input_keeps_the_potential_below_the_threshold(data, L, T, theta):
    v0 = data.draw(st.integers(0, theta - 1))
    inputs = data.draw(st.lists(st.integers(0, L * theta), min_size=T, max_size=T))
    _, kept = ours(inputs, theta, L, v0)
    assert 0 <= kept < theta


@given(st.data(), levels, st.integers(1, 60))
def test_lemma_4_1_one_step_is_L_steps_of_an_integrate_and_fire_neuron(data, L, unit):
    theta = L * unit  # so that I / L is an integer
    v = data.draw(st.integers(0, theta - 1))
    per_substep = data.draw(st.integers(-2 * theta, 3 * theta))
    (count,), kept = ours([per_substep * L], theta, L, v)
    substeps, if_kept = multi_threshold([per_substep] * L, theta, 1, v)
    assert sum(substeps) == count
    assert if_kept == kept


def test_lemma_4_1_needs_a_potential_below_the_threshold():
    """Outside 0 <= v < theta a shrinking potential may fire once too often: the premise matters."""
    (count,), _ = multi_threshold([-8], 10, 2, 15)
    assert count != sum(multi_threshold([-4, -4], 10, 1, 15)[0])


@given(st.data(), levels, steps, st.integers(1, 60))
def test_theorem_4_2_i_windows_of_different_inputs(data, L, T, unit):
    theta = L * unit
    v0 = data.draw(st.integers(0, theta - 1))
    # the premise: each window's input leaves the potential in [0, theta)
    per_substep = data.draw(st.lists(st.integers(0, unit * L), min_size=T, max_size=T))
    counts, kept = ours([i * L for i in per_substep], theta, L, v0)
    substeps, if_kept = multi_threshold([i for i in per_substep for _ in range(L)], theta, 1, v0)
    assert counts == [sum(substeps[t * L : (t + 1) * L]) for t in range(T)]
    assert kept == if_kept


@given(st.data(), levels, steps, st.integers(1, 60))
def test_theorem_4_2_ii_uniform_input_gives_the_clipped_floor(data, L, T, theta):
    v0 = data.draw(st.integers(0, theta - 1))
    i = data.draw(st.integers(-2 * theta, (L + 2) * theta))
    counts, _ = ours([i] * T, theta, L, v0)
    assert sum(counts) == max(0, min(L * T, (v0 + T * i) // theta))


@given(st.data(), levels, steps, st.integers(1, 60))
def test_corollary_4_3_uniform_output_is_exactly_the_divisible_regions(data, L, T, theta):
    v0 = data.draw(st.integers(0, theta - 1))
    i = data.draw(st.integers(-2 * theta, (L + 2) * theta))
    counts, _ = ours([i] * T, theta, L, v0)
    total = v0 + T * i
    divisible = any(c * T * theta <= total < (c * T + 1) * theta for c in range(1, L))
    assert (len(set(counts)) == 1) == (divisible or total < theta or total >= L * T * theta)


@given(st.data(), levels, steps, st.integers(1, 30))
def test_theorem_4_4_the_mean_rate_is_qcfs_of_LT_levels(data, L, T, half):
    theta = 2 * half  # v0 = theta / 2 is an integer
    x = data.draw(st.lists(st.integers(-3 * theta, (L + 2) * theta), min_size=T, max_size=T))
    total = sum(x)
    assume(total % T == 0)  # uniform T-GIM: every step gets the mean of all inputs
    counts, _ = ours([total // T] * T, theta, L, half)
    n = L * T
    qcfs = max(Fraction(0), min(Fraction(1), Fraction(floor(Fraction(total, theta) + Fraction(1, 2)), n)))
    assert Fraction(sum(counts), n) == qcfs  # theta_qcfs = L theta; rates in units of it
    activation = functional.qcfs(
        torch.tensor(total / T, dtype=torch.float64), torch.tensor(float(L * theta)).double(), n
    )
    assert activation.item() == pytest.approx(float(qcfs * L * theta), abs=1e-9)


@pytest.mark.parametrize(("L", "T"), [(1, 4), (2, 2), (4, 2), (4, 1)])
def test_theorem_4_4_holds_for_the_modules_at_initialisation(L, T):
    x = torch.randint(-64, 160, (5, 6, T), dtype=torch.float64) / 64  # exact in binary
    neuron = MultiThresholdLIF(L, 1.0 / L, initial=0.5, scaled=True).double()
    mean_output = neuron(TemporalMix(T).double()(x)).mean(-1)
    torch.testing.assert_close(mean_output, QCFS(L * T, 1.0).double()(x.mean(-1)), rtol=0, atol=1e-12)


def flips(mean, std, rate=0.1, samples=200_000):
    """Share of sign flips after one step of gradient descent on weights of unit variance."""
    rng = np.random.default_rng(0)
    before = rng.normal(size=samples)
    after = before - rate * rng.normal(mean, std, size=samples)
    return flip_ratio(before, after)


def test_proposition_1_flips_rise_with_mean_and_variance_of_the_gradient():
    by_mean = [flips(mean, 1.0) for mean in (0.0, 1.0, 2.0, 4.0)]
    by_std = [flips(0.0, std) for std in (0.25, 0.5, 1.0, 2.0, 4.0)]
    assert by_mean == sorted(by_mean) and by_mean[-1] > 2 * by_mean[0]
    assert by_std == sorted(by_std) and by_std[-1] > 5 * by_std[0]


def test_proposition_1_matches_its_normal_distribution():
    """Eq. 10: a weight w > 0 flips with probability 1 - Phi((w / eta - mu) / sigma)."""
    normal = torch.distributions.Normal(0.0, 1.0)
    rng = np.random.default_rng(0)
    for w, eta, mu, sigma in ((0.1, 0.1, 0.5, 1.0), (0.2, 0.1, 0.0, 2.0), (0.05, 0.1, -0.5, 0.5)):
        after = w - eta * rng.normal(mu, sigma, 200_000)
        expected = 1 - normal.cdf(torch.tensor((w / eta - mu) / sigma)).item()
        assert flip_ratio(np.full(200_000, w), after) == pytest.approx(expected, abs=4e-3)
