from __future__ import annotations

import pytest
import torch

from lava_bsnn import functional
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.neuron import QCFS, MultiThresholdLIF, TemporalMix


class _Band(torch.autograd.Function):
    """Spike counts with the band surrogate, for the slow reference."""

    @staticmethod
    def forward(ctx, m, theta, levels):
        ctx.save_for_backward(m, theta)
        ctx.levels = levels
        return torch.floor(m / theta).clamp(0, levels)

    @staticmethod
    def backward(ctx, grad):
        m, theta = ctx.saved_tensors
        band = (m >= 0.5 * theta) & (m <= (ctx.levels + 0.5) * theta)
        return grad * band / theta, -(grad * band * m / theta**2).sum(), None


def slow(x, lam, theta, v, levels):
    out = []
    for i in x:
        m = lam * v.detach() + i
        s = _Band.apply(m, theta, levels)
        v = m - theta * s
        out.append(s)
    return torch.stack(out)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_forward_and_gradients_equal_the_slow_reference(levels):
    x = (torch.randn(6, 3, 5, dtype=torch.float64) * levels).requires_grad_()
    lam = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    v = torch.rand(3, 5, dtype=torch.float64)
    ours, _, _ = functional.multi_threshold(x, lam, theta, v, levels)
    reference = slow(x, lam, theta, v, levels)
    assert ours.max() == levels
    assert torch.equal(ours, reference)
    upstream = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, [x, lam, theta], upstream)
    expected = torch.autograd.grad(reference, [x, lam, theta], upstream)
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b)


