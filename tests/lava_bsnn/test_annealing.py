"""The annealed gradient's schedule in a run: set each epoch, told in its figures, the same after a resume."""

from __future__ import annotations

import csv
import dataclasses

import pytest
import torch

from lava_bsnn import models, training
from lava_bsnn.training import anneal, build, load_recipe

FEW = ["epochs=3", "model_options.channels=[4, 4]", "model_options.hidden=8", "batch_size=256", "num_steps=2"]


def sharp(model):
    hooks = (getattr(module, "_pre_hook_fx", None) for module in model.modules())
    return {getattr(hook, "sharpness", None) for hook in hooks} - {None}


def test_the_sharpness_rises_by_the_same_factor_from_a_tenth_to_ten():
    model = models.create(
        "recurrent", num_classes=2, in_shape=(4,), num_steps=2, method_options={"estimator": "annealed"}
    )
    values = [anneal(model, epoch, 5) for epoch in range(5)]
    assert values == pytest.approx([0.1, 0.1 * 10**0.5, 1, 10**0.5, 10])
    assert sharp(model) == {values[-1]}  # of the layer's input and of its recurrent weights
    assert anneal(model, 0, 1) == 0.1
    assert anneal(models.create("mlp", num_classes=2, in_shape=(4,), num_steps=2), 0, 5) is None


class StopError(Exception):
    pass


def stop_after(epoch):
    def listen(record):
        if record.epoch == epoch:
            raise StopError

    return listen


def test_a_run_anneals_and_tells_it_and_resumes_bit_for_bit(tmp_path):
    options = ["method_options={estimator: annealed, standardize: filter, hidden: power_of_two}"]
    recipe = load_recipe("digits-agmm").replace([*FEW, *options, "cutmix=1.0", "mixup=0.8"])
    whole = training.train(recipe, tmp_path / "whole")
    with pytest.raises(StopError):
        training.train(recipe, tmp_path / "parted", on_epoch=stop_after(2))
    training.train(recipe, tmp_path / "parted", resume=True)
    first, second = (training.read_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "parted"))
    assert all(torch.equal(first["model"][name], value) for name, value in second["model"].items())
    for name in ("whole", "parted"):
        with open(tmp_path / name / "metrics.csv", encoding="utf-8") as file:
            told = [float(row["sharpness"]) for row in csv.DictReader(file)]
        assert told == pytest.approx([0.1, 1, 10])
    assert whole.config["cutmix"] == 1.0
    plain = dataclasses.replace(recipe, cutmix=0.0, mixup=0.0)
    training.train(plain, tmp_path / "plain")
    other = training.read_checkpoint(tmp_path / "plain/last.pt")["model"]
    assert not all(torch.equal(other[name], value) for name, value in second["model"].items())


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({"estimator": "annealed"}, True),
        ({"estimator": "annealed", "standardize": "filter"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_short_steps_on_weights_that_are_not_standardised_are_told(recwarn, options, warns, optimizer):
    recipe = load_recipe("digits-agmm").replace([*FEW, f"optimizer={optimizer}"])
    recipe = dataclasses.replace(recipe, method_options=options)
    build.build_optimizer(recipe, build.build_model(recipe, (1, 8, 8), 10))
    told = [str(one.message) for one in recwarn if "estimator=annealed" in str(one.message)]
    assert len(told) == (warns and optimizer == "sgd")
