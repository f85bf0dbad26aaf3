"""Every recipe's samples, as they are loaded, are what its network takes; counts up to the device's width."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from support.cli import command

from lava_bsnn import data
from lava_bsnn.data import loading
from lava_bsnn.data.sources import ArraySource
from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import OptionError, ShapeError
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.recipe_files import recipe_names
from lava_bsnn.training.run import build_model, evaluate_run, load_run, train
from lava_bsnn.training.run_data import input_encoding, input_shape, load_data
from netx_export import agreement, convert

EVENT = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "<i1")])


class Recordings:
    """Recordings with random events, and a pixel that sends thousands."""

    in_memory, scale = True, 1

    def __init__(self, polarities, height, width):
        self.limits = {"x": width, "y": height, "p": polarities}
        self.labels = np.arange(40) % 10

    def __len__(self):
        return len(self.labels)

    def where(self, index):
        return ""

    def read(self, index):
        rng = np.random.default_rng(index)
        events = np.zeros(6000, EVENT)
        events["t"] = np.arange(6000) * 50
        for name, most in self.limits.items():
            events[name][:3000] = rng.integers(0, most, 3000)
        return rng.permutation(events)


def stand_in(monkeypatch, info):
    """Let a data set consist of a few random samples in its real shape."""
    channels, height, width = info.shape
    if info.kind == "events":
        source = Recordings(channels, height, width)
    else:
        images = np.random.default_rng(0).integers(0, 256, (40, channels, height, width), dtype=np.uint8)
        images[0], images[1] = 0, 255
        source = ArraySource(images, np.arange(40) % 10)
    monkeypatch.setattr(loading, "locate", lambda name, root: None)
    fake = dataclasses.replace(info, loader=lambda info, place: (source, source))
    monkeypatch.setitem(data.DATASETS, info.name, fake)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipes_network_takes_the_samples_of_its_data_set(name, monkeypatch):
    recipe = load_recipe(name).replace(["cache=null", "width=0.02"])
    info, encoding = data.DATASETS[recipe.dataset], input_encoding(recipe)
    stand_in(monkeypatch, info)
    splits = load_data(recipe)
    model = build_model(recipe, input_shape(recipe), info.num_classes)
    assert model.encoding == encoding
    assert encoding.event_driven == (info.kind == "events")
    assert encoding.signed == recipe.normalize and (encoding.kind == "counts") == recipe.counts
    saturated = 0
    for split in (splits.train, splits.test):
        batch = torch.stack([split[index][0] for index in range(3)])
        assert batch.dtype == torch.float32 and batch.shape[1:4] == input_shape(recipe)
        levels, above = encoding.messages(batch)
        saturated += above
        assert torch.equal(levels, levels.round())
        assert encoding.low <= levels.min() and levels.max() <= encoding.high
        assert len(levels.unique()) > 3 or encoding == Encoding()
        if info.kind == "static":
            batch = batch[..., None]
        assert torch.equal(model.blocks[0](batch).reshape(levels.shape), levels)
    assert model.blocks[0].refused == ""
    assert (saturated > 0) == recipe.saturate


def test_pixels_that_cutout_removes_are_near_the_mean(monkeypatch):
    recipe = load_recipe("cifar10-resnet19-agmm").replace(["augment=[cutout]"])
    info, encoding = data.DATASETS["cifar10"], input_encoding(recipe)
    stand_in(monkeypatch, info)
    levels, _ = encoding.messages(load_data(recipe).train[0][0][None])
    assert (levels[0] == 0).all(0).sum() >= 64  # a quarter of the square at least


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("digits-agmm", [], Encoding(kind="intensities", bits=4)),
        ("digits-agmm", ["input_bits=null"], Encoding(kind="intensities", bits=8)),
        ("digits-events-agmm", [], Encoding()),
        ("digits-events-agmm", ["input_bits=0"], Encoding()),
        ("digits-events-agmm", ["input_bits=3"], Encoding(kind="intensities", bits=3)),
        ("digits-events-agmm", ["counts=true"], Encoding(kind="counts", bits=8)),
        ("cifar10dvs-resnet18-lmht", [], Encoding(kind="counts", bits=8, saturate=True)),
        ("fashion-agmm", ["normalize=false", "input_bits=2"], Encoding(kind="intensities", bits=2)),
    ],
)
def test_the_encoding_follows_from_the_recipe(name, changes, expected):
    assert input_encoding(load_recipe(name).replace(changes)) == expected


def test_normalisation_is_part_of_the_network():
    recipe = load_recipe("cifar10-resnet19-agmm")
    encoding, info = input_encoding(recipe), data.DATASETS["cifar10"]
    assert encoding == Encoding.images(info.mean, info.std) and encoding.gain == 59
    assert input_encoding(recipe.replace(["input_bits=4"])).high == 7


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "digits-agmm",
            "input_bits=0",
            "digits: bits=0 gives real-valued images, which no device takes; use 1..8",
        ),
        ("digits-agmm", "counts=true", "digits: counts=True is for event sets, not for images"),
        ("digits-agmm", "saturate=true", "digits: saturate=True is for counts=True only"),
        ("digits-events-agmm", "saturate=true", "digits-events: saturate=True is for counts=True only"),
        ("digits-events-agmm", "normalize=true", "digits-events: normalize=True needs a mean per channel"),
        ("digits-events-agmm", "counts=true input_bits=0", "bits=0 gives counts without limit"),
        ("cifar10-resnet19-agmm", "input_bits=2", "cifar10: bits=2 cannot hold normalised images; use 3..8"),
        ("cifar10-resnet19-agmm", "input_bits=0", "cifar10: bits=0 gives real-valued images.*use 3..8"),
        ("digits-agmm", "input_bits=9", "input_bits=9 is not allowed; use 0..8"),
    ],
)
def test_what_no_device_takes_is_named(name, changes, message):
    with pytest.raises(OptionError, match=message) as error:
        input_encoding(load_recipe(name).replace(changes.split()))
    assert "\n" not in str(error.value)


FEW = ["counts=true", "test_fraction=0.95", "num_steps=3", "width=0.25", "epochs=1"]
"""Of digits-events: some 90 recordings to train on, with up to some 20 events in a pixel and step."""


def test_counts_train_export_and_evaluate(tmp_path):
    recipe = load_recipe("digits-events-agmm").replace(FEW)
    result = train(recipe, tmp_path)
    assert result.saturated == 0
    assert evaluate_run(tmp_path).test_accuracy == result.test_accuracy
    _, model = load_run(tmp_path)
    assert model.encoding == Encoding(kind="counts", bits=8)
    assert model.classes == data.DATASETS["digits-events"].classes == tuple("0123456789")
    test = load_data(recipe).test
    pairs = [test[index] for index in range(60)]
    inputs = torch.stack([x for x, _ in pairs]).numpy()
    assert inputs.max() > 3
    net = convert(model, "extended")
    assert net.input.coded.kind == "counts" and net.input.max_value == 255
    np.testing.assert_array_equal(net.encode(inputs, 3), inputs)
    agreed = agreement(model, net, inputs, [label for _, label in pairs])
    assert agreed.same_class >= 0.95 and agreed.saturated_inputs == 0


def test_counts_beyond_their_bits_are_refused_or_reported(tmp_path):
    recipe = load_recipe("digits-events-agmm").replace([*FEW, "input_bits=2"])
    with pytest.raises(ShapeError, match=r"Input: values in 0\..\d+ are no counts of 2 bits.*saturate=True"):
        train(recipe, tmp_path / "refused")
    recipe = recipe.replace(["saturate=true"])
    result = train(recipe, tmp_path / "reported")
    splits = load_data(recipe)
    counts = np.concatenate([splits.train[i][0].numpy().ravel() for i in range(len(splits.train))])
    assert result.saturated == pytest.approx((counts > 3).mean(), rel=1e-9)
    _, model = load_run(tmp_path / "reported")
    net = convert(model, "extended")
    inputs = torch.stack([splits.test[index][0] for index in range(30)]).numpy()
    with pytest.warns(UserWarning, match=r"of \S+ counts were above 3 and became that"):
        x = net.encode(inputs, 3)
    np.testing.assert_array_equal(x, inputs.clip(0, 3))
    agreed = agreement(model, net, inputs)
    assert agreed.saturated_inputs == pytest.approx((inputs > 3).mean())
    assert any("above the largest message" in text for text in agreed.warnings)


def test_a_command_reports_saturated_counts(tmp_path):
    settings = (*FEW, "input_bits=2", "saturate=true")
    done = command("train", "digits-events-agmm", "--set", *settings, "--out", tmp_path, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert 0.1 < json.loads(done.stdout)["saturated"] < 0.3
    assert "above the largest" in done.stderr
