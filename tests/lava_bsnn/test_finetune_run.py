"""Runs that go on in the integers of a target: what the folder holds is what the device will compute."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from support.cli import command, working_in

from lava_bsnn import training
from lava_bsnn.commands.finetune import default_out
from lava_bsnn.synapse import Binarize
from lava_bsnn.training.run_data import load_data
from lava_bsnn.training.run_folder import finetuning_recipe, history_of
from netx_export import agreement, convert, read


@pytest.fixture(scope="module")
def tuned(trained_run, tmp_path_factory):
    """Folder with the run ``r`` and, of it, ``r-loihi``."""
    path = tmp_path_factory.mktemp("tuned")
    shutil.copytree(trained_run, path / "r")
    done = command("finetune", "r", "--target", "loihi", "--epochs", 1, "--json", "t.json", cwd=path)
    assert done.returncode == 0, done.stderr
    return path


def test_the_new_run_gives_the_accuracy_that_was_told_when_it_is_read_again(tuned):
    told = json.loads((tuned / "t.json").read_text())
    again = command("eval", "r-loihi", "--json", "-", cwd=tuned)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["test_accuracy"] == told["test_accuracy"]
    assert history_of(tuned / "r-loihi")[-1].test_accuracy == told["test_accuracy"]


def test_the_run_is_its_export_spike_for_spike(tuned):
    recipe, model = training.load_run(tuned / "r-loihi")
    assert recipe.target == "loihi" and recipe.matched
    samples = load_data(recipe).test
    inputs = torch.stack([samples[index][0] for index in range(40)])
    labels = np.array([samples[index][1] for index in range(40)])
    found = agreement(model, convert(model, "loihi"), inputs, labels)
    assert found.same_class == 1.0 and all(layer.equal == 1.0 for layer in found.layers)
    done = command("export", "r-loihi", "--profile", "loihi", "--out", "t.net", "--test", 0, cwd=tuned)
    assert done.returncode == 0, done.stderr
    assert read(tuned / "t.net").digest() == convert(model, "loihi").digest()


def test_the_grid_of_the_training_is_kept_whatever_the_weights_have_become(tuned):
    grid = json.loads((tuned / "r-loihi/matched.json").read_text())["neurons"]
    _, model = training.load_run(tuned / "r-loihi")
    neurons = {name: module for name, module in model.named_modules() if name in grid}
    assert len(neurons) == len(grid) == 3
    assert {name: one.w_scale for name, one in neurons.items()} == {name: s for name, (s, _) in grid.items()}
    changed = {name: [2 * scale, shift] for name, (scale, shift) in grid.items()}
    shutil.copytree(tuned / "r-loihi", tuned / "changed")
    (tuned / "changed/matched.json").write_text(json.dumps({"target": "loihi", "neurons": changed}))
    _, model = training.load_run(tuned / "changed")
    assert all(dict(model.named_modules())[name].w_scale == scale for name, (scale, _) in changed.items())


@pytest.mark.parametrize(
    "options",
    [
        ("optimizer=sgd", "nesterov=true"),
        ("optimizer=bso", "nesterov=true"),
        ("ema_decay=0.9",),
        ("decay=all",),
    ],
)
def test_a_run_of_any_optimizer_is_fine_tuned(options, tmp_path):
    few = ("model=mlp", "model_options={hidden: [8, 8]}", "epochs=1", "num_steps=1", "train_samples=64")
    recipe = training.load_recipe("digits-agmm").replace([*few, *options])
    training.train(recipe, tmp_path / "r")
    tuning = finetuning_recipe(recipe, tmp_path / "r", "extended", 1)
    training.train(tuning, tmp_path / "tuned")
    _, model = training.load_run(tmp_path / "tuned")
    hidden = next(one for one in model.modules() if isinstance(getattr(one, "pre_hook_fx", None), Binarize))
    assert set(hidden.pre_hook_fx(hidden.weight, descale=True).unique().tolist()) == {-1.0, 1.0}


def test_a_stopped_fine_tuning_ends_with_the_same_weights(tuned):
    arguments = ("finetune", "r", "--target", "extended", "--epochs", 2)
    whole = command(*arguments, "--out", "whole", cwd=tuned)
    assert whole.returncode == 0, whole.stderr
    recipe = training.load_recipe(tuned / "whole/config.yaml")

    def stop(epoch):
        raise InterruptedError

    with working_in(tuned), pytest.raises(InterruptedError):
        training.train(recipe, tuned / "part", on_epoch=stop)
    done = command("resume", "part", cwd=tuned)
    assert done.returncode == 0, done.stderr
    one, two = (training.read_checkpoint(tuned / name / "last.pt")["model"] for name in ("whole", "part"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is damaged"), ('{"target": "loihi", "neurons": {"x": [1, null]}}', "is of another model")],
)
def test_a_damaged_grid_is_refused(tuned, tmp_path, content, message):
    shutil.copytree(tuned / "r-loihi", tmp_path / "bad")
    (tmp_path / "bad/matched.json").write_text(content)
    done = command("eval", "bad", cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr


def test_what_cannot_be_fine_tuned_is_refused(tuned):
    for arguments, message in (
        (("finetune", "r", "--target", "chip"), "target='chip' is unknown"),
        (("finetune", "nowhere"), "holds no run"),
        (("train", "digits-agmm", "--set", "matched=true", "--out", "x"), "goes on from a trained run"),
    ):
        done = command(*arguments, cwd=tuned)
        assert done.returncode == 2 and message in done.stderr


def test_a_run_of_a_sweep_is_tuned_beside_the_sweep(tmp_path):
    assert default_out(tmp_path / "run", "loihi") == tmp_path / "run-loihi"
    assert default_out(tmp_path / "sweep" / "seed=1", "loihi") == tmp_path / "sweep-seed=1-loihi"
