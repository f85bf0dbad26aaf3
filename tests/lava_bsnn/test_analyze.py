"""Figures and numbers of a trained run, made by one command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from support.cli import command

from lava_bsnn import analysis, training
from lava_bsnn.analysis.run_figures import FIGURES
from lava_bsnn.analysis.subject import Subject
from lava_bsnn.training.run_data import load_data

MOVING = {"events", "animation"}


@pytest.fixture(scope="module")
def analyzed(trained_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("analyzed")
    (path / "r").symlink_to(trained_run)
    arguments = ("analyze", "r", "--out", "a", "--samples", 20, "--points", 3, "--json", "n.json")
    done = command(*arguments, cwd=path)
    assert done.returncode == 0, done.stderr
    return path, done


def test_every_figure_that_the_run_can_have_is_drawn(analyzed):
    path, done = analyzed
    assert {one.stem for one in (path / "a").glob("*.png")} == FIGURES.keys() - MOVING
    for one in (path / "a").glob("*.png"):
        assert np.asarray(Image.open(one).convert("L")).std() > 5, one
    numbers = json.loads((path / "n.json").read_text())
    assert numbers == json.loads((path / "a/analysis.json").read_text())
    assert numbers.keys() == (FIGURES.keys() - MOVING) | {"run", "samples"}
    assert "no animation: analyze: this data set has no events" in done.stdout.replace("\n", " ")


def test_numbers_are_those_of_the_functions(analyzed):
    path, _ = analyzed
    numbers = json.loads((path / "a/analysis.json").read_text())
    recipe, model = training.load_run(path / "r")
    data = load_data(recipe).test
    inputs = torch.stack([data[index][0] for index in range(20)])
    rates = [one.firing_rate for one in analysis.activity(model, inputs).values()]
    assert list(numbers["rates"].values()) == pytest.approx(rates)
    assert list(numbers["rates"]) == ["conv1", "conv2", "dense4"]
    count = analysis.count_operations(model, inputs)
    assert numbers["operations"]["sops"] == pytest.approx(count.sops)
    joule = analysis.estimate_energy(count).joule
    assert numbers["energy"]["45 nm CMOS"]["estimated_joule"] == pytest.approx(joule)
    assert numbers["sizes"]["bytes"] == analysis.model_size(model)
    history = training.read_checkpoint(path / "r/last.pt")["history"]
    assert numbers["flips"] == [epoch["flip_ratio"] for epoch in history]
    losses = np.array(numbers["landscape"]["losses"])
    labels = torch.tensor([data[index][1] for index in range(20)])
    with torch.no_grad():
        assert losses[1, 1] == pytest.approx(float(training.tet_cross_entropy(model(inputs), labels)), 1e-5)
    assert losses.shape == (3, 3)


def test_a_membrane_crosses_its_threshold_where_it_fires(analyzed):
    numbers = json.loads((analyzed[0] / "a/analysis.json").read_text())["membrane"]
    assert [value > 1 for value in numbers["potential"]] == numbers["spikes"]


def test_event_samples_are_drawn_and_animated():
    model = training.load_recipe("digits-events-agmm")
    from lava_bsnn.training.dry_run import fresh_model

    model = fresh_model(model.replace(["width=0.25", "num_steps=3"]))
    inputs = torch.bernoulli(torch.full((2, *model.in_shape, 3), 0.2))
    subject = Subject(model=model, inputs=inputs, labels=torch.tensor([1, 2]))
    figure, numbers = FIGURES["events"](subject)
    assert numbers["events_per_step"] == inputs[0].sum((0, 1, 2)).tolist() and len(figure.axes) == 3
    gif, numbers = FIGURES["animation"](subject)
    assert gif.data.startswith(b"GIF8") and numbers["label"] == 1


def test_only_what_is_asked_for_is_made(analyzed):
    path, _ = analyzed
    done = command("analyze", "r", "--only", "rates", "--out", "b", "--format", "svg", cwd=path)
    assert done.returncode == 0, done.stderr
    assert {one.name for one in (path / "b").iterdir()} == {"rates.svg", "analysis.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "pie"), "only='pie' is unknown"),
        (("--samples", "0"), "samples=0 is not allowed"),
        (("--format", "bmp"), "format='bmp' is unknown"),
        (("--out", "r/config.yaml"), "cannot make the folder"),
    ],
)
def test_analyze_refuses_in_one_line(analyzed, arguments, message):
    done = command("analyze", "r", *arguments, cwd=analyzed[0])
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_long_names_of_layers_become_short():
    from lava_bsnn.analysis._style import short

    names = ("blocks.2.blocks.0", "blocks.8.shortcut.0", "blocks.20", "conv1", "my.blocks.x")
    assert [short(name) for name in names] == ["2.0", "8 skip", "20", "conv1", "my.blocks.x"]
