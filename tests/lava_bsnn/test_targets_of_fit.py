"""What ``fit`` is given and tells: targets and losses of all kinds, unequal classes, DataLoaders, loggers."""

from __future__ import annotations

import io
import json
import math
import sys
import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, f1_score
from support.cli import command
from support.linear import Linear, clusters
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from lava_bsnn import analysis, block, models, training
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.training.batches import balanced, epoch_batches, labels_of, share
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.run import build_loss, build_model, class_weights_of
from lava_bsnn.training.run_data import load_data

FAST = {"batch_size": 8, "optimizer": training.optimizer("adam", lr=0.05)}


def test_scores_are_those_of_scikit_learn():
    inputs, labels = clusters(50, classes=3)
    labels[labels == 1] = 0  # a class without samples
    scores = training.score(Linear(), (inputs, labels), batch_size=7)
    guess = training.predict(Linear(), inputs)
    assert np.array_equal(scores.confusion, confusion_matrix(labels, guess, labels=range(3)))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, guess, average="macro", zero_division=0))
    right = [np.mean(guess[labels == name] == name) for name in (0, 2)]
    assert scores.class_accuracy == [pytest.approx(right[0]), None, pytest.approx(right[1])]
    assert scores.accuracy == np.mean(guess == labels) and scores.samples == 50


