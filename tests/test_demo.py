"""The whole demo as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from support.cli import command
from support.processes import ONE_THREAD

from lava_bsnn import models, training
from lava_bsnn.demo import MODEL
from netx_export import compare, read, run, simulate

pytestmark = pytest.mark.lava
SMALL = ("--epochs", "1", "--num-steps", "2")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo as a user runs it, once."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "lava_bsnn", "demo", "--json", "figures.json"],
        cwd=folder,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "figures.json").read_text()), done.stdout


def test_demo_reaches_its_figures(demo):
    _, figures, _ = demo
    assert set(figures) == {
        "float_accuracy",
        "fixed_accuracy",
        "lava_samples",
        "lava_steps",
        "lava_mismatches",
        "net_bytes",
        "slayer_net_bytes",
        "seconds",
    }
    assert figures["float_accuracy"] >= 0.97
    assert figures["float_accuracy"] == figures["fixed_accuracy"]  # fine-tuned in the device's integers
    assert figures["lava_samples"] >= 5
    assert figures["lava_steps"] == figures["lava_samples"] * 8
    assert figures["lava_mismatches"] == 0
    assert figures["net_bytes"] < figures["slayer_net_bytes"] / 5


def test_demo_writes_its_folder(demo):
    folder, figures, output = demo
    out = folder / "runs/demo"
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoint.pt",
        "demo.net",
        "membrane_trace.png",
        "metrics.json",
        "spike_raster.png",
        "training_curve.png",
    ]
    assert (out / "demo.net").stat().st_size == figures["net_bytes"]
    assert figures.items() <= json.loads((out / "metrics.json").read_text()).items()
    assert "mismatches" in output
    for path in out.glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 5  # not blank


def test_demo_checkpoint_is_weights_only_and_gives_the_network_again(demo):
    from netx_export import convert

    out = demo[0] / "runs/demo"
    assert set(torch.load(out / "checkpoint.pt", weights_only=True)) == {"model", "epochs", "num_steps"}
    model = models.create("cnn", **MODEL)
    assert training.load_checkpoint(out / "checkpoint.pt", model)["num_steps"] == 8
    training.match_device(model, "stock")
    assert convert(model.eval()) == read(out / "demo.net")


def test_parity_fails_when_one_integer_of_the_demo_network_changes(demo):
    from dataclasses import replace

    net = read(demo[0] / "runs/demo/demo.net")
    x = net.encode(np.random.default_rng(0).random((1, 1, 8, 8)), 4)
    lava = run(net, x, "stock", trace=True)
    assert compare(simulate(net, x, trace=True), lava).mismatches == 0
    last = net.output
    bias = last.neuron.bias.copy()
    bias[3] += 1
    changed = replace(net, layers=(*net.layers[:-1], replace(last, neuron=replace(last.neuron, bias=bias))))
    comparison = compare(simulate(changed, x, trace=True), lava)
    assert comparison.mismatches == 4  # one class, every step
    assert comparison.first.startswith("output readout, step 0, sample 0, neuron (3,)")


def test_inspect_shows_the_layers(demo):
    done = command("inspect", demo[0] / "runs/demo/demo.net")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "its digest is right" in lines[-2]
    assert lines[-1] == "takes 4-bit intensities over 8 steps"
    assert [line.split()[0] for line in lines[:-3]] == [
        "layer",
        "input",
        "conv1",
        "conv2",
        "dense4",
        "readout5",
    ]


def test_json_on_standard_output_is_nothing_but_json(tmp_path):
    done = command("demo", "--json", "-", *SMALL, "--lava-samples", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lava_mismatches"] == 0
