"""The membrane of Q-SNN's program: strict threshold, tanh, a maximum per step; and its way to the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.block import fused
from lava_bsnn.errors import ExportError, OptionError
from lava_bsnn.functional.dynamics import Spiking
from lava_bsnn.neuron import LIF
from lava_bsnn.training import match_device
from netx_export import convert, simulate


class _Above(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0].abs()).clamp(min=0)


def program(x, tau, bits, feedback=None):
    """The neurons step by step, by autograd; ``feedback``: what a layer's spikes add to its own input."""
    n = 2 ** (bits - 1) - 1
    kept, spikes, alphas, sent = torch.zeros_like(x[..., 0]), [], [], torch.zeros_like(x[..., 0])
    for t in range(x.shape[-1]):
        m = tau * kept + x[..., t]
        if feedback is not None:
            m = m + sent @ feedback.T
        sent = _Above.apply(m - 1.0)
        squashed = torch.tanh(m * (1 - sent))
        alphas.append(squashed.detach().abs().max())
        levels = torch.floor(squashed.detach() / alphas[t] * n + 0.5)
        kept = squashed + (alphas[t] * levels / n - squashed).detach()
        spikes.append(sent)
    return torch.stack(spikes, -1), float(torch.stack(alphas).mean())


def neurons(bits=4, **options):
    return LIF(membrane_bits=bits, membrane_mode="authors", strict=True, **options).double()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("training", [True, False])
def test_it_equals_the_program_and_its_gradient(bits, training):
    x = torch.randn(4, 6, 9, dtype=torch.float64)
    x[x.abs() < 0.1] = 1.0  # exactly at the threshold in the first step
    x.requires_grad_()
    lif = neurons(bits)
    if not training:
        lif(3 * torch.randn(4, 6, 9, dtype=torch.float64))  # its running maximum is another
        lif.eval()
    before = lif.membrane_range
    ours, (slow, alpha) = lif(x), program(x, 0.5, bits)
    assert 0.05 < ours.mean() < 0.9
    assert torch.equal(ours, slow)
    assert lif.membrane_range == pytest.approx(alpha if training else before)
    upstream = torch.randn_like(ours)
    (mine,) = torch.autograd.grad(ours, x, upstream)
    (reference,) = torch.autograd.grad(slow, x, upstream)
    torch.testing.assert_close(mine, reference)


def test_the_leak_learns_as_in_the_program():
    x = torch.randn(4, 6, 9, dtype=torch.float64)
    lif = neurons(requires_grad=True)
    upstream = torch.randn_like(x)
    (lif(x) * upstream).sum().backward()
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    (program(x, tau, 4)[0] * upstream).sum().backward()
    torch.testing.assert_close(lif.voltage_decay_fraction.grad.sum(), -tau.grad)


def test_neurons_that_feed_each_other_have_it_too():
    x = torch.randn(4, 6, 9, dtype=torch.float64, requires_grad=True)
    layer = block.Recurrent(
        {"membrane_bits": 4, "membrane_mode": "authors", "strict": True},
        6,
        6,
        norm=None,
        binarize=None,
        weight_bits=None,
        feedback={"binarize": None, "weight_bits": None},
    ).double()
    with torch.no_grad():
        layer.synapse.weight.copy_(torch.eye(6, dtype=torch.float64).view(6, 6, 1, 1, 1))
    ours = layer(x)
    slow, _ = program(x, 0.5, 4, layer.feedback.synapse.effective_weight().flatten(1))
    assert torch.equal(ours, slow)
    upstream = torch.randn_like(ours)
    (mine,) = torch.autograd.grad(ours, x, upstream)
    (reference,) = torch.autograd.grad(slow, x, upstream)
    torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("params", [{"strict": True}, {"membrane_bits": 4, "membrane_mode": "authors"}])
def test_kernels_that_do_not_know_it_are_not_used(params, monkeypatch):
    monkeypatch.setattr(fused, "SMALL", 0)
    torch.manual_seed(0)
    layer = block.Conv({"threshold": 0.5, **params}, 2, 4, 3, padding=1).eval()
    x = (torch.rand(3, 2, 6, 6, 5) < 0.5).float()
    drives = []
    monkeypatch.setattr(fused, "Drive", lambda **parts: drives.append(parts))
    current = layer.norm(layer.synapse(x))
    assert torch.equal(layer(x), layer.neuron(current))
    assert not drives
    how = layer.neuron._how([])
    assert isinstance(how, Spiking) and how.backend(x, torch.ones(1)) is None
    assert LIF()._how([]).backend(x, torch.ones(1)) is not None


def test_a_current_at_the_threshold_fires_unless_it_is_strict():
    x = torch.tensor([[[1.0, 0.0, 1.25]]])
    assert LIF()(x).tolist() == [[[1, 0, 1]]]
    assert LIF(strict=True)(x).tolist() == [[[0, 0, 1]]]
    assert LIF(strict=True, membrane_bits=8, membrane_mode="matched")(x).tolist() == [[[0, 0, 1]]]


def strict_model(profile, **params):
    """Integrators that reach exactly their threshold, often."""
    torch.manual_seed(0)
    params = {"threshold": 1.0, "voltage_decay": 0.0, "strict": True, **params}
    layer = block.Dense(params, 12, 20, norm=None)
    with torch.no_grad():
        layer.synapse.weight.uniform_(-1, 1).sign_().mul_(0.25)
    readout = block.Readout(None, 20, 3)
    return models.SpikingNetwork([layer, readout], in_shape=(12,), num_steps=6).eval()


@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize("matched", [False, True])
def test_a_strict_threshold_is_exact_on_the_device(profile, matched):
    model = strict_model(profile)
    if matched:
        match_device(model, profile)
    x = (torch.rand(16, 12, 6) < 0.5).float()
    with torch.no_grad():
        ours, at_it = model.blocks[0](x), LIF(1.0, voltage_decay=0.0)(model.blocks[0].synapse(x))
    assert not torch.equal(ours, at_it)  # some are exactly at it
    net = convert(model, profile, ignore_membrane=True)
    spikes = simulate(net, x.numpy().astype(int), trace=True).layers[net.layers[0].name].spikes
    assert np.array_equal(spikes, ours.numpy().reshape(spikes.shape))


@pytest.mark.parametrize("profile", ["stock", "extended", "loihi"])
def test_export_refuses_it_by_name_until_it_is_matched(profile):
    model = strict_model(profile, membrane_bits=4, membrane_mode="authors")
    x = (torch.rand(16, 12, 6) < 0.5).float()
    model.train()(x)
    model.eval()
    with pytest.raises(ExportError, match="membrane_mode='authors' stores hyperbolic tangents"):
        convert(model, profile, ignore_membrane=True)
    match_device(model, "extended")
    lif = model.blocks[0].neuron
    assert lif.membrane_mode == "matched" and lif.membrane_bits == 4
    net = convert(model, "extended")
    spikes = simulate(net, x.numpy().astype(int), trace=True).layers[net.layers[0].name].spikes
    with torch.no_grad():
        assert np.array_equal(spikes, model.blocks[0](x).numpy().reshape(spikes.shape))


def test_quantising_before_the_spike_is_refused():
    with pytest.raises(OptionError, match="membrane_when='before_spike' is not allowed with membrane_mode"):
        LIF(membrane_bits=4, membrane_mode="authors", membrane_when="before_spike")
