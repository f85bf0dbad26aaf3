"""Summary of a model: figures against counts by hand, words of profiles against those of export."""

from __future__ import annotations

import json

import pytest
import torch
from support.cli import command

import netx_export
from lava_bsnn import analysis, block, models
from lava_bsnn.analysis import training_memory
from lava_bsnn.analysis.summaries import prefixed
from lava_bsnn.errors import ExportError, OptionError, ShapeError
from lava_bsnn.training import schedule

OPTIONS = {"num_classes": 3, "in_shape": (2, 5, 5), "num_steps": 3}


def products(out_channels, in_channels, size, kernel, padding):
    """Products of a convolution of stride 1, those with padding left out, one by one."""
    count = 0
    for y in range(size):
        for x in range(size):
            for i in range(kernel):
                for j in range(kernel):
                    inside = 0 <= y + i - padding < size and 0 <= x + j - padding < size
                    count += inside * in_channels * out_channels
    return count


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    return models.create("cnn", **OPTIONS, channels=(4,), hidden=6, method="binary")


def test_figures_of_layers_are_those_counted_by_hand(cnn):
    found = analysis.summary(cnn, rate=0.25, batch_size=7)
    conv, dense, readout = found.layers
    assert [layer.name for layer in found.layers] == ["conv1", "dense3", "readout4"]
    assert conv.shape == (4, 5, 5) and dense.shape == (6,) and readout.shape == (3,)
    assert [layer.neurons for layer in found.layers] == [100, 6, 0]
    assert conv.macs == products(4, 2, 5, 3, 1)
    assert conv.sops == 0.25 * 3 * conv.macs  # events enter: three steps
    assert dense.macs == 6 * 100 and readout.macs == 3 * 6
    assert readout.is_mac and readout.sops == 0 and found.macs == 3 * 18
    assert found.sops == conv.sops + dense.sops
    assert conv.parameters == 4 * 2 * 9 + 2 * 4  # weights, gain and offset of norm
    assert readout.parameters == 3 * 6 + 3
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert found.parameters == sum(p.numel() for p in cnn.parameters() if p.requires_grad)
    assert [layer.weight_bits for layer in found.layers] == [32, 1, 32]
    assert found.size == analysis.model_size(cnn) and not found.trained


def test_memory_grows_by_the_same_amount_per_sample_and_with_the_optimizer(cnn):
    at = {n: analysis.summary(cnn, batch_size=n, profiles=()).memory for n in (1, 2, 10)}
    assert at[10] - at[2] == pytest.approx(8 * (at[2] - at[1]), abs=10) and at[2] > at[1]
    sgd = analysis.summary(cnn, batch_size=1, profiles=(), optimizer="sgd").memory
    assert at[1] - sgd == 4 * sum(p.numel() for p in cnn.parameters() if p.requires_grad)


def test_profiles_say_what_export_says():
    torch.manual_seed(0)
    model = models.create("resnet20", **{**OPTIONS, "in_shape": (2, 8, 8)}, width=0.25, method="qsnn")
    model.train()
    for _ in range(3):
        model(torch.bernoulli(torch.full((4, 2, 8, 8, 3), 0.3)))
    found = {one.profile: one for one in analysis.summary(model).profiles}
    assert list(found) == list(netx_export.targets.TARGETS)[: len(found)]
    for profile, one in found.items():
        try:
            netx_export.convert(model.eval(), profile)
            expected = ()
        except ExportError as error:
            expected = error.problems
        assert one.problems == expected
    assert len(found["stock"].problems) > 9 and found["extended"].problems == ()


def test_lines_join_layers_with_the_same_problem():
    torch.manual_seed(0)
    model = models.create("resnet20", **{**OPTIONS, "in_shape": (2, 8, 8)}, width=0.25, method="binary")
    lines = analysis.summary(model, profiles=("stock",)).lines()
    refused = next(line for line in lines if "skip connections" in line)
    assert refused.startswith("  stage1.0.a, stage1.0.b, stage1.1.a and 15 more: ")
    assert sum("skip connections" in line for line in lines) == 1
    skips = [block.Residual([block.Conv({"threshold": 1.0}, 2, 2, 3, padding=1)]) for _ in range(2)]
    layers = [block.Input(), *skips, block.Flatten(), block.Readout(None, 128, 3)]
    model = models.SpikingNetwork(layers, in_shape=(2, 8, 8), num_steps=2)
    lines = analysis.summary(model, profiles=("stock",)).lines()
    assert any(line.startswith("  Residual (2 of them): skip connections") for line in lines)


def test_gates_are_noted_where_the_target_has_none():
    model = models.create("cnn", **OPTIONS, channels=(4,), hidden=6, method="agmm")
    stock, _, extended = analysis.summary(model, profiles=("stock", "loihi", "extended")).profiles
    assert "gates" in stock.notes[0] and not stock.problems
    assert extended.notes == ()


def test_the_model_is_left_as_it_was(cnn):
    before = {name: value.clone() for name, value in cnn.state_dict().items()}
    mode = cnn.training
    analysis.summary(cnn)
    assert cnn.training == mode and all(torch.equal(v, before[k]) for k, v in cnn.state_dict().items())
    assert all(not module._forward_hooks for module in cnn.modules())


def test_what_is_not_allowed_is_refused(cnn):
    for options in ({"rate": 1.5}, {"batch_size": 0}, {"optimizer": "lion"}, {"profiles": ("chip",)}):
        with pytest.raises(OptionError, match=r"summary: \w+=.* use"):
            analysis.summary(cnn, **options)
    with pytest.raises(ShapeError, match="give in_shape"):
        analysis.summary(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_numbers_have_prefixes():
    assert [prefixed(v) for v in (0, 12, 999.4, 999.6, 1234, 2.1e9, 5e13)] == [
        "0",
        "12",
        "999",
        "1 k",
        "1.23 k",
        "2.1 G",
        "50 T",
    ]


def test_the_command_takes_recipes_and_runs(trained_run):
    done = command("summary", "digits-agmm", "--set", "width=0.25", "num_steps=2", "--json", "-")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert [layer["name"] for layer in figures["layers"]] == ["conv1", "conv2", "dense4", "readout5"]
    assert not figures["trained"] and figures["batch_size"] == 64 and figures["neurons"] > 100
    done = command("summary", trained_run, "--profiles", "extended", "--rate", 0.5, "--json", "-")
    assert done.returncode == 0, done.stderr
    of_run = json.loads(done.stdout)
    assert of_run["trained"] and [one["profile"] for one in of_run["profiles"]] == ["extended"]
    assert of_run["sops"] == pytest.approx(5 * figures["sops"])
    assert "profile extended: can be exported" in done.stderr
    refused = command("summary", trained_run, "--set", "width=2")
    assert refused.returncode == 2 and "leave it out" in refused.stderr


def test_memory_is_known_for_every_optimizer():
    assert set(training_memory.OPTIMIZERS) == set(schedule.OPTIMIZERS)
