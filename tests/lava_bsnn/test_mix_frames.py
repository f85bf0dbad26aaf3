"""Frames into steps in front of the first neuron: equation, gradient, matched mode, models, recipes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lava_bsnn import block, models, training
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.models import SpikingNetwork
from lava_bsnn.models.method import METHODS, Method
from lava_bsnn.modulation import AGMM
from lava_bsnn.neuron import MultiThresholdLIF, TemporalMix
from lava_bsnn.training.build import build_model
from lava_bsnn.training.hybrid import to_single_threshold
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.run_data import input_shape, load_data
from netx_export import agreement, convert, simulate


def create(frames=5, num_steps=2):
    torch.manual_seed(0)
    model = models.create(
        "cnn",
        num_classes=3,
        in_shape=(2, 6, 6),
        num_steps=num_steps,
        method="lmht",
        channels=(4, 4),
        hidden=12,
        method_options={"mix_frames": frames, "neuron_params": {"levels": 2, "threshold": 0.4}},
    )
    for module in model.modules():
        if isinstance(module, TemporalMix):
            torch.nn.init.normal_(module.logits)
    x = (torch.rand(24, 2, 6, 6, frames) < 0.4).float()
    model.train()
    for _ in range(3):
        model(x)
    return model.eval(), x


def mixes(model):
    return [module for module in model.modules() if isinstance(module, TemporalMix)]


def test_it_is_the_sum_over_frames_of_eq_12_and_its_gradient():
    mix = TemporalMix(2, num_frames=5).double()
    torch.testing.assert_close(mix.omega, torch.full((2, 5), 0.2).double())
    torch.nn.init.normal_(mix.logits)
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    out, upstream = mix(x), torch.randn(3, 4, 2, dtype=torch.float64)
    grads = torch.autograd.grad(out, [x, mix.logits], upstream)
    for n, c, t in np.ndindex(3, 4, 2):
        expected = sum(2 * torch.sigmoid(mix.logits[t, j]) / 5 * x[n, c, j] for j in range(5))
        torch.testing.assert_close(out[n, c, t], expected)
    for n, c, j in np.ndindex(3, 4, 5):
        expected = sum(2 * torch.sigmoid(mix.logits[t, j]) / 5 * upstream[n, c, t] for t in range(2))
        torch.testing.assert_close(grads[0][n, c, j], expected)
    for t, j in np.ndindex(2, 5):
        sigmoid = torch.sigmoid(mix.logits[t, j])
        expected = (upstream[..., t] * x[..., j]).sum() * 2 / 5 * sigmoid * (1 - sigmoid)
        torch.testing.assert_close(grads[1][t, j], expected)


@pytest.mark.parametrize(("frames", "num_steps"), [(5, 2), (2, 5)])
def test_matched_mode_is_the_devices_integers(frames, num_steps):
    neuron = MultiThresholdLIF(2, 0.5, num_steps=num_steps, num_frames=frames, scale=128)
    torch.nn.init.normal_(neuron.mix.logits)
    omega = (2 * torch.sigmoid(neuron.mix.logits.detach().double()) / frames * 4096).round().long().tolist()
    currents = torch.randint(-9_000, 12_000, (40, frames))
    counts, theta = neuron(currents[:, None].float() / neuron.unit)[:, 0].tolist(), neuron.unit // 2
    assert theta == 4096
    for row, sent in zip(currents.tolist(), counts, strict=True):
        v = 0
        for t in range(num_steps):
            v += (sum(omega[t][j] * row[j] for j in range(frames)) + 2048) // 4096
            s = max(0, min(2, v // theta))
            v -= theta * s
            assert sent[t] == s
    assert len({s for row in counts for s in row}) == 3


def test_only_the_first_neurons_of_a_model_mix_frames():
    model, x = create(5, 2)
    assert [(one.num_frames, one.num_steps) for one in mixes(model)] == [(5, 2), (2, 2), (2, 2)]
    assert (model.num_steps, model.out_steps, model.blocks[-1].num_steps) == (5, 2, 2)
    assert model(x).shape == (24, 3, 2)
    still = x[..., 0]
    assert torch.equal(model(still), model(still[..., None].expand(*still.shape, 5)))
    assert training.predict(model, x.numpy()).shape == (24,)


def test_resnets_and_gates_take_frames_too():
    model = models.create(
        "resnet20",
        num_classes=3,
        in_shape=(2, 8, 8),
        num_steps=2,
        method=replace(METHODS["lmht"], modulation="agmm", mix_frames=4),
        width=0.25,
    )
    gates = [len(module.alpha) for module in model.modules() if isinstance(module, AGMM)]
    assert gates[0] == 4 and set(gates[1:]) == {2}
    x = (torch.rand(8, 2, 8, 8, 4) < 0.5).float()
    model.train()
    for _ in range(3):
        model(x)
    training.match_device(model.eval())
    assert agreement(model, convert(model, "extended"), x).same_class == 1


@pytest.mark.parametrize(("frames", "num_steps"), [(5, 2), (2, 5)])
def test_the_integers_of_a_matched_model_give_its_spikes(frames, num_steps):
    model, x = create(frames, num_steps)
    training.match_device(model)
    net = convert(model, "extended")
    ours = simulate(net, net.encode(x), trace=True).layers
    hidden = [module for module in model.modules() if isinstance(module, MultiThresholdLIF)]
    theirs = []
    for neuron in hidden:
        neuron.register_forward_hook(lambda n, i, out: theirs.append(out.detach().numpy()))
    model(x)
    names = [layer.name for layer in net.layers if layer is not net.output]
    assert len(names) == len(theirs) == 3
    for name, spikes in zip(names, theirs, strict=True):
        counts = ours[name].spikes
        np.testing.assert_array_equal(counts, spikes.reshape(counts.shape))
        assert 0 < counts.mean() < 2


def test_a_chain_of_blocks_is_exported_as_its_model_is():
    model, x = create()
    net = convert(model, "extended")
    alone = convert(list(model.blocks), "extended")
    assert (net.num_steps, net.period(5), net.input.encoding.steps) == (5, 5, 5)
    assert alone.layers == net.layers
    assert (alone.num_steps, alone.input.encoding.steps) == (5, 0)
    np.testing.assert_array_equal(net.encode(x), x.int())


def test_the_single_threshold_form_mixes_frames_per_window():
    model, x = create(5, 2)
    single = to_single_threshold(model)
    assert (single.num_steps, single.out_steps, mixes(single)[0].omega.shape) == (5, 4, (4, 10))
    expected = torch.kron(mixes(model)[0].omega, torch.full((2, 2), 0.5))
    assert torch.equal(mixes(single)[0].omega, expected)
    net = convert(model, "extended", single_threshold=True)
    assert (net.num_steps, net.period(10), net.input.encoding.steps) == (10, 10, 10)
    assert simulate(net, net.encode(x)).readout.shape == (24, 3, 4)
    assert agreement(model, net, x).same_class == 1


def test_blocks_of_ones_own_know_their_steps():
    neuron = {"levels": 2, "num_steps": 2, "num_frames": 6}
    later = {"levels": 2, "num_steps": 2}
    blocks = [
        block.Input(),
        block.Dense(neuron_params=neuron, in_neurons=4, out_neurons=5, neuron=MultiThresholdLIF),
        block.Dense(neuron_params=later, in_neurons=5, out_neurons=5, neuron=MultiThresholdLIF),
        block.Readout(None, 5, 3),
    ]
    model = SpikingNetwork(blocks, in_shape=(4,), num_steps=6)
    assert (model.num_steps, model.out_steps, model.blocks[-1].num_steps) == (6, 2, 2)
    assert "num_steps=2, num_frames=6" in repr(model)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TemporalMix(2, num_frames=0), OptionError, "num_frames=0 is not allowed; use 1 or more"),
        (
            lambda: TemporalMix(2, "causal", num_frames=4),
            OptionError,
            "num_frames=4 with num_steps=2 needs mode='full', not 'causal'",
        ),
        (
            lambda: TemporalMix(2, num_frames=4)(torch.ones(1, 2, 2)),
            ShapeError,
            r"input of 2 steps does not fit; use 4 \(num_frames\)",
        ),
        (lambda: MultiThresholdLIF(num_frames=4), OptionError, "num_frames=4 is of a mixing; give num_steps"),
        (lambda: Method(mix_frames=4), OptionError, "mix_frames=4 with neuron='lif' is not allowed"),
        (lambda: replace(METHODS["lmht"], mix_frames=0), OptionError, "mix_frames=0 with neuron="),
    ],
)
def test_bad_parameters_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_hybrid_is_not_told_to_mix_frames():
    with pytest.raises(
        OptionError, match="recipe: method_options='mix_frames' is unknown; use one of 'levels'"
    ):
        load_recipe("digits-hybrid").replace(["method_options.mix_frames=4"])


def moving_bars(number, frames=10, seed=0):
    """Bars that move up or down, left or right: no frame alone tells which, 4 classes."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros((number, 2, 8, 8, frames), np.float32), np.arange(number) % 4
    for sample, label in zip(x, y, strict=True):
        start, way = rng.integers(0, 8), 1 if label % 2 else -1
        for t in range(frames):
            at = (start + way * t // 2) % 8
            bar = (0, at) if label < 2 else (0, slice(None), at)
            sample[(*bar, ..., t)] = 1
    return torch.from_numpy(x), torch.from_numpy(y)


def test_what_is_trained_on_frames_keeps_its_classes_in_integers():
    train, test = moving_bars(128), moving_bars(64, seed=1)
    training.seed_everything(0)
    model = models.create(
        "cnn",
        num_classes=4,
        in_shape=(2, 8, 8),
        num_steps=2,
        method="lmht",
        channels=(6, 6),
        hidden=32,
        method_options={"mix_frames": 10, "neuron_params": {"levels": 2, "threshold": 0.5}},
    )
    before = mixes(model)[0].omega.detach().clone()
    adamw = training.optimizer("adamw", lr=0.01)
    history = training.fit(model, train, test, epochs=8, batch_size=16, optimizer=adamw)
    assert history[-1].test_accuracy > 0.75
    assert (mixes(model)[0].omega - before).abs().max() > 0.002
    found = agreement(model, convert(model, "extended"), test[0], test[1].numpy())
    assert found.integer_accuracy > found.float_accuracy - 0.02
    training.finetune(model, train, test, epochs=1)
    assert agreement(model, convert(model, "extended"), test[0]).same_class == 1


def test_a_recipe_takes_as_many_frames_as_it_mixes():
    recipe = load_recipe("digits-events-lmht-frames").replace(["width=0.1", "test_fraction=0.9"])
    assert (recipe.frames, recipe.num_steps) == (10, 2)
    assert load_data(recipe).train[0][0].shape[-1] == 10
    model = build_model(recipe, input_shape(recipe), 10)
    assert (model.num_steps, model.out_steps) == (10, 2)
