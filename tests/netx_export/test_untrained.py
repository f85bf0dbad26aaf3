"""Models that export refuses for what they are: batch norm without data, half precision, real numbers."""

from __future__ import annotations

import warnings

import pytest
import torch

from lava_bsnn import block, models
from lava_bsnn.errors import ExportError
from lava_bsnn.norm import BatchNorm
from netx_export import convert

PARAMS = {"threshold": 1.0, "voltage_decay": 0.5}
NEVER = "its batch norm never saw data; train the model, or run some batches through it in training mode"

LAYERS = ["residual", "dense", "readout3"]


def network(*, first=(), name="residual"):
    torch.manual_seed(0)
    residual = block.Residual(
        [block.Conv(PARAMS, 2, 4, 3, padding=1, name="inner")],
        [block.Conv(None, 2, 4, 1, name="shortcut")],
        name=name,
    )
    blocks = [*first, residual, block.Flatten(), block.Dense(PARAMS, 64, 4, name="dense")]
    return models.SpikingNetwork([*blocks, block.Readout(None, 4, 2)], in_shape=(2, 4, 4), num_steps=3)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_that_never_ran_is_refused_in_every_block(training):
    with pytest.raises(ExportError) as error:
        convert(network().train(training), "extended")
    assert str(error.value) == "; ".join(f"{name}: {NEVER}" for name in ("inner", "shortcut", "dense"))


@pytest.mark.parametrize("name", ["inner", "shortcut", "dense"])
def test_one_batch_norm_without_data_is_enough(settle, name):
    model = settle(network())
    convert(model, "extended")
    (norm,) = (m.norm for m in model.modules() if getattr(m, "label", "") == name)
    norm.reset_running_stats()
    with pytest.raises(ExportError, match=f"^{name}: {NEVER}$"):
        convert(model, "extended")


def test_one_batch_is_enough(settle):
    net = convert(settle(network(), batches=1), "extended")
    assert [layer.name for layer in net.layers] == LAYERS


def test_statistics_that_were_loaded_or_set_count_as_data():
    model = network().eval()
    for norm in (m for m in model.modules() if isinstance(m, BatchNorm)):
        norm.running_var.mul_(2)
    assert [layer.name for layer in convert(model, "extended").layers] == LAYERS


def test_a_model_without_batch_norm_needs_no_data():
    blocks = [block.Dense(PARAMS, 8, 4, norm=None), block.Readout(None, 4, 2)]
    net = convert(models.SpikingNetwork(blocks, in_shape=(8,), num_steps=3))
    assert net.layers[0].shape == (4,) and net.layers[0].connections[0].synapse.weight.any()


@pytest.mark.parametrize("profile", ["stock", "extended"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(settle, kind, profile):
    blocks = [block.Dense(PARAMS, 8, 4, name="dense"), block.Readout(None, 4, 2, name="readout")]
    model = settle(models.SpikingNetwork(blocks, in_shape=(8,), num_steps=3))
    expected = convert(model, profile)
    name = str(kind).removeprefix("torch.")
    why = rf"{name} parameters cannot be exported, training in them computes otherwise; use model.float\(\)"
    with pytest.raises(ExportError, match=f"^dense: {why}; readout: {why}$"):
        convert(model.to(kind), profile)
    back = convert(model.float(), profile)
    assert [layer.name for layer in back.layers] == [layer.name for layer in expected.layers]


@pytest.mark.parametrize("inner", [True, False])
def test_half_precision_in_one_block_is_named(settle, inner):
    model = settle(network())
    residual = model.blocks[0]
    (residual.blocks[0] if inner else residual.shortcut[0]).to(torch.bfloat16)
    with pytest.raises(ExportError, match=f"^{'inner' if inner else 'shortcut'}: bfloat16 parameters"):
        convert(model, "extended")


def test_double_precision_is_exported(settle):
    blocks = [block.Dense(PARAMS, 8, 4), block.Readout(None, 4, 2)]
    model = settle(models.SpikingNetwork(blocks, in_shape=(8,), num_steps=3))
    expected = convert(model, "extended")
    assert convert(model.double(), "extended").layers[0] == expected.layers[0]


def test_real_numbers_where_spikes_are_meant_are_remembered(settle):
    """The model was trained with them: the network would be another one."""
    model = settle(network(first=[block.Input(name="entry")]))
    convert(model, "extended")
    with pytest.warns(UserWarning, match="entry: values in .* are no spikes .* export will be refused"):
        model(torch.rand(4, 2, 4, 4))
    with pytest.raises(
        ExportError, match=r"entry: values in 0\..* are no spikes .*\(bits=None trains without"
    ):
        convert(model, "extended")


def test_an_input_of_real_numbers_is_refused(settle):
    model = network(first=[block.Input(bits=None, name="entry")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settle(model)
    message = r"^entry: real numbers cannot enter a device; use bits=1\.\.8 or an encoding$"
    with pytest.raises(ExportError, match=message):
        convert(model, "extended")