def test_one_class_for_everything_is_no_learning():
    labels = np.array([1] * 60 + [0, 2] * 20)
    data = np.ones((100, 6), np.float32), labels  # nothing to tell them apart by
    model = Linear()
    model.classes = ("ant", "bee", "cow")
    with pytest.warns(
        UserWarning, match=r"all 100 test samples are taken for class 1 \(bee\), which 60.0% of them"
    ):
        training.fit(model, data, data, epochs=4, **FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.fit(Linear(), clusters(), clusters(), epochs=4, **FAST)
        only = clusters()[0], np.zeros(24, int)  # a test set of one class
        training.fit(Linear(), clusters(), only, epochs=1, **FAST)


def slow_weighted(logits, labels, weights, smoothing):
    total, (samples, classes, steps) = 0.0, logits.shape
    for n in range(samples):
        for t in range(steps):
            z = logits[n, :, t].tolist()
            norm = math.log(sum(math.exp(one) for one in z))
            costs = [weights[c] * (norm - z[c]) for c in range(classes)]
            total += (1 - smoothing) * costs[labels[n]] + smoothing / classes * sum(costs)
    return total / samples / steps


def test_class_weights_weigh_samples_alike_in_batches_of_any_kind():
    logits, labels = torch.randn(6, 3, 4), torch.tensor([0, 0, 0, 1, 0, 2])
    weights = training.balanced_weights(labels.numpy(), 4)
    assert weights == [pytest.approx(value) for value in (6 / 12, 2.0, 2.0, 0.0)]
    loss = training.CrossEntropy("tet", label_smoothing=0.1, class_weights=weights[:3])
    assert float(loss(logits, labels)) == pytest.approx(slow_weighted(logits, labels, weights, 0.1), rel=1e-5)
    halves = [loss(logits[part], labels[part]) for part in (slice(3), slice(3, 6))]
    assert float(sum(halves) / 2) == pytest.approx(float(loss(logits, labels)), rel=1e-6)
    rate = training.CrossEntropy("rate", class_weights=weights[:3])
    mean = logits.mean(-1, keepdim=True)
    assert float(rate(logits, labels)) == pytest.approx(slow_weighted(mean, labels, weights, 0), rel=1e-5)


def test_recipes_weigh_classes():
    recipe = load_recipe("digits-agmm").replace(["class_weights=balanced", "num_steps=2"])
    splits = load_data(recipe)
    counts = np.bincount([splits.train[i][1] for i in range(len(splits.train))])
    assert class_weights_of(recipe, splits) == pytest.approx(1212 / 10 / counts)
    with pytest.raises(OptionError, match="has 2 numbers for 10 classes"):
        class_weights_of(recipe.replace(["class_weights=[1, 2]"]), splits)
    for text in ("class_weights=some", "class_weights=[1, -1]", "class_weights=[]", "class_weights=[1, x]"):
        with pytest.raises(OptionError, match="class_weights="):
            recipe.replace([text])
    with pytest.raises(OptionError, match="class_weights is for loss 'tet' or 'rate', not 'mine:focal'"):
        recipe.replace(["loss='mine:focal'"])
    assert build_loss(recipe, torch.nn.Linear(1, 1), [2.0, 0.0])(torch.zeros(1, 2, 1), torch.tensor([0])) > 1


MINE = """
import torch

def focal(logits, labels):
    share = torch.softmax(logits.mean(-1), 1).gather(1, labels[:, None])
    return -((1 - share) ** 2 * share.log()).mean()

def broken(logits, labels):
    return logits.nothing
"""


def test_recipes_name_a_loss_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mylosses.py").write_text(MINE)
    recipe = load_recipe("digits-agmm").replace(
        ["loss='mylosses:focal'", "num_steps=2", "width=0.25", "epochs=1"]
    )
    assert recipe.code == ("mylosses:focal",)
    loss = build_loss(recipe, torch.nn.Linear(1, 1))
    logits, labels = torch.randn(5, 3, 2), torch.tensor([0, 1, 2, 2, 1])
    shares = [
        math.exp(z[y]) / sum(map(math.exp, z)) for z, y in zip(logits.mean(-1).tolist(), labels, strict=True)
    ]
    assert float(loss(logits, labels)) == pytest.approx(
        -np.mean([(1 - p) ** 2 * math.log(p) for p in shares])
    )
    assert training.train(recipe, tmp_path / "run").test_loss < 2.4
    with pytest.raises(OptionError, match="mylosses:broken: raised AttributeError"):
        build_loss(recipe.replace(["loss='mylosses:broken'"]), torch.nn.Linear(1, 1))(logits, labels)
    with pytest.raises(OptionError, match="names code that is not imported unasked"):
        build_loss(recipe.replace(["loss='os:system'"]), torch.nn.Linear(1, 1))


TARGETS = """
import numpy as np

def make(seed):
    x = np.random.default_rng(seed).random((60, 1, 8, 8)).astype(np.float32)
    means = x.reshape(60, 2, 32).mean(-1)
    targets = {answers}
    return (x[:40], targets[:40]), (x[40:], targets[40:])
"""


@pytest.mark.parametrize(
    ("loss", "answers"), [("multilabel", "(means > 0.5).astype(int)"), ("mse", "means.astype(np.float32)")]
)
def test_recipes_train_on_targets_other_than_classes(loss, answers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"mydata_{loss}.py").write_text(TARGETS.replace("{answers}", answers))
    recipe = load_recipe("digits-agmm").replace(
        [
            f"dataset='mydata_{loss}:make'",
            "num_steps=2",
            "width=0.25",
            "epochs=2",
            f"loss={loss}",
            "input_bits=8",
        ]
    )
    result = training.train(recipe, tmp_path / "run")
    assert result.chosen_on == "validation" and result.test_loss < 2 and result.confusion is None
    assert (result.test_accuracy is None) == (loss == "mse")
    again = command("eval", tmp_path / "run", "--json", "-", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["test_loss"] == pytest.approx(result.test_loss)
    with pytest.raises(OptionError, match="sampler='balanced' is for classes"):
        recipe.replace(["sampler=balanced"])


def test_a_loss_is_one_number():
    data = clusters()
    with pytest.raises(LavaBsnnError, match=r"the loss is \[8\]; return a scalar tensor"):
        training.fit(Linear(), data, data, epochs=1, batch_size=8, loss=lambda z, y: z.sum((1, 2)))
    with pytest.raises(LavaBsnnError, match="the loss is float; return a scalar tensor"):
        training.fit(Linear(), data, data, epochs=1, loss=lambda z, y: 1.0)


def test_balanced_order_draws_classes_alike_by_seed_and_epoch():
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    batches = epoch_batches(1000, 50, seed=1, epoch=2, weights=balanced(labels))
    drawn = np.bincount(labels[torch.cat(batches)], minlength=3)
    assert len(batches) == 20 and np.abs(drawn - 1000 / 3).max() < 4 * math.sqrt(1000 * 2 / 9)
    again, other = (epoch_batches(1000, 50, 1, epoch, balanced(labels)) for epoch in (2, 3))
    assert torch.equal(torch.cat(again), torch.cat(batches))
    assert not torch.equal(torch.cat(other), torch.cat(batches))
    assert torch.equal(torch.cat([share(batches[0], rank, 2) for rank in (0, 1)]), batches[0])


def test_a_rare_class_is_learned_where_classes_are_balanced():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [190, 10])
    inputs = rng.standard_normal((200, 6)).astype(np.float32)
    inputs[:, 0] += 1.5 * labels
    inputs[:, 1] = 1
    test = inputs, labels
    recall = {}
    for name, options in {
        "plain": {},
        "sampler": {"sampler": "balanced"},
        "weights": {"loss": training.CrossEntropy(class_weights=training.balanced_weights(labels, 3))},
    }.items():
        model = Linear()
        training.fit(model, test, test, epochs=5, **FAST, **options)
        recall[name] = training.score(model, test).class_accuracy[1]
    assert recall["plain"] < 0.3 < 0.6 < min(recall["sampler"], recall["weights"])


class Pairs(torch.utils.data.Dataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


def test_labels_are_found_without_reading_where_a_set_tells_them():
    inputs, labels = clusters(9)
    tensors = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels))
    listed = Pairs(list(zip(inputs, labels, strict=True)))
    named = Pairs([])
    named.pairs, named.targets = [None] * 9, list(labels)
    for dataset in (tensors, listed, named):
        assert np.array_equal(labels_of(dataset), labels)
    assert np.array_equal(labels_of(torch.utils.data.Subset(tensors, [4, 2])), labels[[4, 2]])
    with pytest.raises(LavaBsnnError, match="are no classes"):
        training.fit(
            Linear(),
            (inputs, inputs),
            (inputs, inputs),
            epochs=1,
            sampler="balanced",
            loss=lambda z, y: z.sum(),
        )


