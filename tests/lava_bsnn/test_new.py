"""The project that ``lava-bsnn new`` writes runs as it is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.cli import command
from support.own_code import forgotten

from lava_bsnn import training
from lava_bsnn.errors import OptionError

SHORT = {  # the README's commands, in their order -> arguments that make them short
    "lava-bsnn train recipe.yaml --dry-run": "--set model_options.channels=4",
    "lava-bsnn train recipe.yaml --out runs/first": "--set epochs=3",
    "lava-bsnn eval runs/first": "",
    "lava-bsnn export runs/first --out first.net": "",
    "lava-bsnn verify first.net": "--samples 1 --backends lava-fused",
    "lava-bsnn report first.net --run runs/first --html report.html": "--samples 4",
}
ALSO = {  # commands of notebook 7
    "lava-bsnn analyze runs/first": "--samples 4 --only rates",
    "lava-bsnn verify first.net --data runs/first": "--samples 1 --backends lava-fused",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A new project as working folder."""
    done = command("new", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path / "mine")
    with forgotten(tmp_path):
        yield tmp_path / "mine"


@pytest.mark.lava
def test_the_commands_of_its_readme_run(project):
    commands = re.findall(r"^lava-bsnn .*$", Path("README.md").read_text(), re.MULTILINE)
    assert commands == list(SHORT)
    said = {}
    for line in commands:
        done = command(*line.split()[1:], *SHORT[line].split())
        assert done.returncode == 0, done.stderr
        said[line] = done.stdout
    assert "of 2 x 48 x 64 (events), 3 classes (left, right, up); nets:Net" in said[commands[1]].replace(
        "\n", ""
    )
    accuracy = float(re.findall(r"test accuracy ([\d.]+)%", said[commands[2]])[0])
    assert accuracy > 50  # of three classes
    assert yaml.safe_load(Path("runs/first/data.yaml").read_text()) == {
        "name": "data:make",
        "kind": "events",
        "shape": [2, 48, 64],
        "num_classes": 3,
        "classes": ["left", "right", "up"],
    }
    assert "classes: left, right, up" in command("inspect", "first.net").stdout
    assert list(Path("runs/first").glob("events.out.tfevents*"))
    for line, less in ALSO.items():
        done = command(*line.split()[1:], *less.split())
        assert done.returncode == 0, done.stderr
    done = command("resume", "runs/first")
    assert (done.returncode, "all epochs are done already" in done.stdout) == (0, True)


def test_its_own_test_passes(project, tmp_path):
    runpy.run_path("test_project.py")["test_it_trains_and_exports"](tmp_path)


def test_a_folder_of_recordings_takes_the_place_of_the_simulated_ones(project):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("clap", "wave", "idle")):
        for index in range(4):
            path = Path(f"recordings/{name}/{index}.np{'zy'[index % 2]}")
            path.parent.mkdir(parents=True, exist_ok=True)
            events = np.zeros(99, [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])
            events["t"] = np.sort(rng.integers(0, 9999, 99))
            events["x"], events["y"] = 20 * label + 1, rng.integers(0, 48, 99)
            events["p"] = rng.choice([-1, 1], 99)
            if path.suffix == ".npz":
                np.savez(path, **{field: events[field] for field in "txyp"})
            else:
                np.save(path, events)
    recipe = training.load_recipe("recipe.yaml").replace(
        ["data_root=recordings", "epochs=1", "model=nets:Mixed", "model_options={}", "num_steps=3"]
    )
    training.train(recipe, "runs/own")
    _, model = training.load_run("runs/own")
    assert model.classes == ("clap", "idle", "wave")
    from lava_bsnn.training.run_data import load_data

    splits = load_data(recipe)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (8, 1, 3)
    for frames, label in splits.test:  # label 1 is "idle", whose pixels are at x = 41
        assert frames.sum((0, 1, 3)).nonzero().item() == (1, 41, 21)[label]


def test_a_folder_without_recordings_is_told_with_what_was_looked_for(project):
    Path("recordings/clap").mkdir(parents=True)
    Path("recordings/clap/0.h5").touch()
    recipe = training.load_recipe("recipe.yaml").replace(["data_root=recordings"])
    with pytest.raises(OptionError, match=r"no files \*\.npy, \*\.npz in .* of recordings"):
        training.train(recipe, "runs/none")


def test_what_is_there_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    assert command("new", "mine", cwd=tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    done = command("new", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "mine: is not empty (README.md, data.py, nets.py); give a new folder" in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
    (tmp_path / "file").touch()
    done = command("new", "file", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "file: cannot be written (File exists); give another folder" in done.stderr
