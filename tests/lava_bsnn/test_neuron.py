from __future__ import annotations

import numpy as np
import pytest
import torch
from lava.lib.dl.slayer.neuron import Dropout, base, cuba, norm

from lava_bsnn.errors import OptionError
from lava_bsnn.neuron import LIF, MultiThresholdLIF


def test_spikes_equal_slayers_cuba_neuron_away_from_its_rounding():
    params = dict(threshold=1.25, current_decay=0.25, voltage_decay=0.125)
    x = torch.randint(-64, 96, (4, 10, 30)).float() / 64  # on SLAYER's grid
    ours, stock = LIF(**params), cuba.Neuron(**params)
    _, our_potential = ours.dynamics(x)
    _, stock_potential = stock.dynamics(x)
    first = np.argwhere((our_potential - stock_potential).abs().numpy() > 0.01)
    assert ours(x).mean() > 0.05
    # SLAYER truncates its states to 1 / 4096, so potentials agree to about that
    assert len(first) == 0
    assert torch.equal(ours(x), stock(x))


def test_it_is_a_slayer_neuron():
    neuron = LIF(threshold=1.5, voltage_decay=0.25)
    assert isinstance(neuron, base.Neuron)
    assert neuron.device_params == {
        "type": "CUBA",
        "iDecay": 4096,
        "vDecay": 1024,
        "vThMant": 96,
        "refDelay": 1,
        "gradedSpike": False,
    }


def test_a_potential_at_the_threshold_fires():
    spikes = LIF(threshold=1.0, voltage_decay=0.0)(torch.tensor([[[0.5, 0.5, 0.5, 0.49]]]))
    assert spikes.tolist() == [[[0, 1, 0, 0]]]


@pytest.mark.parametrize("current_decay", [1.0, 0.5])
def test_persistent_state_continues_where_the_last_call_ended(current_decay):
    x = torch.rand(2, 5, 20)
    options = dict(threshold=1.0, voltage_decay=0.25, current_decay=current_decay)
    whole = LIF(**options)(x)
    neuron = LIF(**options, persistent_state=True)
    parts = torch.cat([neuron(x[..., :7]), neuron(x[..., 7:])], dim=-1)
    assert torch.equal(whole, parts)
    neuron.reset_state()
    assert torch.equal(neuron(x), whole)
    assert torch.equal(neuron(x[:1, ..., :3]), LIF(**options)(x[:1, ..., :3]))  # other batch: from rest


def test_without_persistent_state_calls_are_independent():
    neuron, x = LIF(), torch.rand(2, 5, 20)
    assert torch.equal(neuron(x), neuron(x))


def test_decays_are_learned_when_asked():
    neuron = LIF(threshold=1.0, current_decay=0.5, voltage_decay=0.5, requires_grad=True)
    neuron(torch.rand(2, 3, 8)).sum().backward()
    assert neuron.voltage_decay_fraction.grad.abs() > 0
    assert neuron.current_decay_fraction.grad.abs() > 0


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_decays_learn_from_their_bounds_too(decay):
    neuron = LIF(threshold=1.0, current_decay=decay, voltage_decay=decay, requires_grad=True)
    neuron(torch.rand(2, 3, 8)).sum().backward()
    assert neuron.voltage_decay_fraction.grad.abs() > 0
    assert neuron.current_decay_fraction.grad.abs() > 0


def test_the_surrogate_has_its_scale_and_width():
    x = torch.tensor([[[0.5]]], requires_grad=True)
    LIF(threshold=1.0, gamma=2.0)(x).sum().backward()
    assert x.grad.item() == pytest.approx((2.0 - 0.5) / 4.0)


def test_slayers_norm_and_dropout_work():
    options = dict(norm=norm.MeanOnlyBatchNorm, dropout=Dropout(p=0.5))
    neuron = LIF(threshold=0.2, **options)
    x = torch.rand(4, 3, 2, 2, 10, requires_grad=True)
    kept = neuron(x)
    kept.sum().backward()
    assert x.grad.abs().sum() > 0
    assert 0 < neuron.norm.running_mean.mean() < 1
    assert set(kept.detach().unique().tolist()) <= {0.0, 1.0, 2.0}  # scaled by 1 / (1 - p)
    neuron.eval()
    assert set(neuron(x).detach().unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(voltage_decay=1.5), "voltage_decay=1.5 is not allowed; use a number in 0..1"),
        (dict(threshold=0.0), "threshold=0.0 is not allowed"),
        (dict(threshold=float("inf")), "threshold=inf is not allowed"),
        (dict(scale=0), "scale=0 is not allowed"),
        (dict(dropout=0.5), "dropout=0.5 is not allowed; use a module"),
        (dict(tau_grad=-1), "tau_grad=-1 is not allowed"),
        (dict(surrogate="step"), "'step' is unknown"),
        (dict(gamma=0), "gamma=0 is not allowed"),
        (dict(tau_grad=1, surrogate="triangular"), "tau_grad and scale_grad are those of surrogate='slayer'"),
        (dict(voltage_decay=(0.1, 0.2)), r"voltage_decay=\(0.1, 0.2\) is not allowed; use a number in 0..1$"),
        (dict(voltage_decay=(0.2, 0.1), shared_param=False), "use a number in 0..1, or two: the least"),
        (dict(graded_spike=True), "graded_spike=True is not supported"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        LIF(**options)


@pytest.mark.parametrize(
    "neuron",
    [
        LIF(),
        LIF(membrane_bits=4),
        LIF(membrane_bits=8, membrane_mode="matched"),
        MultiThresholdLIF(2),
    ],
    ids=["LIF", "4 bit", "matched", "multi-threshold"],
)
def test_the_backward_pass_keeps_one_tensor_of_the_inputs_size(neuron):
    x = torch.rand(8, 4, 6, 6, 10).movedim(0, -1).requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        neuron(x)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
    assert sum(storages.values()) <= x.numel() * 4 + 1024
