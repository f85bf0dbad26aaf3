from __future__ import annotations

import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.modulation import AGMM

SMALL = dict(num_classes=7, num_steps=2)
CASES = {
    "resnet18": dict(in_shape=(3, 16, 16), width=0.125),
    "resnet19": dict(in_shape=(3, 16, 16), width=0.125),
    "resnet20": dict(in_shape=(3, 16, 16), width=0.5),
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
