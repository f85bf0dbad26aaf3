from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.modulation import AGMM

SIZES = Path(__file__).parents[2] / "docs" / "sizes.md"
SMALL = dict(num_classes=7, num_steps=2)
CASES = {
    "resnet18": dict(in_shape=(3, 16, 16), width=0.125),
    "resnet19": dict(in_shape=(3, 16, 16), width=0.125),
    "resnet20": dict(in_shape=(3, 16, 16), width=0.5),
    "resnet34": dict(in_shape=(3, 16, 16), width=0.125),
    "vgg13": dict(in_shape=(3, 32, 32), width=0.125),
    "vgg16": dict(in_shape=(3, 32, 32), width=0.125),
    "vggsnn": dict(in_shape=(2, 48, 48), width=0.125),
    "cnn": dict(in_shape=(1, 8, 8)),
    "mlp": dict(in_shape=(5,)),
    "recurrent": dict(in_shape=(5,)),
}


@pytest.mark.parametrize("method", models.METHODS)
@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_maps_input_to_logits_per_step_and_trains(name, method):
    options = {**SMALL, **CASES[name]}
    if name == "recurrent" and method in ("lmht", "qcfs"):
        with pytest.raises(OptionError, match="neuron=.* is not allowed; use neuron_params of a LIF"):
            models.create(name, method=method, input_bits=None, **options)
        return
    model = models.create(name, method=method, input_bits=None, **options)
    static = torch.randn(8, *options["in_shape"])
    logits = model(static)
    assert logits.shape == (8, 7, 2)
    logits.square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), parameter_name
    weights = [m.synapse.weight for m in model.modules() if isinstance(m, block.SpikingBlock) and m.norm]
    assert all(weight.grad.abs().sum() > 0 for weight in weights)
    in_time = (torch.rand(2, *options["in_shape"], 2) < 0.5).float()
    assert model(in_time).shape == (2, 7, 2)


def test_a_model_tells_what_it_takes():
    options = dict(num_classes=7, num_steps=2, in_shape=(2, 8, 8))
    assert models.create("cnn", **options).encoding == Encoding()
    assert models.create("cnn", input_bits=None, **options).encoding is None
    assert models.create("cnn", input_bits=3, **options).encoding == Encoding(kind="intensities", bits=3)
    counts = Encoding(kind="counts", bits=5)
    assert models.create("cnn", input_bits=3, encoding=counts, **options).encoding == counts
    chain = [block.Flatten(), block.Readout(None, 128, 7)]
    assert models.SpikingNetwork(chain, in_shape=(2, 8, 8), num_steps=2).encoding == Encoding()


def parameters(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_resnet19_has_the_size_of_agmm_table_2():
    model = models.create("resnet19", num_classes=100, in_shape=(3, 32, 32), num_steps=2, method="fp")
    assert round(parameters(model) * 4 / 1e6, 2) == 50.46


PLAN = [64, 64, "P", 128, 128, "P", 256, 256, "P", 512, 512, 512, "P", 512]


def residual_count(stem, stages, classes, *, kernel=3, head=()):
    """Parameters of a ResNet, from its table: weights, two numbers per feature and norm, biases."""
    count, inputs = 3 * stem * kernel**2 + 2 * stem, stem
    for number, (features, blocks) in enumerate(stages):
        for index in range(blocks):
            count += 9 * features * (inputs + features) + 4 * features
            if (number and not index) or inputs != features:
                count += inputs * features + 2 * features
            inputs = features
    return count + dense_count([inputs, *head, classes])


def dense_count(sizes):
    return sum((before + 1) * behind for before, behind in pairwise(sizes))


def chain_count(plan, classes, *, channels=3, head=(), pixels=1):
    count, inputs = 0, channels
    for features in (step for step in plan if step != "P"):
        count, inputs = count + 9 * inputs * features + 2 * features, features
    return count + dense_count([pixels * inputs, *head, classes])


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        # torchvision's documentation prints 21,797,672 and 11,689,512
        ("resnet34", dict(num_classes=1000, imagenet_stem=True, in_shape=(3, 64, 64)), 21_797_672),
        ("resnet18", dict(num_classes=1000, imagenet_stem=True, in_shape=(3, 64, 64)), 11_689_512),
        (
            "resnet19",
            dict(num_classes=100, stem=64, head=[256]),
            residual_count(64, ((128, 3), (256, 3), (512, 2)), 100, head=[256]),
        ),
        ("vgg13", dict(num_classes=200, plan=PLAN), chain_count(PLAN, 200)),
        (
            "vgg16",
            dict(num_classes=100, head=[4096, 4096]),
            chain_count(models.vgg.VGG16, 100, head=[4096, 4096]),
        ),
        (
            "vggsnn",
            dict(num_classes=10, pool="stride", in_shape=(2, 48, 48)),
            chain_count(models.vgg.VGGSNN, 10, channels=2, pixels=9),
        ),
    ],
)
def test_architectures_of_the_programs_have_their_numbers_of_parameters(name, options, count):
    options = {"in_shape": (3, 32, 32), **options}
    assert parameters(models.create(name, num_steps=2, method="fp", **options)) == count
    assert f"{count:,}" in SIZES.read_text() or name == "vggsnn"