def many_hot(size=32):
    inputs, _ = clusters(size)
    return inputs, inputs[:, :3] > 0


def values(size=32):
    inputs, _ = clusters(size)
    return inputs, inputs[:, :3] * 0.5


def values_per_step(size=32):
    inputs, targets = values(size)
    return inputs, np.stack([targets, 2 * targets], axis=-1)


def classes_per_step(size=32):
    inputs, labels = clusters(size)
    return inputs, np.stack([labels, labels], axis=-1)


@pytest.mark.parametrize(
    ("data", "loss", "right"),
    [
        (many_hot(), training.multilabel_cross_entropy, lambda z, y: ((z.sum(-1) > 0) == y).mean()),
        (values(), training.mean_squared_error, None),
        (values_per_step(), training.mean_squared_error, None),
        (values(), lambda z, y: (z.mean(-1) - y).abs().mean(), None),
        (classes_per_step(), training.tet_cross_entropy, lambda z, y: (z.argmax(1) == y).mean()),
    ],
    ids=["multi-label", "regression", "regression per step", "any function", "class per step"],
)
def test_targets_other_than_classes_train(data, loss, right, tmp_path):
    model = Linear()
    sets = {"validation": data, "out": tmp_path, "patience": 30}
    history = training.fit(model, data, data, epochs=30, loss=loss, **FAST, **sets)
    last = history[-1]
    assert last.validation_loss < 0.5 * history[0].validation_loss
    with torch.no_grad():
        outputs, targets = model(torch.from_numpy(data[0])), torch.from_numpy(data[1])
        assert last.test_loss == pytest.approx(float(loss(outputs, targets)), rel=1e-5)
    if right is None:
        assert last.train_accuracy is last.test_accuracy is None
    else:
        assert (
            last.test_accuracy == pytest.approx(right(outputs.numpy(), data[1])) and last.train_accuracy > 0.8
        )
    axes = Figure().subplots(1, 2)
    analysis.plot_training(history, axes)
    assert len(axes[1].lines) == (0 if right is None else 3)


