"""Whole models with SLAYER's names: hooks and their integers, copies, conversion of scripts, names."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from lava.lib.dl import slayer

from lava_bsnn import analysis, block, device, models
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.synapse import Binarize, Quantize
from netx_export import convert


def scaled(w, descale=False):
    """A weight hook as SLAYER scripts have it: steps of 1/32, 6 bits."""
    whole = (w * 32).round().clamp(-31, 31)
    return whole if descale else whole / 32


@pytest.mark.parametrize(
    ("hook", "step"), [(scaled, 1 / 32), (slayer.neuron.cuba.Neuron(1, 1, 1).quantize_8bit, 1 / 32)]
)
def test_hooks_that_descale_export_their_integers(hook, step):
    torch.manual_seed(0)
    made = block.Dense({"threshold": 1.0}, 6, 4, pre_hook_fx=hook, norm=None, weight_scale=2, name="hooked")
    made.build((6,))
    folded = device.affine(made)
    assert folded.whole and np.allclose(folded.multiplier, step)
    weight = made.synapse.weight.detach()[..., 0, 0, 0]
    np.testing.assert_array_equal(folded.q, (weight / step).round().numpy())
    np.testing.assert_array_equal(folded.q * step, hook(weight).numpy())
    net = convert([made, block.Dense({"threshold": 1.0}, 4, 2, norm=None)], "stock")
    assert net.layers[0].name == "hooked"
    assert "weight_bits=8" in repr(made)


def test_hooks_without_integers_stay_what_they_are():
    def half(w):
        return w / 2

    assert block.Dense({"threshold": 1.0}, 3, 2, pre_hook_fx=half).synapse.pre_hook_fx is half
    own = Binarize()
    assert block.Dense({"threshold": 1.0}, 3, 2, pre_hook_fx=own).synapse.pre_hook_fx is own
    assert isinstance(block.Dense({"threshold": 1.0}, 3, 2, binarize=None).synapse.pre_hook_fx, Quantize)


def test_names_are_those_of_figures_files_and_errors():
    model = models.SpikingNetwork(
        [
            block.Input(),
            block.Conv({"threshold": 1.0}, 2, 4, 3, norm=None, name="edges"),
            block.Flatten(),
            block.Readout(None, 100, 3, name="classes"),
        ],
        in_shape=(2, 7, 7),
        num_steps=4,
    )
    assert list(analysis.activity(model, torch.ones(1, 2, 7, 7, 4))) == ["edges"]
    assert [layer.name for layer in convert(model.eval()).layers] == ["edges", "classes"]
    text = str(model)
    assert "name='edges', weight_bits=1" in text and "name='classes', weight_bits=8" in text
    with pytest.raises(ShapeError, match="^edges: input"):
        model.blocks[1](torch.ones(1, 3, 7, 7, 4))


MODELS = {
    "cnn": lambda: models.create(
        "cnn", num_classes=3, in_shape=(1, 8, 8), num_steps=3, width=0.2, input_bits=4
    ),
    "resnet18": lambda: models.create(
        "resnet18", num_classes=3, in_shape=(2, 8, 8), num_steps=3, width=0.05, method="lmht"
    ),
    "recurrent": lambda: models.SpikingNetwork(
        [block.Recurrent({"threshold": 1.0}, 6, 5, delay=True, weight_norm=True), block.Readout(None, 5, 2)],
        in_shape=(6,),
        num_steps=3,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_pickled_saved_and_copied_whole(name):
    model = MODELS[name]()
    x = torch.rand(4, *model.in_shape).round()
    model(x)  # batch norm sees something
    model.eval()
    expected = model(x)
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    for other in (
        pickle.loads(pickle.dumps(model)),
        torch.load(stream, weights_only=False),
        copy.deepcopy(model),
    ):
        assert torch.equal(other(x), expected)
        assert [layer.name for layer in convert(other, "extended").layers]


@pytest.mark.nightly
@pytest.mark.parametrize("name", MODELS)
def test_compiled_models_compute_the_same(name):
    model = MODELS[name]()
    x = torch.rand(4, *model.in_shape).round()
    model(x)
    compiled = torch.compile(model)
    with torch.no_grad():
        assert torch.equal(compiled.eval()(x), model.eval()(x))
    model.train()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours, theirs = (
        torch.autograd.grad(one(x).square().mean(), learned, allow_unused=True) for one in (model, compiled)
    )
    for one, other in zip(ours, theirs, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)
    assert convert(compiled.eval(), "extended") == convert(model.eval(), "extended")


def test_build_takes_a_network_as_slayers_scripts_have_it_and_says_what_it_does_not_take():
    params = {"threshold": 1.0, "voltage_decay": 0.3}
    net = torch.nn.Module()
    net.blocks = torch.nn.ModuleList([block.Flatten(), block.Dense(params, 8, 3)])
    assert block.build(net, (2, 2, 2)) == net.blocks[-1].shape == (3,)
    with pytest.raises(OptionError, match="build: Linear is not a row of blocks; use a Sequential"):
        block.build(torch.nn.Linear(2, 3), (2,))
    with pytest.raises(OptionError, match=r"build: input_shape=8 is not allowed; use \(C, H, W\) or \(C,\)"):
        block.build(net.blocks, 8)


def test_blocks_without_counterpart_are_told():
    with pytest.raises(AttributeError, match=r"lava_bsnn.block has no Affine; use block.Readout\(None,"):
        block.Affine({}, 3, 4)
    assert not hasattr(block, "ConvT") and not hasattr(block, "anything")


def per_channel(w, descale=False):
    """A weight hook with a step per output channel."""
    step = w.detach().abs().flatten(1).amax(1).clamp(min=1e-9).view(-1, *[1] * (w.dim() - 1)) / 31
    whole = (w / step).round()
    return whole if descale else whole * step


def test_hooks_with_a_step_per_channel_export_each_step():
    torch.manual_seed(0)
    made = block.Dense({"threshold": 1.0}, 6, 4, pre_hook_fx=per_channel, norm=None)
    with torch.no_grad():
        made.synapse.weight[0] *= 10
        made.synapse.weight[1] = 0
    made.build((6,))
    folded = device.affine(made)
    assert folded.whole
    weight = made.synapse.effective_weight().detach().flatten(1).numpy()
    np.testing.assert_allclose(folded.q * folded.multiplier[:, None], weight, rtol=1e-6)


@pytest.mark.parametrize("name", ["", "input", "output", "a/b", "a\0b", ".", "x" * 257, 3])
def test_names_that_files_cannot_hold_are_refused(name):
    with pytest.raises(OptionError, match="use a text of 1..256 characters"):
        block.Dense({"threshold": 1.0}, 3, 2, name=name)


def test_analysis_knows_weight_norm():
    torch.manual_seed(0)
    x, params = (torch.rand(4, 6, 5) < 0.5).float(), {"threshold": 1.0}
    sizes, statistics = [], []
    for normed in (False, True):
        made = models.SpikingNetwork(
            [block.Recurrent(params, 6, 9, weight_norm=normed), block.Readout(None, 9, 3)],
            in_shape=(6,),
            num_steps=5,
        )
        made(x).square().sum().backward()
        sizes.append(analysis.model_size(made))
        statistics.append(analysis.gradient_statistics(made, "all"))

        def loss(model):
            return model(x).square().mean()

        losses = analysis.loss_landscape(made.eval(), loss, points=3).losses
        assert len(np.unique(losses)) > 1 and losses[1, 1] == float(loss(made).detach())
    assert sizes[0] == sizes[1] == -(-((6 * 9 + 9 * 9) + 8 * 27 + 32 * (9 + 9 + 3)) // 8)
    assert all(one.variance > 0 for one in statistics[1].values())