def test_tables_of_parameters_count_as_torchvision_does():
    assert residual_count(64, ((64, 3), (128, 4), (256, 6), (512, 3)), 1000, kernel=7) == 21_797_672
    vgg16_bn = chain_count(models.vgg.VGG16, 1000, head=[4096, 4096], pixels=49)
    biases = sum(step for step in models.vgg.VGG16 if step != "P")
    assert vgg16_bn + biases == 138_365_992  # as torchvision's documentation prints


def test_a_plan_says_where_a_vgg_pools():
    options = {**SMALL, "in_shape": (3, 16, 16), "global_pool": False}
    plan = [4, 6, "P", 8, "P"]
    pooled, strided = (
        models.create("vgg13", plan=plan, pool=pool, **options) for pool in ("average", "stride")
    )
    for model, kinds in ((pooled, "CCPCP"), (strided, "CCC")):
        body = model.blocks[1:-2]
        assert "".join(type(one).__name__[0] for one in body) == kinds
        assert model.blocks[-1].synapse.weight.shape[1] == 8 * 4 * 4
    assert [one.synapse.stride[:2] for one in strided.blocks[1:-2]] == [(1, 1), (2, 2), (2, 2)]


def test_a_head_has_biases_and_no_batch_norm():
    model = models.create("vgg13", method="lmht", head=[40], in_shape=(3, 16, 16), width=0.1, **SMALL).train()
    head = model.blocks[-2]
    assert dict(head.norm.named_parameters()).keys() == {"bias"}
    torch.nn.init.normal_(head.norm.bias)
    x = torch.randn(3, 51, 2)
    expected = torch.einsum("oi,nit->not", head.synapse.weight.flatten(1), x) + head.norm.bias[:, None]
    for training in (True, False):
        torch.testing.assert_close(head.train(training).current(x), expected)
    head.current(x).sum().backward()
    assert torch.equal(head.norm.bias.grad, torch.full((4,), 6.0))


def test_a_bias_in_front_of_neurons_is_the_same_in_kernels_and_in_torch():
    layer = block.Conv({"threshold": 1.0}, 3, 16, 3, padding=1, norm="bias", binarize=None)
    torch.nn.init.normal_(layer.norm.bias)
    layer.build((3, 32, 32))
    x = torch.randn(8, 3, 32, 32, 4)
    whole = layer(x)
    layer.norm.register_forward_hook(lambda *_: None)  # kernels leave a layer with hooks to torch
    assert torch.equal(whole, layer(x)) and 0 < whole.mean() < 1


def test_agmm_adds_a_factor_per_layer_and_step():
    options = dict(num_classes=100, in_shape=(3, 32, 32), num_steps=4)
    plain, gated = (models.create("resnet19", method=m, **options) for m in ("binary", "agmm"))
    gates = [module for module in gated.modules() if isinstance(module, AGMM)]
    assert len(gates) == 17  # the stem and 16 convolutions
    assert parameters(gated) - parameters(plain) == 17 * 4