@pytest.mark.parametrize(
    ("targets", "loss", "message"),
    [
        (
            np.eye(3, dtype=int)[np.arange(24) % 3],
            training.tet_cross_entropy,
            r"one-hot labels become classes by labels",
        ),
        (
            np.zeros((24, 5), int),
            training.tet_cross_entropy,
            r"targets \[8, 5\] for 3 classes and 2 steps; use classes",
        ),
        (
            np.zeros((24, 5), bool),
            training.multilabel_cross_entropy,
            r"\[8, 5\] for 3 .*; use bool \[N, classes\]",
        ),
        (
            np.zeros((24, 3)),
            training.tet_cross_entropy,
            r"labels \(24, 3\) of float64; use .* and integers \[N\]",
        ),
        (np.full((24, 2), 7), training.tet_cross_entropy, r"label 7 does not fit the model's 3 classes"),
    ],
)
def test_targets_that_do_not_fit_are_told(targets, loss, message):
    data = clusters()[0], targets
    with pytest.raises(LavaBsnnError, match=message):
        training.fit(Linear(), data, data, epochs=1, batch_size=8, loss=loss)


def test_terms_about_activity_are_no_part_of_test_losses():
    recipe = load_recipe("digits-qsnn-2u").replace(["num_steps=2", "width=0.25", "sop_budget=1"])
    model = build_model(recipe, (1, 8, 8), 10)
    loss, x, labels = build_loss(recipe, model), torch.rand(4, 1, 8, 8), torch.arange(4)
    loss(model(x), labels)
    values = loss.values
    assert values["spikes"] > 0 and values["sops"] > 0
    with torch.no_grad():
        logits = model.eval()(x)
        assert torch.equal(loss(logits, labels), training.tet_cross_entropy(logits, labels))
    assert loss.values == values  # of training


def test_data_loaders_give_what_their_datasets_give():
    inputs, labels = (torch.from_numpy(array) for array in clusters(40))
    dataset = TensorDataset(inputs, labels)
    ends = []
    for train, options in (
        (DataLoader(dataset, batch_size=5, shuffle=True), {}),
        (DataLoader(dataset, batch_size=5), {}),
        (dataset, {"batch_size": 5}),
    ):
        model = Linear()
        training.fit(model, train, DataLoader(dataset, batch_size=3), epochs=2, **options)
        ends.append(model.weight.detach())
    assert torch.equal(ends[0], ends[2]) and torch.equal(ends[1], ends[2])
    model = Linear()
    training.fit(model, DataLoader(dataset, batch_size=5), dataset, epochs=2, batch_size=10)
    assert not torch.equal(model.weight.detach(), ends[0])


def test_how_a_data_loader_makes_batches_is_kept():
    inputs, labels = clusters(40)
    listed = Pairs(
        [(list(map(float, one)), f"class {label}") for one, label in zip(inputs, labels, strict=True)]
    )

    def collate(samples):
        return torch.tensor([one for one, _ in samples]), torch.tensor([int(name[-1]) for _, name in samples])

    train = DataLoader(listed, batch_size=5, collate_fn=collate)
    model, plain = Linear(), Linear()
    training.fit(model, train, train, epochs=2)
    training.fit(plain, (inputs, labels), (inputs, labels), epochs=2, batch_size=5)
    assert torch.allclose(model.weight, plain.weight, atol=1e-6)
    assert training.evaluate(model, train) == training.evaluate(plain, (inputs, labels))


def test_what_is_not_taken_of_a_data_loader_is_told():
    dataset = TensorDataset(*(torch.from_numpy(array) for array in clusters(10)))
    drawn = DataLoader(dataset, sampler=WeightedRandomSampler(torch.ones(10).tolist(), 10))
    with pytest.warns(
        UserWarning, match="train: the order of the DataLoader's WeightedRandomSampler is not taken"
    ):
        training.fit(Linear(), drawn, dataset, epochs=1)

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(dataset)

    with pytest.raises(
        LavaBsnnError, match="train is a Stream; use a tuple of arrays, a dataset with a length"
    ):
        training.fit(Linear(), DataLoader(Stream()), dataset, epochs=1)


