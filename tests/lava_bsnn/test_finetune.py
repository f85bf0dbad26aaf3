from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lava_bsnn import block, data, models, training
from lava_bsnn.errors import LavaBsnnError
from lava_bsnn.functional import direct_code
from lava_bsnn.neuron import QCFS, MultiThresholdLIF
from lava_bsnn.norm import BatchNorm
from lava_bsnn.training.hybrid import to_lmht, to_single_threshold
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


def neurons_of(model):
    blocks = [m for m in model.modules() if isinstance(m, block.SpikingBlock)]
    return [module.neuron for module in blocks if module.neuron is not None]


def spikes_of(model, x):
    found, hooks = [], []
    for neuron in neurons_of(model):
        hooks.append(neuron.register_forward_hook(lambda n, i, out: found.append(out.numpy())))
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("method", ["agmm", "qsnn", "fp", "lmht"])
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
        assert 0.005 < trace.mean() < 0.9 * layer.neuron.max_message


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


def test_pooling_with_a_neuron_or_in_a_shortcut_is_exact_too():
    torch.manual_seed(0)
    params = {"threshold": 0.5, "voltage_decay": 0.5}
    model = models.SpikingNetwork(
        [
            block.Conv(params, 2, 4, 3, padding=1),
            block.Pool({"threshold": 0.25}, 2),
            block.Residual(
                [block.Conv(params, 4, 6, 3, stride=2, padding=1)],
                [block.Pool(None, 2), block.Conv(None, 4, 6, 1)],
            ),
            block.Flatten(),
            block.Readout(None, 6 * 4, 3),
        ],
        in_shape=(2, 8, 8),
        num_steps=4,
    )
    x = np.random.default_rng(0).integers(0, 2, (8, 2, 8, 8, 4))
    model.train()
    for _ in range(10):
        model(torch.from_numpy(x).float())
    training.match_device(model.eval())
    ours = simulate(convert(model, "extended"), x, trace=True)
    theirs = spikes_of(model, torch.from_numpy(x).float())
    names = ["conv0", "pool1", "residual2"]
    for name, spikes in zip(names, theirs, strict=True):
        np.testing.assert_array_equal(ours.layers[name].spikes, spikes.astype(bool))
        assert 0.01 < spikes.mean() < 0.99


def test_neurons_without_matched_mode_are_refused(digits):
    with pytest.raises(LavaBsnnError, match="QCFS has no matched mode; use LIF or MultiThresholdLIF"):
        training.finetune(network("qcfs"), *digits)


@pytest.mark.parametrize("mix", ["full", "causal", "identity"])
def test_a_hybrid_and_its_single_threshold_form_are_exact(mix):
    """Scaled spikes, learned thresholds, and substeps whose input counts 1 / L."""
    ann = network("qcfs")
    x = np.random.default_rng(0).integers(0, 16, (8, 1, 8, 8, 4)) / 15
    for module in ann.modules():
        if isinstance(module, QCFS):
            module.theta.data.uniform_(0.5, 3)
    ann.train()
    for _ in range(20):
        ann(torch.from_numpy(x[..., :1]).float())
    model = to_lmht(ann, levels=3, num_steps=4, mix=mix)
    for module in model.modules():
        if isinstance(module, MultiThresholdLIF):
            torch.nn.init.normal_(module.lam_logit, std=0.5)
            if module.mix.logits is not None:
                torch.nn.init.normal_(module.mix.logits)
    training.match_device(model.eval())
    for one in (model, to_single_threshold(model)):
        net = convert(one, "extended")
        ours = simulate(net, np.rint(x * 15).astype(int).repeat(one.out_steps // 4, -1), trace=True)
        theirs = spikes_of(one, torch.from_numpy(x).float())
        hidden = [layer for layer in net.layers if layer is not net.output]
        for layer, neuron, spikes in zip(hidden, neurons_of(one), theirs, strict=True):
            counts = ours.layers[layer.name].spikes
            np.testing.assert_array_equal(counts * np.float32(neuron.threshold), spikes.reshape(counts.shape))
            assert 0 < counts.mean() < layer.neuron.max_message


@pytest.mark.parametrize("method", ["lmht", "agmm"])
def test_matched_mode_is_exact_in_mixed_precision(method, digits):
    model = network(method)
    training.fit(model, *digits, epochs=1)
    training.match_device(model)
    x = direct_code(torch.from_numpy(digits[1][0][:50]), model.num_steps)
    alone = spikes_of(model.eval(), x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = spikes_of(model, x)
    for ours, theirs in zip(mixed, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_in_double_precision_has_a_single_threshold_form():
    model = to_lmht(network("qcfs").double(), levels=3, num_steps=4, mix="identity")
    assert to_single_threshold(model)(torch.rand(1, 1, 8, 8, 4).double()).dtype == torch.float64


def test_a_matched_multi_threshold_neuron_learns_as_the_floating_point_one():
    torch.manual_seed(0)
    matched = MultiThresholdLIF(3, 0.7, learn_threshold=True, num_steps=4, scaled=True, scale=1 << 12)
    plain = copy.deepcopy(matched)
    plain.scale = None
    gradients = []
    for neuron in (matched, plain):
        torch.manual_seed(1)
        x = (torch.randn(8, 20, 4) * 3).requires_grad_()
        neuron(x).square().sum().backward()
        gradients.append([x.grad, *(parameter.grad for parameter in neuron.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2 * float(theirs.abs().max()))


@pytest.mark.parametrize(("threshold", "scale"), [(500.0, 1), (40.0, 2), (1.0, 64), (0.9, 128), (0.01, 8192)])
def test_a_matched_multi_threshold_neuron_has_64_weight_steps_or_more(threshold, scale):
    neuron = MultiThresholdLIF(2, threshold)
    neuron.match_device()
    assert neuron.scale == scale and threshold * scale >= 64
