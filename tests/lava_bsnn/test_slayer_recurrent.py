"""Recurrent blocks mean what they mean in SLAYER, against loops over neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import analysis, block, models
from lava_bsnn.errors import OptionError


def slow_recurrence(x, weight, params, theta):
    """Loops over samples, steps and neurons."""
    spikes = np.zeros_like(x)
    current, potential, sent = (np.zeros(x.shape[:2]) for _ in range(3))
    for n in range(len(x)):
        for t in range(x.shape[2]):
            fed = [sum(weight[i, j] * sent[n, j] for j in range(x.shape[1])) for i in range(x.shape[1])]
            for i in range(x.shape[1]):
                current[n, i] = (1 - params["current_decay"]) * current[n, i] + x[n, i, t] + fed[i]
                potential[n, i] = (1 - params["voltage_decay"]) * potential[n, i] + current[n, i]
            fires = potential[n] >= theta
            sent[n], spikes[n, :, t] = fires, fires
            potential[n][fires] = 0
    return spikes


@pytest.mark.parametrize("current_decay", [1.0, 0.5])
def test_recurrent_blocks_equal_loops_over_neurons(current_decay):
    params = {"threshold": 1.0, "current_decay": current_decay, "voltage_decay": 0.25}
    torch.manual_seed(3)
    made = block.Recurrent(params, 6, 5, norm=None, weight_scale=4).double()
    x = (torch.rand(4, 6, 15) < 0.5).double()
    spikes = made(x)
    current = made.synapse(x).detach().numpy()
    weight = made.recurrent_synapse.effective_weight().flatten(1).detach().numpy()
    expected = slow_recurrence(current, weight, params, 1.0)
    np.testing.assert_array_equal(spikes.detach().numpy(), expected)
    silent = slow_recurrence(current, 0 * weight, params, 1.0)
    assert 0.05 < expected.mean() < 0.9 and (silent != expected).any()
    alone = made.neuron(made.synapse(x))
    np.testing.assert_array_equal(alone.detach().numpy(), silent)


def test_feedback_gets_its_gradient():
    """The gradient of the feedback's weights, by hand in reverse time."""
    torch.manual_seed(0)
    params = {"threshold": 1.0, "voltage_decay": 0.25, "detach_reset": True, "surrogate": "exponential"}
    one = block.Recurrent(params, 3, 4, norm=None, binarize=None, weight_bits=None, weight_scale=2).double()
    x = torch.rand(2, 3, 5).double()
    (one(x)[..., -1] * torch.arange(1.0, 5.0)).sum().backward()
    got = one.recurrent_synapse.weight.grad.flatten(1)
    with torch.no_grad():
        current, weight = one.synapse(x), one.recurrent_synapse.weight.flatten(1)
        u, s, v = [], [torch.zeros(2, 4).double()], torch.zeros(2, 4).double()
        for t in range(5):
            u.append(0.75 * v + current[..., t] + s[-1] @ weight.T)
            s.append((u[-1] >= 1).double())
            v = u[-1] * (1 - s[-1])
        expected, ahead = torch.zeros_like(weight), torch.zeros(2, 4).double()
        for t in reversed(range(5)):
            given = torch.arange(1.0, 5.0).double().expand(2, 4) if t == 4 else torch.zeros(2, 4).double()
            slope = torch.exp(-(u[t] - 1).abs()) / 2
            ahead = (given + ahead @ weight) * slope + 0.75 * (1 - s[t + 1]) * ahead
            expected += ahead.T @ s[t]
    assert expected.abs().sum() > 0.1
    torch.testing.assert_close(got, expected)


def test_recurrent_state_carries_on():
    torch.manual_seed(0)
    params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.25}
    whole = block.Recurrent(params, 6, 5, norm=None, weight_scale=3, delay=True)
    parts = block.Recurrent({**params, "persistent_state": True}, 6, 5, norm=None, weight_scale=3, delay=True)
    x = (torch.rand(4, 6, 15) < 0.5).float()
    whole(x)
    whole.delay.delay.data.uniform_(0, 4)
    parts.load_state_dict(whole.state_dict())
    pieces = torch.cat([parts(piece) for piece in x.split([4, 1, 10], -1)], -1)
    assert torch.equal(pieces, whole(x)) and pieces.any()


def test_a_residual_does_not_end_in_neurons_that_feed_each_other():
    with pytest.raises(OptionError, match="last block of a Residual"):
        block.Residual([block.Recurrent({"threshold": 1.0}, 4, 4)])
    block.Residual([block.Recurrent({"threshold": 1.0}, 4, 4), block.Dense({"threshold": 1.0}, 4, 4)])


@pytest.mark.parametrize("persistent", [False, True])
def test_recurrent_blocks_of_double_precision_start_anew(persistent):
    torch.manual_seed(0)
    params = {"threshold": 1.0, "current_decay": 0.5, "persistent_state": persistent}
    made = block.Recurrent(params, 6, 5, norm=None, weight_scale=4).double()
    x = (torch.rand(2, 6, 7) < 0.5).double()
    first = made(x)
    made.neuron.reset_state()
    assert first.any() and torch.equal(made(x), first)


def test_feedback_is_never_counted_as_the_readout():
    torch.manual_seed(0)
    params = {"threshold": 0.5}
    model = models.SpikingNetwork(
        [block.Dense(params, 6, 20), block.Recurrent(params, 20, 12)], in_shape=(6,), num_steps=8
    )
    x = (torch.rand(5, 6, 8) < 0.5).float()
    for _ in range(20):
        model.train()(x)
    counted = analysis.count_operations(model.eval(), x).layers
    assert [one.kind for one in counted.values()] == ["SOP", "MAC", "SOP"]
    sent = model(x)[..., :-1].sum()
    assert sent > 0 and counted["blocks.1.recurrent"].operations == 12 * sent
    assert counted["blocks.1"].operations == 5 * 8 * 20 * 12