def test_loggers_of_fabrics_interface_get_the_figures(tmp_path):
    from lightning_fabric.loggers import CSVLogger

    class Mine:
        def __init__(self):
            self.rows, self.ends, self.settings = [], [], None

        def log_hyperparams(self, params):
            self.settings = params

        def log_metrics(self, metrics, step=None):
            self.rows.append((step, metrics))

        def finalize(self, status):
            self.ends.append(status)

    mine, file = Mine(), CSVLogger(tmp_path, name="log", version=0)
    sets = {"validation": clusters(seed=1), "seed": 3}
    history = training.fit(
        Linear(), clusters(), clusters(seed=2), epochs=2, loggers=[mine, file], **FAST, **sets
    )
    assert [step for step, _ in mine.rows] == [1, 2, 2]
    assert mine.rows[1][1]["validation_loss"] == history[1].validation_loss
    assert mine.rows[2][1] == {"test_accuracy": history[1].test_accuracy, "test_loss": history[1].test_loss}
    assert mine.settings["seed"] == 3 and mine.ends == ["success"]
    assert len((tmp_path / "log/version_0/metrics.csv").read_text().splitlines()) == 4
    with pytest.raises(LavaBsnnError, match="the loss is nan"):
        training.fit(
            Linear(), clusters(), clusters(), epochs=1, loggers=[mine], loss=lambda z, y: z.sum() * math.nan
        )
    assert mine.ends == ["success", "failed"]
    with pytest.raises(OptionError, match="loggers: a int has no log_metrics"):
        training.fit(Linear(), clusters(), clusters(), epochs=1, loggers=[3])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_in_terminals_only(monkeypatch):
    def shown(stream, **options):
        monkeypatch.setattr(sys, "stderr", stream)
        training.fit(Linear(), clusters(), clusters(), epochs=2, **FAST, **options)
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    assert "epoch 2/2 loss" in shown(Terminal())
    assert shown(Terminal(), progress=False) == shown(io.StringIO()) == ""
    assert shown(Terminal(), on_step=lambda step: None) == ""


def test_a_confusion_matrix_names_its_classes():
    matrix = np.array([[5, 1], [0, 4]])
    axes = analysis.plot_confusion(matrix, Figure().subplots(), ("cat", "dog"))
    assert [text.get_text() for text in axes.texts] == ["5", "1", "4"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog"]
    many = analysis.confusion_figure(np.eye(100, dtype=int), [f"class {i}" for i in range(100)])
    assert len(many.axes[0].get_yticklabels()) == 100 and not many.axes[0].texts
    assert "100 samples, 100.00% right" in many.get_suptitle()


def tiny():
    blocks = [block.Input(bits=1), block.Flatten(), block.Readout(None, 8, 3)]
    return models.SpikingNetwork(blocks, in_shape=(2, 2, 2), num_steps=4)


LOSS = torch.nn.CrossEntropyLoss()
FRAMES = np.zeros((6, 2, 2, 2, 4), np.float32)
CLASSES = np.arange(6) % 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: training.fit(
                tiny(), (FRAMES, CLASSES), (FRAMES, CLASSES), epochs=1, loss=torch.nn.CrossEntropyLoss()
            ),
            r"the loss raised .*logits \[6, 3, 4\].*targets \[6\].*loss\(logits\.mean\(-1\), targets\)",
        ),
        (
            lambda: training.fit(tiny(), (np.moveaxis(FRAMES, -1, 0), CLASSES), (FRAMES, CLASSES), epochs=1),
            r"time is last: np\.moveaxis\(x, 0, -1\)",
        ),
        (
            lambda: training.fit(tiny(), (FRAMES, np.eye(3)[CLASSES]), (FRAMES, CLASSES), epochs=1),
            r"one-hot labels become classes by labels\.argmax\(1\)",
        ),
        (
            lambda: training.fit(
                tiny(),
                [(torch.zeros(2, 2, 2, 3 + i), 0) for i in range(6)],
                (FRAMES, CLASSES),
                epochs=1,
            ),
            r"samples of shapes \(2, 2, 2, 3\) and \(2, 2, 2, 4\) are in one set",
        ),
        (lambda: training.optimizer(lr=-1), "optimizer: lr=-1 is not allowed; use a number of 0 or more"),
        (lambda: training.predict(tiny(), [1, 2]), "predict: inputs are a list; use an array"),
        (lambda: training.evaluate("net", (FRAMES, CLASSES)), "evaluate: model is a str; use one of torch"),
    ],
)
def test_wrong_use_is_one_line(call, message):
    with pytest.raises(LavaBsnnError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
