"""The order inside a layer is that of the torch modules: gate, shortcut, mixing, neuron."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import block, device, fixed_point
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import LIF, MultiThresholdLIF
from netx_export import FixedPointNetwork, network, simulate

STEPS, CHANNELS, SIZE = 4, 6, 5
UNIT = 1 << 14
"""Membrane steps per unit of current."""


def settle(module):
    """Random numbers for everything that training would find."""
    for parameter in module.parameters():
        if parameter.dim() <= 2 and parameter.requires_grad and parameter.numel() < 64:
            parameter.data.add_(0.6 * torch.randn_like(parameter))
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.02, 0.3)
    return module.eval()


@torch.no_grad()
def make_round(conv):
    """Weights of +-1/2, batch norm in quarters: potentials of a few steps are exact in float32."""
    conv.synapse.weight.copy_(torch.where(conv.synapse.weight < 0, -0.5, 0.5))
    conv.norm.eps = 0.0
    for part in (conv.norm.weight, conv.norm.bias, conv.norm.running_mean):
        part.copy_(torch.randint(-4, 5, part.shape) / 4)
    conv.eval()


def connection(source, conv):
    """A conv block's path: 1-bit weights, batch norm as scale and bias, gate."""
    q, step = conv.synapse.pre_hook_fx.integers(conv.synapse.weight.detach())
    gain, offset = conv.norm.affine_terms()
    scale = (step.flatten() * gain).detach().numpy() * UNIT
    gate = None
    if conv.modulation is not None:
        multiplier, shift = device.gate_multiplier(conv.modulation.alpha.detach().numpy(), UNIT, SIZE * SIZE)
        gate = network.Gate(multiplier=multiplier, shift=shift)
    return network.Connection(
        source=source,
        synapse=network.Conv(
            weight=q.reshape(conv.synapse.weight.shape[:-1]).int().numpy(), padding=conv.synapse.padding[:2]
        ),
        scale=np.rint(scale).astype(int),
        bias=np.rint(offset.detach().numpy() * UNIT).astype(int),
        gate=gate,
    )


@pytest.mark.parametrize("mix", ["full", "causal", None])
@pytest.mark.parametrize("shortcut", ["identity", "conv"])
def test_a_residual_with_gate_and_mixing_equals_torch(mix, shortcut):
    params = {"levels": 3, "threshold": 0.8, "initial": 0.5, "scale": UNIT >> fixed_point.ALIGN_BITS}
    params |= {} if mix is None else {"num_steps": STEPS, "mix": mix}
    inner = block.Conv(
        params, CHANNELS, CHANNELS, 3, padding=1, neuron=MultiThresholdLIF, modulation=AGMM(STEPS)
    )
    short = [] if shortcut == "identity" else [block.Conv(None, CHANNELS, CHANNELS, 1)]
    residual = block.Residual([inner], short)
    residual.build((CHANNELS, SIZE, SIZE))
    settle(residual)
    neuron = inner.neuron
    integer_mix = None
    if mix is not None:
        omega = neuron.mix.omega.detach().numpy()
        integer_mix = network.Mix(omega=np.rint(omega * 4096).astype(int))
    if shortcut == "identity":
        skip = network.Connection(
            source=network.INPUT, synapse=network.Identity(), scale=np.full(CHANNELS, UNIT)
        )
    else:
        skip = connection(network.INPUT, short[0])
    theta = round(neuron.threshold * UNIT)
    layer = network.Layer(
        name="residual",
        connections=(connection(network.INPUT, inner), skip),
        neuron=network.MultiThreshold(
            threshold=theta,
            levels=3,
            initial=round(0.5 * theta),
            lam=round(4096 * float(neuron.lam.detach())),
        ),
        shape=(CHANNELS, SIZE, SIZE),
        mix=integer_mix,
    )
    net = FixedPointNetwork(
        input=network.Input(shape=(CHANNELS, SIZE, SIZE)), layers=(layer,), profile="extended"
    )
    x = (torch.rand(16, CHANNELS, SIZE, SIZE, STEPS) < 0.4).float()
    with torch.no_grad():
        expected = residual(x).numpy()
    result = simulate(net, x.int().numpy())
    assert {0, 1, 2, 3} == set(np.unique(expected))
    np.testing.assert_array_equal(result.spikes, expected)


def test_a_neuron_with_current_decay_filters_the_offset_too():
    conv = block.Conv(
        {"threshold": 1.0, "voltage_decay": 0.25, "current_decay": 0.5},
        CHANNELS,
        CHANNELS,
        3,
        padding=1,
        neuron=LIF,
    )
    conv.build((CHANNELS, SIZE, SIZE))
    make_round(conv)
    neuron = network.LIF(threshold=UNIT - 1, voltage_decay=1024, current_decay=2048, exponent=0)
    layer = network.Layer(
        name="conv",
        connections=(connection(network.INPUT, conv),),
        neuron=neuron,
        shape=(CHANNELS, SIZE, SIZE),
    )
    net = FixedPointNetwork(
        input=network.Input(shape=(CHANNELS, SIZE, SIZE)), layers=(layer,), profile="extended"
    )
    x = (torch.rand(16, CHANNELS, SIZE, SIZE, STEPS) < 0.4).float()
    with torch.no_grad():
        expected = conv(x).numpy()
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(simulate(net, x.int().numpy()).spikes, expected)
