"""Weights of Q-SNN's program on the device: powers of two are exact, wide ends are judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.synapse import Binarize, Quantize
from netx_export import convert, simulate

STEPS, THETA = 4, 0.5


def blocks_of_powers(spread, norm=None):
    """Two layers without norm of integrators whose channels have scales of very different size."""
    hook = Binarize(scale="power_of_two", standardize=None)
    neuron = {"threshold": THETA, "voltage_decay": 0.0}
    conv = block.Conv(neuron, 2, 6, 3, padding=1, pre_hook_fx=hook, norm=norm)
    dense = block.Dense(neuron, 6 * 5 * 5, 7, pre_hook_fx=hook, norm=norm)
    with torch.no_grad():
        for one, exponents in ((conv, range(-spread, 0)), (dense, range(-4 - spread, -4))):
            weight = one.synapse.weight
            scales = torch.tensor([2.0 ** exponents[k % spread] for k in range(len(weight))])
            weight.copy_(torch.where(torch.rand_like(weight) < 0.75, 1.0, -1.0)).mul_(
                scales.view(-1, *[1] * (weight.dim() - 1))
            )
    readout = block.Readout(None, 7, 3)
    return models.SpikingNetwork([conv, block.Flatten(), dense, readout], in_shape=(2, 5, 5), num_steps=STEPS)


@pytest.mark.parametrize("spread", [3, 4, 5, 6])
@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_powers_of_two_per_channel_are_exact(profile, spread):
    torch.manual_seed(0)
    model = blocks_of_powers(spread).eval()
    x = (torch.rand(64, 2, 5, 5, STEPS) < 0.6).float()
    net = convert(model, profile)
    for layer, module in zip(net.layers, (model.blocks[0], model.blocks[2]), strict=False):
        signs, step = (
            part.detach().flatten(1).numpy()
            for part in module.synapse.pre_hook_fx.integers(module.synapse.weight)
        )
        connection = layer.connections[0]
        integers = np.asarray(connection.synapse.weight).reshape(signs.shape).astype(float)
        scale = 64.0 if connection.scale is None else np.asarray(connection.scale, dtype=float)
        ratios = integers * np.broadcast_to(scale, len(signs))[:, None] / (signs * step)
        assert len(np.unique(step)) == spread
        assert np.unique(ratios).tolist() == [(layer.neuron.threshold + 1 << layer.neuron.exponent) / THETA]
    with torch.no_grad():
        seen = model.blocks[2](model.blocks[1](model.blocks[0](x)))
    result = simulate(net, x.numpy().astype(int), trace=True)
    assert 0.001 < seen.mean() < 0.9
    spikes = result.layers[net.layers[1].name].spikes
    assert np.array_equal(spikes, seen.numpy().reshape(spikes.shape))


@pytest.mark.parametrize(("profile", "levels"), [("stock", 127), ("extended", 2047)])
def test_integers_beyond_eight_bits_are_rounded_to_those_of_the_profile(profile, levels):
    torch.manual_seed(0)
    hook = Quantize(bits=8, scale="signed_maximum")
    neuron = {"threshold": THETA, "voltage_decay": 0.0}
    conv = block.Conv(neuron, 2, 4, 3, padding=1, pre_hook_fx=hook, norm=None)
    with torch.no_grad():
        conv.synapse.weight.uniform_(-1, 0.3)
    blocks = [conv, block.Flatten(), block.Readout(None, 4 * 5 * 5, 3)]
    net = convert(models.SpikingNetwork(blocks, in_shape=(2, 5, 5), num_steps=STEPS).eval(), profile)
    whole = hook.integers(conv.synapse.weight)[0].flatten(1).numpy()
    assert whole.min() < -128 and whole.max() == 127
    connection = net.layers[0].connections[0]
    integers = np.asarray(connection.synapse.weight).reshape(whole.shape)
    scale = np.broadcast_to(64 if connection.scale is None else np.asarray(connection.scale), 4)
    ours = integers * scale[:, None]
    factor = np.abs(ours).max() / np.abs(whole).max()
    assert np.abs(ours / factor - whole).max() <= 1.5 * np.abs(whole).max() / levels
