from __future__ import annotations

import numpy as np
import pytest
import torch

from lava_bsnn import block, data, models, training
from lava_bsnn.errors import LavaBsnnError
from lava_bsnn.functional import direct_code
from lava_bsnn.norm import BatchNorm
from netx_export import convert, simulate


@pytest.fixture(scope="module")
def digits():
    split = data.digits()
    return (split.train_images, split.train_labels), (split.test_images, split.test_labels)


def network(method, **options):
    training.seed_everything(0)
    return models.create(
        "cnn",
        num_classes=10,
        in_shape=(1, 8, 8),
        num_steps=3,
        method=method,
        input_bits=4,
        channels=(6, 8),
        hidden=24,
        **options,
    )


def spikes_of(model, x):
    found, hooks = [], []
    for module in model.modules():
        if isinstance(module, block.SpikingBlock) and module.neuron is not None:
            hooks.append(module.neuron.register_forward_hook(lambda n, i, out: found.append(out.numpy())))
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("method", ["agmm", "qsnn", "fp"])
def test_a_finetuned_network_exports_without_any_change(method, digits):
    train, test = digits
    model = network(method)
    before = training.fit(model, train, test, epochs=5)[-1].test_accuracy
    statistics = [m.running_mean.clone() for m in model.modules() if isinstance(m, BatchNorm)]
    history = training.finetune(model, train, test, epochs=1)
    assert history[-1].test_accuracy > before - 0.05
    kept = [m.running_mean for m in model.modules() if isinstance(m, BatchNorm)]
    assert all(torch.equal(a, b) for a, b in zip(statistics, kept, strict=True))
    net = convert(model.eval(), "extended")
    x = net.encode(test[0], 3)
    ours = simulate(net, x, trace=True)
    theirs = spikes_of(model, torch.from_numpy(test[0]))
    layers = [layer for layer in net.layers if layer is not net.output]
    assert len(layers) == len(theirs) == 3
    for layer, spikes in zip(layers, theirs, strict=True):
        trace = ours.layers[layer.name].spikes
        np.testing.assert_array_equal(trace, spikes.reshape(trace.shape).astype(trace.dtype))
        assert 0.005 < trace.mean() < 0.9


def test_training_in_integers_has_the_gradient_of_the_float_pass():
    model = network("agmm")
    x = direct_code(torch.rand(4, 1, 8, 8), 3)
    model.train()
    model(x)
    training.match_device(model)
    conv = model.blocks[2]
    spikes = (torch.rand(4, *conv.input_shape, 3) < 0.3).float()
    exact = conv.current(spikes)
    (ours,) = torch.autograd.grad(exact.square().sum(), conv.synapse.weight)
    conv.neuron.membrane_mode = "paper"  # the floating-point path
    plain = conv.current(spikes)
    assert 0 < (exact - plain).abs().max() < 0.02
    (theirs,) = torch.autograd.grad(plain.square().sum(), conv.synapse.weight)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02 * float(theirs.abs().max()))


def test_neurons_without_matched_mode_are_refused(digits):
    with pytest.raises(LavaBsnnError, match="MultiThresholdLIF has no matched mode"):
        training.finetune(network("lmht"), *digits)