def test_first_and_last_layer_keep_their_bits():
    binary = models.create("resnet20", method="binary", in_shape=(3, 8, 8), **SMALL)
    qsnn = models.create("resnet20", method="qsnn", in_shape=(3, 8, 8), **SMALL)
    for model, bits in ((binary, None), (qsnn, 8)):
        layers = [module for module in model.modules() if isinstance(module, (block.Conv, block.Readout))]
        for layer in (layers[0], layers[-1]):
            hook = layer.synapse.pre_hook_fx
            assert (hook.bits if hook else None) == bits
        hidden = [layer for layer in layers[1:-1] if layer.synapse.kernel_size[0] == 3]
        assert {layer.synapse.pre_hook_fx.bits for layer in hidden} == {1}


def test_double_skips_are_one_synapse_long_and_classic_ones_two():
    for skip, length, count in (("double", 1, 18), ("classic", 2, 9)):
        model = models.create("resnet20", in_shape=(3, 8, 8), skip=skip, **SMALL)
        residuals = [module for module in model.blocks if isinstance(module, block.Residual)]
        assert [len(r.blocks) for r in residuals] == [length] * count


def test_an_identity_skip_adds_one_threshold_per_spike():
    params = {"threshold": 1.0, "voltage_decay": 1.0}
    inner = block.Conv(params, 2, 2, 3, padding=1)
    torch.nn.init.zeros_(inner.norm.weight)
    residual = block.Residual([inner]).eval()
    residual.build((2, 4, 4))
    x = (torch.rand(3, 2, 4, 4, 5) < 0.3).float()
    assert torch.equal(residual(x), x)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: models.create("resnet50", in_shape=(3, 8, 8), **SMALL),
            OptionError,
            "'resnet18', 'resnet19'",
        ),
        (
            lambda: models.create("cnn", in_shape=(1, 8, 8), method="xnor", **SMALL),
            OptionError,
            "method='xnor' is unknown; use one of 'fp', 'binary', 'agmm', 'qsnn', 'qsnn-authors', 'lmht', ",
        ),
        (lambda: models.create("cnn", in_shape=(1, 8, 8), depth=3, **SMALL), OptionError, "depth"),
        (
            lambda: models.create("cnn", in_shape=(1, 8, 8), method_options={"bits": 3}, **SMALL),
            OptionError,
            "bits",
        ),
        (
            lambda: models.create("resnet20", in_shape=(3, 8, 8), skip="triple", **SMALL),
            OptionError,
            "skip='triple' is unknown; use one of 'double', 'classic'",
        ),
        (
            lambda: models.create("vgg13", in_shape=(3, 8, 8), plan=["P", 3], **SMALL),
            OptionError,
            r"vgg: plan=\['P', 3\] is not allowed; use numbers of features",
        ),
        (
            lambda: models.create("vgg13", in_shape=(3, 16, 16), head=256, **SMALL),
            OptionError,
            r"models.create\('vgg13'\): head=256 is not allowed; use a list of whole numbers, 1 or more",
        ),
        (
            lambda: models.create("resnet18", in_shape=(3, 16, 16), stem=0, **SMALL),
            OptionError,
            r"resnet: stem=0 is not allowed; use a whole number, 1 or more",
        ),
        (
            lambda: models.create("vgg13", in_shape=(3, 8, 8), pool="max", **SMALL),
            OptionError,
            "pool='max' is unknown; use one of 'average', 'stride'",
        ),
        (lambda: models.create("vgg16", in_shape=(3, 8, 8), **SMALL), ShapeError, "smaller than the kernel"),
        (
            lambda: block.Residual([block.Conv(None, 2, 2, 3)]),
            OptionError,
            "the last block needs a neuron",
        ),
        (
            lambda: block.Residual([block.Conv({}, 2, 2, 3, count_log=True, name="c")]),
            OptionError,
            "c: count_log is not supported inside a Residual",
        ),
        (
            lambda: block.Residual([block.Conv({}, 2, 4, 3, padding=1)], name="r").build((2, 8, 8)),
            ShapeError,
            r"r: blocks give shape \(4, 8, 8\), the shortcut \(2, 8, 8\)",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
