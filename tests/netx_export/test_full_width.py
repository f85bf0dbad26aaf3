"""The largest AGMM networks, from 8-bit pixels to file, simulator and cores; full width."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lava_bsnn import data, models, training
from lava_bsnn.norm import BatchNorm
from lava_bsnn.training.recipe import HYBRID, load_recipe
from lava_bsnn.training.recipe_files import recipe_names
from lava_bsnn.training.run import build_model
from lava_bsnn.training.run_data import input_encoding, input_shape
from netx_export import agreement, convert, place, read, report, simulate, write
from netx_export.lowering.observe import random_samples
from netx_export.reports import html, lines_of


def images(number, seed):
    """Random 8-bit pixels ``[N, 3, 32, 32]``: colours in fields of 1 to 32 pixels, any contrast."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        side = int(rng.choice([1, 2, 4, 8, 16, 32]))
        fields = np.kron(rng.normal(0, 1, (3, 32 // side, 32 // side)), np.ones((side, side)))
        made.append(rng.uniform(0, 255, (3, 1, 1)) + rng.uniform(10, 120) * fields)
    return np.stack(made).clip(0, 255).astype(np.uint8)


@pytest.mark.nightly
def test_resnet19_with_agmm_for_cifar_is_exact_alive_and_tells_classes_apart(tmp_path):
    training.seed_everything(0)
    info = data.DATASETS["cifar10"]
    encoding = info.encoding(normalize=True)
    model = models.create(
        "resnet19", num_classes=10, in_shape=info.shape, num_steps=2, method="agmm", encoding=encoding
    )
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        for seed in range(4):
            model(torch.from_numpy(images(32, seed)))
    training.match_device(model.eval())
    model.classes = info.classes
    net = convert(model, "extended")
    write(net, tmp_path / "resnet19.net")
    again = read(tmp_path / "resnet19.net")
    assert again == net and again.input.coded.signed and again.classes == info.classes
    test = images(100, 100)
    found = agreement(model, again, test)
    assert len(found.layers) == 17 and found.same_class == 1 and not found.warnings
    for layer in found.layers:
        assert layer.equal == 1 and 0.02 < layer.integer_rate < 0.6
    prediction = simulate(again, again.encode(test)).prediction
    assert len(np.unique(prediction)) >= 5


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "shape"), [(f"resnet{n}", (3, 32, 32)) for n in (18, 19, 20)] + [("vggsnn", (2, 48, 48))]
)
def test_full_width_networks_are_placed_as_the_documentation_says(name, shape):
    page = (Path(__file__).parents[2] / "docs/placement.md").read_text()
    title = {"vggsnn": "VGGSNN"}.get(name, name.replace("resnet", "ResNet-"))
    row = next(
        line
        for line in page.splitlines()
        if line.startswith(f"| {title}, AGMM, {' x '.join(map(str, shape))} ")
    )
    cores, chips, least = (int(cell) for cell in row.strip("| ").split("|")[2:])
    training.seed_everything(0)
    encoding = data.DATASETS["cifar10"].encoding(normalize=True) if shape[0] == 3 else None
    model = models.create(name, num_classes=10, in_shape=shape, num_steps=2, method="agmm", encoding=encoding)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
    events = (rng.random((4, *shape, 2)) < 0.2).astype(np.float32)
    with torch.no_grad():
        model(torch.from_numpy(pixels if encoding else events))
    training.match_device(model.eval())
    placement = place(convert(model, "extended"))
    assert placement.fits and (len(placement.cores), placement.chips) == (cores, chips)
    filled = [
        sum(core.utilisation[limit] for core in placement.cores) for limit in placement.cores[0].utilisation
    ]
    assert math.ceil(max(filled)) == least


@pytest.mark.nightly
@pytest.mark.parametrize("name", recipe_names())
def test_models_of_recipes_are_reported(name):
    recipe = load_recipe(name)
    if recipe.method in ("qcfs", HYBRID):
        pytest.skip("a network of activations, or one that starts from it")
    shape = input_shape(recipe)
    model = build_model(recipe, shape, data.DATASETS[recipe.dataset].num_classes)
    size = (4, *shape, recipe.num_steps)
    x = torch.from_numpy(random_samples(input_encoding(recipe), size).copy())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model.train()(x)
        net = convert(model.eval(), "extended", calibration=x)
        messages = net.encode(x[:1].numpy())
    found = report(net, messages, chip="loihi2", name=name)
    placement = found.placement
    assert placement.fits and sum(core.neurons for core in placement.cores) == net.summary().neurons
    assert found.cost.sops > 0 and len(found.cost.layers) == len(net.layers) + 1
    assert len(html(found)) < 1 << 21 and len(list(lines_of(found))) > 2
