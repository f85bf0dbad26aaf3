"""The same names mean what they mean in SLAYER: gradients, decays, delays, weight norm, state dicts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from lava.lib.dl import slayer

import netx_export
from lava_bsnn import block, models, training
from lava_bsnn.axon import Delay
from lava_bsnn.neuron import LIF
from netx_export import convert

LONG = {"threshold": 1.25, "current_decay": 0.25, "voltage_decay": 0.03125}


TUTORIAL = {**LONG, "tau_grad": 0.03, "scale_grad": 3}


def gradients(neuron, x, weights):
    x = x.clone().requires_grad_()
    spikes = neuron(x)
    (spikes * weights).sum().backward()
    return spikes.detach(), x.grad


@pytest.mark.parametrize(
    "params",
    [
        TUTORIAL,
        {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.5, "tau_grad": 0.1, "scale_grad": 0.5},
        {"threshold": 0.5, "current_decay": 0.5, "voltage_decay": 0.25, "tau_grad": 1, "scale_grad": 1},
        {"threshold": 2.0, "current_decay": 0.5, "voltage_decay": 0.0, "scale_grad": 2},
    ],
)
def test_the_surrogate_gradient_is_slayers(params):
    torch.manual_seed(1)
    x = 1.2 * torch.rand(3, 5, 20) - 0.3
    weights = torch.rand(3, 5, 20)
    ours, theirs = LIF(**params), slayer.neuron.cuba.Neuron(**params)
    theirs.s_scale = 1 << 20  # its states round towards zero at each step; ours do not
    for neuron in (ours, theirs):
        neuron.spikes, neuron.gradient = gradients(neuron, x, weights)
    assert torch.equal(ours.spikes, theirs.spikes) and 0.02 < ours.spikes.mean() < 0.9
    assert theirs.gradient.abs().min() > 0
    torch.testing.assert_close(ours.gradient, theirs.gradient, rtol=2e-3, atol=0)


def test_a_surrogate_without_slayers_parameters_is_the_papers():
    assert LIF().surrogate == "triangular" and not LIF().ignore_reset
    assert LIF(tau_grad=1).surrogate == "slayer" and LIF(scale_grad=1).ignore_reset
    assert LIF(surrogate="exponential", gamma=0.5).gamma == 0.5


def test_state_dicts_of_slayer_load():
    torch.manual_seed(0)
    params = {**TUTORIAL, "requires_grad": True}
    theirs = slayer.block.cuba.Dense(params, 6, 4, weight_norm=True, delay=True)
    theirs(torch.rand(2, 6, 9))
    with torch.no_grad():
        theirs.neuron.voltage_decay.fill_(300.0)
        theirs.delay.delay.copy_(torch.tensor([0.5, 1.2, 3.9, 2.0]))
    ours = block.Dense(params, 6, 4, weight_norm=True, delay=True, norm=None, binarize=None, weight_bits=None)
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not unexpected and not missing
    assert ours.neuron.cx_voltage_decay == 300 and ours.neuron.voltage_decay.item() == 300.0
    assert ours.delay.steps.tolist() == [0, 1, 3, 2]
    torch.testing.assert_close(ours.synapse.weight, theirs.synapse.weight)
    x = (torch.rand(3, 6, 30) < 0.6).float()
    theirs.delay_shift, theirs.synapse.pre_hook_fx = False, None
    spikes = ours(x)
    assert (spikes == theirs(x)).float().mean() > 0.98 and 0.02 < spikes.mean() < 0.9


@pytest.mark.parametrize("start", [0.8, 1.0, 0.0])
def test_decays_find_a_teachers_at_ordinary_rates(start):
    def student(decay):
        torch.manual_seed(1)
        params = {"threshold": 1.0, "voltage_decay": decay, "requires_grad": True}
        return block.Dense(params, 20, 40, norm=None, binarize=None, weight_bits=None, weight_scale=2)

    torch.manual_seed(0)
    x = (torch.rand(64, 20, 30) < 0.3).float()
    target = student(0.2)(x).mean(-1).detach()
    one = student(start)
    optimizer = torch.optim.Adam([one.neuron.voltage_decay_fraction], lr=0.02)
    for _ in range(150):
        loss = (one(x).mean(-1) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert one.neuron.cx_voltage_decay / 4096 == pytest.approx(0.2, abs=0.02)


def test_decays_per_channel_are_drawn_once_and_learn_apart():
    neuron = LIF(voltage_decay=(0.1, 0.6), shared_param=False, requires_grad=True)
    neuron.shape = torch.Size((3, 2, 2))
    first = neuron.voltage_decay_fraction.detach().clone()
    assert first.shape == (3,) and 0.1 <= first.min() < first.max() <= 0.6
    x = torch.rand(2, 3, 2, 2, 8)
    x[:, 1] = 0
    neuron(x).sum().backward()
    grad = neuron.voltage_decay_fraction.grad
    assert grad[1] == 0 and (grad[[0, 2]] != 0).all()
    assert torch.equal(neuron.voltage_decay_fraction, first)
    by_channel = torch.stack(
        [LIF(voltage_decay=round(float(decay * 4096)) / 4096)(x[:, c]) for c, decay in enumerate(first)], 1
    )
    assert torch.equal(neuron(x), by_channel)
    other = LIF(voltage_decay=(0.1, 0.6), shared_param=False, requires_grad=True)
    other.load_state_dict(neuron.state_dict())
    assert torch.equal(other(x), by_channel)
    one = LIF(voltage_decay=0.5, shared_param=False)
    one.shape = torch.Size((50,))
    assert 0.495 <= one.voltage_decay_fraction.min() < one.voltage_decay_fraction.max() <= 0.505
    assert one.cx_current_decay == 4096  # 1 stays 1


def test_delays_and_their_gradient_are_slayers():
    torch.manual_seed(0)
    x = (torch.rand(3, 4, 2, 3, 12) < 0.4).float()
    weights = torch.rand_like(x)
    ours, theirs = Delay(), slayer.axon.Delay(max_delay=62)
    for delay in (ours, theirs):
        delay(x)
        delay.delay.data = torch.tensor([0.0, 1.7, 5.2, 80.0])
        delay.result, delay.gradient = gradients(delay, x, weights)
    assert torch.equal(ours.result, theirs.result) and ours.result[:, 1].any() and not ours.result[:, 3].any()
    assert torch.equal(ours.gradient, theirs.gradient)
    torch.testing.assert_close(ours.delay.grad.flatten(), theirs.delay.grad.flatten())


def test_delays_carry_on_with_the_neurons():
    x = (torch.rand(2, 3, 40) < 0.5).float()
    whole, parts = Delay(), Delay(persistent_state=True)
    whole.build(3)
    whole.delay.data = torch.tensor([0.0, 4.0, 30.0])
    parts.load_state_dict(whole.state_dict())
    pieces = [parts(piece) for piece in x.split([7, 1, 20, 12], -1)]
    assert torch.equal(torch.cat(pieces, -1), whole(x)) and whole(x)[:, 2].any()
    parts.reset_state()
    assert torch.equal(parts(x), whole(x))


@pytest.mark.parametrize("options", [{}, {"detach_reset": True}, {"membrane_bits": 4}, {"tau_grad": 0.05}])
def test_without_feedback_the_recurrent_form_has_the_same_gradients(options):
    params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.25, "requires_grad": True, **options}
    torch.manual_seed(0)
    one = block.Recurrent(params, 6, 5, norm=None, weight_scale=3)
    with torch.no_grad():
        one.recurrent_synapse.weight.zero_()
    x = (torch.rand(4, 6, 15) < 0.5).float()
    found = []
    for run in (lambda x: one(x), lambda x: one.neuron(one.synapse(x))):
        one.zero_grad()
        spikes, gradient = gradients(run, x, torch.rand(4, 5, 15, generator=torch.Generator().manual_seed(0)))
        decays = [one.neuron.current_decay_fraction.grad, one.neuron.voltage_decay_fraction.grad]
        found.append([spikes, gradient, one.input_synapse.weight.grad.clone(), *(d.clone() for d in decays)])
    assert found[0][0].any() and found[0][1].abs().sum() > 0
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weight_norm_is_slayers():
    torch.manual_seed(0)
    ours = block.Conv(
        {"threshold": 1.0}, 2, 3, 3, weight_norm=True, norm=None, binarize=None, weight_bits=None
    )
    synapse = slayer.synapse.Conv(2, 3, 3)
    synapse.weight.data = ours.synapse.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        synapse.enable_weight_norm()
    assert {n: p.shape for n, p in ours.synapse.named_parameters()} == {
        n: p.shape for n, p in synapse.named_parameters()
    }
    x = torch.rand(2, 2, 5, 5, 4)
    for one in (ours.synapse, synapse):
        (one(x) * torch.arange(3.0).view(3, 1, 1, 1)).sum().backward()
    torch.testing.assert_close(ours.synapse.weight_g.grad, synapse.weight_g.grad)
    torch.testing.assert_close(ours.synapse.weight_v.grad, synapse.weight_v.grad, rtol=1e-3, atol=1e-4)
    before = ours.synapse(x)
    ours.synapse.disable_weight_norm()
    assert torch.equal(ours.synapse(x), before)
    assert list(dict(ours.synapse.named_parameters())) == ["weight"]


def test_long_time_constants_start_norm_with_less_gain_or_are_warned_of():
    gain = block.Dense(LONG, 64, 8).norm.weight
    # deviation of the potential after 16 steps of currents of deviation 1, of random numbers
    neuron = LIF(**{**LONG, "threshold": 1e9})
    torch.manual_seed(0)
    spread = float(neuron.dynamics(torch.randn(20000, 1, 16))[1][..., -1].std())
    assert gain.unique().item() == pytest.approx(1.25 / spread, rel=0.02)
    for threshold, decay in ((0.1, 0.5), (1.0, 0.5), (1.0, 0.0)):
        made = block.Dense({"threshold": threshold, "voltage_decay": decay}, 64, 8)
        assert (made.norm.weight == 1).all()
    with pytest.warns(UserWarning, match="beyond the 'triangular' surrogate.*tau_grad"):
        block.Dense(LONG, 64, 8, norm=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block.Dense(TUTORIAL, 64, 8, norm=None)
        block.Dense({"threshold": 1.0, "voltage_decay": 0.0}, 64, 8, norm=None)


@pytest.mark.parametrize("kind", ["Dense", "Recurrent"])
@pytest.mark.parametrize("shared", [True, False])
def test_state_dicts_of_slayers_trained_blocks_load_whole(kind, shared):
    params = {"threshold": 1.0, "current_decay": 0.25, "voltage_decay": 0.5, "shared_param": shared}
    theirs = getattr(slayer.block.cuba, kind)(
        {**params, "persistent_state": kind == "Recurrent"}, 5, 6, delay=True
    )
    theirs(torch.rand(2, 5, 4))
    ours = getattr(block, kind)(params, 5, 6, norm=None, delay=True)
    ours.load_state_dict(theirs.state_dict())
    decay = theirs.neuron.voltage_decay.detach().round().int().tolist()
    assert np.broadcast_to(ours.neuron.cx_voltage_decay, len(decay)).tolist() == decay
    assert torch.equal(ours.delay.delay, theirs.delay.delay)


def test_learned_decays_leave_matched_mode_exact():
    """The device's grid has no current with a memory; it must not learn one."""
    torch.manual_seed(0)
    params = {"threshold": 1.0, "requires_grad": True}
    model = models.SpikingNetwork(
        [block.Dense(params, 10, 20), block.Recurrent(params, 20, 12)], in_shape=(10,), num_steps=8
    )
    x = (torch.rand(16, 10, 8) < 0.4).float()
    model.train()(x)
    training.match_device(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        (model(x) * torch.linspace(-1, 1, 12).view(-1, 1)).sum().backward()
        optimizer.step()
    for made in model.blocks:
        assert made.neuron.cx_current_decay == 4096 and made.neuron.cx_voltage_decay != 2048
    with torch.no_grad():
        expected = model.eval()(x)
    spikes = netx_export.simulate(convert(model, "extended"), x.long().numpy()).spikes
    assert expected.any()
    np.testing.assert_array_equal(spikes, expected.bool().numpy())
