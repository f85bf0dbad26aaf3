"""Dry runs: what recipes would build, and that its integers compute what the model does."""

from __future__ import annotations

import pytest

from lava_bsnn import analysis, data
from lava_bsnn.errors import LavaBsnnError
from lava_bsnn.training.dry_run import dry_run
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.recipe_files import recipe_names
from lava_bsnn.training.run import build_model
from lava_bsnn.training.run_data import input_shape

NARROW = {"cnn": 0.25}
"""Width of a quick dry run by model; else 0.1."""
SIDE = 16
"""Height and width of it, where the data's are larger."""


def kind_of(name):
    """What tells recipes apart that build different kinds of networks."""
    recipe = load_recipe(name)
    return recipe.model, data.DATASETS[recipe.dataset].kind, recipe.method, name.endswith("-authors")


ONE_OF_EACH = sorted({kind_of(name): name for name in reversed(recipe_names())}.values())


def quick(recipe):
    """The recipe with fewer features and pixels."""
    info = data.DATASETS[recipe.dataset]
    size = [f"size={SIDE}"] if info.kind in ("static", "events") and info.shape[-1] > SIDE else []
    return recipe.replace([f"width={NARROW.get(recipe.model, 0.1)}", *size])


def check(recipe, name):
    figures = dry_run(recipe, name)
    assert figures.in_shape[-1] == recipe.frames
    assert figures.parameters > 0 and figures.size_mb > 0 and figures.memory_mb > 0
    assert figures.sops_per_step > 0 or recipe.method == "qcfs"
    assert 0 < figures.loss < 50
    agreed = figures.agreement
    assert agreed.same_class == 1 and agreed.samples >= 2
    silent = [layer for layer in agreed.layers if not layer.integer_rate > 0]
    assert all(layer.equal == 1 for layer in agreed.layers), agreed.layers
    if "head" in recipe.model_options:  # without norm, initial weights may be too small to fire
        assert {layer.name.rstrip("0123456789") for layer in silent} <= {"dense"}
    else:
        assert not silent and not agreed.warnings
    assert figures.network.endswith(f"layers, {figures.encoding}")
    return figures


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_integers_of_each_kind_of_recipe_equal_the_model(name):
    recipe = load_recipe(name)
    check(quick(recipe), name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", recipe_names())
def test_integers_of_every_recipe_equal_the_model(name):
    check(load_recipe(name), name)


def test_each_kind_of_recipe_is_tried():
    assert {kind_of(name) for name in ONE_OF_EACH} == {kind_of(name) for name in recipe_names()}
    assert len(ONE_OF_EACH) == len({kind_of(name) for name in ONE_OF_EACH}) > 20


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("digits-agmm", [], "4-bit intensities"),
        ("digits-agmm", ["input_bits=null"], "8-bit intensities"),
        ("digits-events-agmm", [], "spikes"),
        ("digits-events-agmm", ["counts=true"], "8-bit counts"),
        ("digits-events-lmht-frames", [], "spikes"),
        ("digits-events-agmm", ["input_bits=4"], "4-bit intensities"),
        ("cifar10-resnet19-agmm", [], "signed 8-bit images"),
        ("cifar10-resnet19-agmm", ["normalize=false"], "8-bit intensities"),
    ],
)
def test_a_dry_run_tells_what_enters(name, changes, words):
    width = "width=0.1"
    assert check(load_recipe(name).replace([width, *changes]), name).encoding == words


def test_a_dry_run_counts_what_the_papers_count():
    recipe = load_recipe("cifar100-resnet19-agmm")
    whole, narrow = (
        analysis.model_size(build_model(one, input_shape(one), 100)) / 1e6
        for one in (recipe, recipe.replace(["width=0.1"]))
    )
    assert whole == pytest.approx(2.46, abs=0.0056)
    figures = dry_run(recipe.replace(["width=0.1"]))
    assert figures.size_mb == narrow
    assert figures.in_shape == (3, 32, 32, 2)


def test_memory_of_a_dry_run_grows_with_the_batch():
    small, large = (dry_run(load_recipe("digits-demo").replace([f"batch_size={n}"])) for n in (1, 101))
    per_sample = (large.memory_mb - small.memory_mb) / 100
    assert 0.05 < per_sample < 5
    assert small.largest_batch == large.largest_batch
    fixed = small.memory_mb - per_sample
    assert fixed + large.largest_batch * per_sample == pytest.approx(24_000, rel=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("counts=true", "counts"),
        ("denoise=5", "denoise is not for digits"),
        ("augment=roll", "augment"),
        ("start=nowhere", "holds no run"),
        ("size=5000", "size=5000 is not allowed"),
        ("input_bits=0", "digits: bits=0 gives real-valued images, which no device takes; use 1..8"),
        ("normalize=true input_bits=2", "digits: bits=2 cannot hold normalised images; use 3..8"),
        ("saturate=true", "digits: saturate=True is for counts=True only"),
    ],
)
def test_a_dry_run_refuses_what_training_would(text, message):
    with pytest.raises(LavaBsnnError, match=message):
        dry_run(load_recipe("digits-demo").replace(text.split()))
