"""What is chosen on which set: validation, early stopping, the test set used once; longer runs, new ones."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.cli import command
from support.linear import Counted, Linear, clusters

from lava_bsnn import training
from lava_bsnn.data.slicing import SlicedSource
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.training import holdout
from lava_bsnn.training.batches import labels_of
from lava_bsnn.training.history import Epoch, best_epoch, is_stopped
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.recipe_files import recipe_names
from lava_bsnn.training.run import evaluate_run
from lava_bsnn.training.run_data import load_data
from lava_bsnn.training.schedule import rate_factor

SMALL = ("epochs=2", "width=0.25", "num_steps=2")


def weights_of(model):
    return model.weight.detach().clone()


def test_a_share_of_each_class_is_held_out_of_the_training_set():
    recipe = load_recipe("digits-agmm")
    splits = load_data(recipe.replace(["split_seed=3"]))
    whole = load_data(recipe.replace(["split_seed=3", "validation_fraction=0"]))
    assert whole.validation is None and len(whole.train) == 1347
    kept, held = splits.train.dataset.indices, splits.validation.dataset.indices
    assert sorted([*kept, *held]) == sorted(whole.train.dataset.indices)
    assert np.array_equal(splits.test.dataset.indices, whole.test.dataset.indices)
    labels = whole.train.dataset.source.labels
    shares = np.bincount(labels[held]) / np.bincount(labels[whole.train.dataset.indices])
    assert len(held) == 135 and np.abs(shares - 0.1).max() < 0.01
    again, other = (load_data(recipe.replace([f"split_seed={seed}"])) for seed in (3, 4))
    assert np.array_equal(again.validation.dataset.indices, held)
    assert not np.array_equal(other.validation.dataset.indices, held)
    with pytest.raises(IndexError, match=r"digits validation: sample 135 of 135"):
        splits.validation.dataset[135]


def test_validation_samples_are_neither_augmented_nor_of_another_size():
    recipe = load_recipe("digits-agmm").replace(["augment=random-resized-crop", "size=16"])
    splits = load_data(recipe)
    plain = load_data(recipe.replace(["augment=[]", "validation_fraction=0"]))
    whole = {int(raw): place for place, raw in enumerate(plain.train.dataset.indices)}
    for place in (0, 7):
        sample, label = splits.validation[place]
        expected = plain.train[whole[int(splits.validation.dataset.indices[place])]]
        assert torch.equal(sample, expected[0]) and label == expected[1]
    before = splits.train[0][0]
    splits.train.set_epoch(1)
    assert not torch.equal(splits.train[0][0], before)


def test_slices_of_a_recording_are_on_one_side():
    source = object.__new__(SlicedSource)
    source.slices = [(recording, slice(part, part + 1)) for recording in range(40) for part in range(3)]
    train = SimpleNamespace(dataset=SimpleNamespace(source=source, indices=np.arange(120)[::-1]))
    groups = holdout._recordings(train)
    kept, held = holdout._divided(groups % 2, groups, 2, 0.25, 0)
    assert sorted([*kept, *held]) == list(range(120)) and len(held) == 30
    assert not set(groups[kept]) & set(groups[held])
    assert (groups[held] % 2).sum() == 15  # by class


def test_published_recipes_keep_their_protocol_and_others_do_not():
    fractions = {name: load_recipe(name).validation_fraction for name in recipe_names()}
    published = {name for name in fractions if load_recipe(name).published is not None}
    assert {name for name in published if fractions[name]} == set()
    assert fractions["digits-demo"] == fractions["nmnist-agmm"] == fractions["fashion-agmm"] == 0.1


def epochs_of(*figures):
    return [
        Epoch(epoch=1 + place, loss=1, train_accuracy=0, validation_accuracy=accuracy, validation_loss=loss)
        for place, (accuracy, loss) in enumerate(figures)
    ]


def test_the_best_epoch_is_that_of_accuracy_then_loss():
    assert best_epoch(epochs_of((0.5, 1.0), (0.7, 2.0), (0.7, 1.5), (0.7, 1.5), (0.6, 0.1))).epoch == 3
    assert best_epoch(epochs_of((None, 1.0), (None, 0.5), (None, 0.7))).epoch == 2
    assert best_epoch(epochs_of((None, float("nan")), (None, 9.0))).epoch == 2
    tests = [
        Epoch(epoch=1 + i, loss=1, train_accuracy=0, test_accuracy=a) for i, a in enumerate((0.1, 0.3, 0.3))
    ]
    assert best_epoch(tests).epoch == 2
    flat = epochs_of((0.5, 1.0), (0.4, 1.0), (0.5, 1.0))
    assert [is_stopped(flat[:count], 2) for count in (0, 1, 2, 3)] == [False, False, False, True]
    assert not is_stopped(flat, None)


def test_the_test_set_is_read_at_the_end_alone(tmp_path):
    reads = []
    sets = {
        name: Counted(name, *clusters(seed=seed), reads)
        for seed, name in enumerate(("train", "validation", "test"))
    }
    sgd = training.optimizer("sgd", lr=0.3)
    history = training.fit(Linear(), **sets, epochs=6, batch_size=8, optimizer=sgd, out=tmp_path)
    best = best_epoch(history)
    assert best.epoch < 6  # else the two tests below are one
    assert reads.count("test") == 2 * 24
    assert set(reads[reads.index("test") :]) == {"test"}
    model = Linear()
    for name, epoch in (("last.pt", history[-1]), ("best.pt", best)):
        training.load_checkpoint(tmp_path / name, model)
        tested = training.score(model, sets["test"], loss=training.tet_cross_entropy)
        assert (tested.accuracy, tested.loss) == (epoch.test_accuracy, pytest.approx(epoch.test_loss))
        assert training.evaluate(model, sets["validation"]) == epoch.validation_accuracy
    assert [epoch.epoch for epoch in history if epoch.test_loss is not None] == [best.epoch, 6]
    assert max(epoch.validation_accuracy for epoch in history) == best.validation_accuracy

    reads.clear()
    del sets["validation"]
    judged = training.fit(Linear(), **sets, epochs=3, batch_size=8, optimizer=sgd)
    assert reads.count("test") == 3 * 24
    assert all(epoch.test_accuracy is not None and epoch.validation_accuracy is None for epoch in judged)


def test_losses_of_evaluation_are_means_over_the_samples():
    inputs, labels = clusters(23)
    model = Linear()
    scores = training.score(model, (inputs, labels), loss=training.tet_cross_entropy, batch_size=5)
    with torch.no_grad():
        expected = training.tet_cross_entropy(model(torch.from_numpy(inputs)), torch.from_numpy(labels))
    assert scores.loss == pytest.approx(float(expected), rel=1e-6)


def test_training_stops_when_validation_brings_nothing_new(tmp_path):
    data = clusters()
    still = training.optimizer("sgd", lr=0.0)
    options = {"validation": data, "optimizer": still, "patience": 3, "out": tmp_path}
    assert len(training.fit(Linear(), data, data, epochs=20, **options)) == 4
    again = training.fit(Linear(), data, data, epochs=20, resume=True, **options)
    assert len(again) == 4 and again[-1].test_accuracy is not None
    with pytest.raises(OptionError, match="patience=3 needs a validation set"):
        training.fit(Linear(), data, data, epochs=20, patience=3)


@pytest.mark.parametrize("options", [{}, {"sampler": "balanced", "ema_decay": 0.5}])
def test_a_finished_run_is_made_longer_and_can_be_stopped_in_that(tmp_path, options):
    train, validation, test = (clusters(30, seed) for seed in range(3))
    options = {"validation": validation, "batch_size": 8, "checkpoint_steps": 1, **options}
    ends = []
    for name, stop in (("whole", None), ("stopped", (3, 2))):
        folder = tmp_path / name
        training.fit(Linear(), train, test, epochs=2, out=folder, **options)

        def halt(step, stop=stop):
            if (step.epoch, step.step) == stop:
                raise KeyboardInterrupt

        longer = {"epochs": 4, "out": folder, "resume": True, **options}
        if stop is not None:
            with pytest.raises(KeyboardInterrupt):
                training.fit(Linear(), train, test, on_step=halt, **longer)
        model = Linear()
        history = training.fit(model, train, test, **longer)
        ends.append((weights_of(model), [(e.loss, e.validation_loss, e.test_loss) for e in history]))
    assert torch.equal(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    steps = 30 // 8
    expected = [
        2e-3 * rate_factor(epoch * steps - 1, total * steps) for epoch, total in ((2, 2), (3, 4), (4, 4))
    ]
    assert [epoch.learning_rate for epoch in history[1:]] == pytest.approx(expected)


def test_a_run_is_replaced_only_when_that_is_asked_for(tmp_path):
    data = clusters()
    training.fit(Linear(), data, data, epochs=1, out=tmp_path / "a")
    with pytest.raises(
        LavaBsnnError, match="holds a run already; continue it with resume=True, replace it with"
    ):
        training.fit(Linear(), data, data, epochs=1, out=tmp_path / "a")
    with pytest.raises(OptionError, match="resume and overwrite exclude each other"):
        training.fit(Linear(), data, data, epochs=1, out=tmp_path / "a", resume=True, overwrite=True)
    (tmp_path / "a/mine.txt").write_text("kept")
    (tmp_path / "a/result.json").write_text("of the other run")
    training.fit(Linear(), data, data, epochs=2, out=tmp_path / "a", overwrite=True)
    assert training.read_checkpoint(tmp_path / "a/last.pt")["epoch"] == 2
    assert (tmp_path / "a/mine.txt").exists() and not (tmp_path / "a/result.json").exists()


def test_the_command_trains_refuses_replaces_and_goes_on(tmp_path):
    train = ("train", "digits-agmm", "--out", tmp_path / "run")
    first = command(*train, "--set", *SMALL, "--json", tmp_path / "a.json")
    assert first.returncode == 0, first.stderr
    assert "1212 training, 135 validation and 450 test samples" in first.stdout
    assert "chosen on the validation set" in first.stdout
    figures = json.loads((tmp_path / "a.json").read_text())
    assert json.loads((tmp_path / "run/result.json").read_text()) == figures
    confusion = np.array(figures["confusion"])
    assert confusion.sum() == 450 and figures["chosen_on"] == "validation"
    assert figures["test_accuracy"] == pytest.approx(confusion.diagonal().sum() / 450)
    assert (tmp_path / "run/confusion.png").stat().st_size > 10_000

    refused = command(*train, "--set", *SMALL)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "replace it with --overwrite" in refused.stderr and "lava-bsnn resume" in refused.stderr
    shorter = command("resume", tmp_path / "run", "--epochs", 1)
    assert shorter.returncode == 2 and "can only be made longer" in shorter.stderr

    longer = command("resume", tmp_path / "run", "--epochs", 3)
    assert longer.returncode == 0 and "goes on after epoch 2 of 3" in longer.stdout, longer.stderr
    rows = list(csv.DictReader((tmp_path / "run/metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["validation_loss"] and rows[2]["test_loss"] and not rows[0]["test_loss"]
    assert load_recipe(tmp_path / "run/config.yaml").epochs == 3
    assert (
        evaluate_run(tmp_path / "run").confusion
        == json.loads((tmp_path / "run/result.json").read_text())["confusion"]
    )

    asked = ("--set", *SMALL, "epochs=1", "validation_fraction=0")
    replaced = command(*train, *asked, "--overwrite")
    assert replaced.returncode == 0 and "chosen on the test set" in replaced.stdout, replaced.stderr
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 2
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 1


def test_runs_of_before_validation_sets_are_resumed_as_they_were(tmp_path):
    recipe = load_recipe("digits-agmm").replace([*SMALL, "epochs=1", "validation_fraction=0"])
    training.train(recipe, tmp_path)
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    new = ("validation_fraction", "patience", "class_weights", "sampler")
    (tmp_path / "config.yaml").write_text("\n".join(one for one in lines if not one.startswith(new)))
    content = training.read_checkpoint(tmp_path / "last.pt")
    content["run"] = {name: value for name, value in content["run"].items() if name not in new}
    torch.save(content, tmp_path / "last.pt")
    old = training.recipe.run_recipe(tmp_path)
    assert old.validation_fraction == 0
    assert training.train(old, tmp_path, resume=True).chosen_on == "test"


def test_so_many_training_samples_are_kept_of_each_class_and_the_test_set_stays():
    recipe = load_recipe("digits-agmm").replace(["validation_fraction=0.2", "split_seed=3"])
    whole, some = (load_data(recipe.replace([f"train_samples={number}"])) for number in ("null", "200"))
    again = load_data(recipe.replace(["train_samples=200", "seed=9"]))
    assert len(some.train) + len(some.validation) == 200
    counts = np.bincount(np.concatenate([labels_of(some.train), labels_of(some.validation)]))
    expected = 200 * np.bincount(np.concatenate([labels_of(whole.train), labels_of(whole.validation)])) / 1347
    assert np.abs(counts - expected).max() <= 1
    kept, held = (set(part.dataset.indices.tolist()) for part in (some.train, some.validation))
    everything = {int(i) for part in (whole.train, whole.validation) for i in part.dataset.indices}
    assert not kept & held and kept | held <= everything and len(kept | held) == 200
    assert np.array_equal(labels_of(whole.test), labels_of(some.test))
    assert kept == set(again.train.dataset.indices.tolist())
    other = load_data(recipe.replace(["train_samples=200", "split_seed=4"]))
    assert kept != set(other.train.dataset.indices.tolist())
    for number in (1, 13, 1346, 1347):
        exact = load_data(recipe.replace([f"train_samples={number}", "validation_fraction=0"]))
        assert len(exact.train) == number
    with pytest.raises(OptionError, match="train_samples=1348 is not allowed: there are 1347"):
        load_data(recipe.replace(["train_samples=1348"]))
