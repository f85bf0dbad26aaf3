"""Data and networks of the pages "Your own data" and "Your own network", as a user writes and trains them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import documentation
from support.cli import command
from support.own_code import forgotten

from lava_bsnn import data, training
from lava_bsnn.training.run_data import load_data


def files(page):
    """{name: content} of the blocks that begin with the name of a file; and code that stands alone."""
    named, alone = {}, []
    text = (documentation.ROOT / f"docs/{page}.md").read_text()
    for language, content in documentation.FENCE.findall(text):
        name = re.match(r"# (\w+\.(?:py|yaml))\n", content)
        if name:
            named[name[1]] = content
        elif language == "python":
            alone.append(content)
    return named, alone


@pytest.fixture
def page(request, tmp_path, monkeypatch):
    """A folder with the files of a page."""
    named, alone = files(request.param)
    for name, content in named.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    with forgotten(tmp_path):
        yield alone


class NMNIST:
    """As tonic's, with a few recordings."""

    sensor_size, classes = (34, 34, 2), ("zero", "one")

    def __init__(self, root, train, transform):
        assert root == Path("data")
        self.transform, self.targets = transform, [0, 1] * (6 if train else 3)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        events = np.zeros(300, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])
        events["x"], events["y"] = rng.integers(0, 9, (2, 300)) + 20 * self.targets[index]
        events["t"] = np.sort(rng.integers(0, 9999, 300))
        return self.transform(events), self.targets[index]


def trained(recipe, *changes):
    """Figures of a run, and what it said."""
    done = command("train", recipe, *changes, "--out", f"runs/{recipe}", "--json", "run.json")
    assert done.returncode == 0, done.stderr
    return json.loads(Path("run.json").read_text()), " ".join(done.stdout.split())


@pytest.mark.parametrize("page", ["own_data"], indirect=True)
def test_recipes_of_own_data_train(page, monkeypatch):
    figures, said = trained("recipe.yaml")
    assert (
        "data:make: 81 training, 9 validation and 30 test samples of 2 x 48 x 60 (events), 3 classes" in said
    )
    assert figures["test_accuracy"] > 0.9
    exec(page[0], {})  # writes two.npz
    _, said = trained("packed.yaml", "--set", "epochs=1")
    assert "of 2 x 48 x 64 (events), 2 classes (a, b)" in said
    figures, said = trained("frames.yaml")
    assert (
        "frames:make: 60 training, 20 validation and 30 test samples of 2 x 12 x 16 (events), 3 classes"
        in said
    )
    assert figures["test_accuracy"] > 0.6
    splits = load_data(training.load_recipe("frames.yaml"))
    assert (len(splits.validation), splits.train[0][0].shape) == (20, (2, 12, 16, 6))
    _, said = trained("images.yaml")
    assert (
        "images:make: 21 training, 3 validation and 8 test samples of 3 x 12 x 12 (images), 4 classes" in said
    )
    monkeypatch.setattr("tonic.datasets.NMNIST", NMNIST)
    _, said = trained("with_tonic.yaml", "--set", "epochs=1")
    assert "of 2 x 34 x 34 (events), 2 classes (zero, one)" in said


@pytest.mark.parametrize("page", ["own_network"], indirect=True)
def test_networks_of_ones_own_train_and_export(page, monkeypatch):
    for recipe, changes in (
        ("recipe.yaml", ["epochs=1"]),
        ("recipe.yaml", ["epochs=1", "method=lmht"]),
        ("recipe.yaml", ["epochs=1", "model=nets:mixed", "model_options={hidden: 48}"]),
    ):
        name = "-".join(changes).replace("/", "")
        done = command("train", recipe, "--set", *changes, "--out", name)
        assert done.returncode == 0, done.stderr
        done = command("export", name, "--out", "own.net", "--test", "100", "--json", "export.json")
        assert done.returncode == 0, done.stderr
        assert json.loads(Path("export.json").read_text())["same_class"] > 0.8
    chain = command("export", name, "--profile", "stock", "--out", "own.net", "--test", "0")
    assert chain.returncode == 2  # a skip
    assert "Residual" in chain.stderr


def test_the_fields_of_sets_by_name_serve_packed_files_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    recordings = [
        {
            "t": np.sort(rng.integers(0, 9999, 50)),
            "x": rng.integers(0, 16, 50),
            "y": rng.integers(0, 12, 50),
            "p": rng.integers(0, 2, 50),
        }
        for _ in range(12)
    ]
    data.write_packed("own.npz", recordings, np.arange(12) % 3, sensor_size=(16, 12, 2))
    Path("mine.yaml").write_text(
        "dataset: packed\ndata_root: own.npz\nmodel: mlp\nmethod: binary\nepochs: 1\nnum_steps: 3\nsize: 8\n"
        "counts: true\nbin_us: 2000\naugment: [flip, roll]\ndenoise: 5000\n"
    )
    _, said = trained("mine.yaml")
    assert "6000 us after the first event is left out" in said
    Path("own.npz").unlink()  # a run is exported without its data
    done = command("export", "runs/mine.yaml", "--out", "own.net")
    assert done.returncode == 0, done.stderr
    assert "not compared on test data" in done.stdout