def integers(x, omega, neuron):
    """Spike counts ``[N][T]`` of one neuron with Python's integers, for currents in membrane steps."""
    theta = round(neuron.threshold * neuron.unit)
    lam = round(float(neuron.lam.detach()) * 4096)
    rows = []
    for currents in x.tolist():
        v, row = round(theta * neuron.initial), []
        for factors in omega:
            total = sum(factor * current for factor, current in zip(factors, currents, strict=True))
            m = abs(v) * lam // 4096 * (1 if v >= 0 else -1) + (total + 2048) // 4096
            m = max(-(2**23 - 1), min(2**23 - 1, m))
            row.append(max(0, min(neuron.levels, m // theta)))
            v = m - theta * row[-1]
        rows.append(row)
    return rows


@pytest.mark.parametrize("mode", ["full", "causal", "identity"])
@pytest.mark.parametrize(("threshold", "size"), [(0.3, 1.0), (0.7, 5.0), (1.0, 1e3)])
def test_matched_mode_is_the_devices_integers(mode, threshold, size):
    torch.manual_seed(0)
    neuron = MultiThresholdLIF(5, threshold, initial=0.4, num_steps=6, mix=mode, scale=64, scaled=True)
    torch.nn.init.normal_(neuron.lam_logit)
    omega = torch.eye(6)
    if mode != "identity":
        torch.nn.init.normal_(neuron.mix.logits)
        omega = neuron.mix.omega.detach()
    x = (torch.randn(200, 6) * size * neuron.unit).round()
    counts = (neuron(x / neuron.unit) / neuron.threshold).round()
    expected = integers(x.int(), (omega.double() * 4096).round().int().tolist(), neuron)
    assert counts.tolist() == expected
    assert counts.min() == 0 and counts.max() == 5
    if size > 100:
        assert x.abs().max() > 2**23


@pytest.mark.parametrize("threshold", [-0.1, 0.0, float("nan"), float("inf")])
def test_a_threshold_that_training_spoilt_has_no_matched_mode(threshold):
    neuron = MultiThresholdLIF(2)
    neuron.theta.data.fill_(threshold)
    with pytest.raises(OptionError, match=f"threshold={threshold:.1f}.* is not allowed; use > 0"):
        neuron.match_device()
    assert neuron.scale is None


def test_the_surrogate_is_the_band_of_the_paper():
    m = torch.tensor([[0.39, 0.41, 1.0, 1.99, 2.01]], dtype=torch.float64, requires_grad=True)
    one, theta = torch.ones((), dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    functional.multi_threshold(m, one, theta, one * 0, 2)[0].sum().backward()
    assert m.grad.tolist() == [[0, 1.25, 1.25, 1.25, 0]]


def test_lam_starts_at_one_and_learns():
    neuron = MultiThresholdLIF(2, 1.0)
    assert neuron.lam.item() == 1.0
    neuron(torch.rand(2, 3, 5)).sum().backward()
    assert neuron.lam_logit.grad.abs() > 0
    assert MultiThresholdLIF(2, learn_lam=False).lam_logit is None


def test_time_mixing_starts_uniform():
    x = torch.randn(2, 3, 4, 4, 6)
    mixed = TemporalMix(6)(x)
    torch.testing.assert_close(mixed, x.mean(-1, keepdim=True).expand_as(x))
    assert torch.equal(TemporalMix(6, "identity")(x), x)


def test_mixing_is_the_sum_over_all_steps_of_eq_12():
    mix = TemporalMix(4)
    torch.nn.init.normal_(mix.logits)
    x = torch.randn(2, 3, 4)
    omega = 2 / (1 + torch.exp(-mix.logits.detach())) / 4
    expected = torch.stack([sum(omega[t, j] * x[..., j] for j in range(4)) for t in range(4)], -1)
    torch.testing.assert_close(mix(x).detach(), expected)


@pytest.mark.parametrize("mode", ["causal", "identity"])
def test_causal_modes_see_no_later_step(mode):
    mix = TemporalMix(5, mode)
    x = torch.randn(2, 3, 5)
    changed = x.clone()
    changed[..., 3:] += 1
    assert torch.equal(mix(x)[..., :3], mix(changed)[..., :3])
    assert not torch.equal(TemporalMix(5)(x)[..., 0], TemporalMix(5)(changed)[..., 0])


@pytest.mark.parametrize("initial", [0.0, 0.5])
def test_single_steps_with_carried_state_equal_many_steps(initial):
    x = torch.randn(3, 4, 6)
    whole = MultiThresholdLIF(3, 0.7, initial=initial)(x)
    neuron = MultiThresholdLIF(3, 0.7, initial=initial, persistent_state=True)
    single = torch.cat([neuron(x[..., t : t + 1]) for t in range(6)], -1)
    assert torch.equal(single, whole)
    neuron.reset_state()
    assert torch.equal(neuron(x), whole)


@pytest.mark.parametrize("mode", ["causal", "identity"])
def test_causal_lm_ht_streams_single_steps(mode):
    x = 2 * torch.rand(3, 4, 6, dtype=torch.float64)
    options = dict(levels=3, threshold=0.4, num_steps=6, mix=mode)
    reference = MultiThresholdLIF(**options).double()
    neuron = MultiThresholdLIF(**options, persistent_state=True).double()
    if mode == "causal":
        torch.nn.init.normal_(reference.mix.logits)
        neuron.mix.load_state_dict(reference.mix.state_dict())
    whole = reference(x)
    assert whole.max() >= 2
    single = torch.cat([neuron(x[..., t : t + 1]) for t in range(6)], -1)
    assert torch.equal(single, whole)
    if mode == "causal":
        with pytest.raises(ShapeError, match=r"7 steps does not fit; .* reset_state\(\)"):
            neuron(x[..., :1])
    neuron.reset_state()
    chunks = torch.cat([neuron(x[..., :4]), neuron(x[..., 4:])], -1)
    assert torch.equal(chunks, whole)


def test_scaled_output_carries_the_threshold():
    x = torch.rand(2, 3, 4) * 3
    assert torch.equal(MultiThresholdLIF(2, 0.7, scaled=True)(x), MultiThresholdLIF(2, 0.7)(x) * 0.7)


def test_qcfs_has_n_plus_one_levels_and_its_gradient():
    x = torch.linspace(-1, 3, 4001, dtype=torch.float64, requires_grad=True)
    y = QCFS(4, 2.0).double()(x)
    assert y.unique().tolist() == [0, 0.5, 1, 1.5, 2]
    (grad,) = torch.autograd.grad(y.sum(), x)
    inside = (x >= -0.25) & (x < 1.75)
    assert torch.equal(grad, inside.double())


def test_the_gradient_of_the_qcfs_threshold_is_that_of_the_formula():
    x = torch.randn(50, dtype=torch.float64)
    theta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    y = functional.qcfs(x, theta, 4)
    upstream = torch.randn_like(y)
    (grad,) = torch.autograd.grad(y, theta, upstream)
    each = [
        (a - b) / 1.5 if 0 <= b * 4 / 1.5 + 0.5 < 4 else float(b > 0)
        for a, b in zip(y.tolist(), x.tolist(), strict=True)
    ]
    assert grad.item() == pytest.approx((upstream * torch.tensor(each)).sum().item())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MultiThresholdLIF(0), OptionError, "levels=0 is not allowed; use 1 or more"),
        (lambda: MultiThresholdLIF(2, -1.0), OptionError, "threshold=-1.0"),
        (lambda: MultiThresholdLIF(2, scale=50), OptionError, "scale=50 is not allowed; use a power of two"),
        (lambda: MultiThresholdLIF(2, scale=0), OptionError, "scale=0"),
        (lambda: MultiThresholdLIF(2, scale=True), OptionError, "scale=True"),
        (lambda: TemporalMix(4, "past"), OptionError, "'full', 'causal', 'identity'"),
        (lambda: TemporalMix(0), OptionError, "num_steps=0"),
        (lambda: TemporalMix(4)(torch.ones(1, 2, 5)), ShapeError, "5 steps does not fit; use 4"),
        (lambda: QCFS(0), OptionError, "levels=0"),
        (lambda: QCFS(2, 0.0), OptionError, "threshold=0.0"),
    ],
)
def test_bad_parameters_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
