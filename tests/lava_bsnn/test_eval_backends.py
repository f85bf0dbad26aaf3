"""Accuracy of a run's integers, and comparisons on its test samples."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.cli import command

from lava_bsnn import training
from lava_bsnn.training.run_data import load_data
from netx_export import convert, read, simulate
from netx_export.verify import verify


@pytest.fixture
def run(trained_run, tmp_path):
    (tmp_path / "r").symlink_to(trained_run)
    return tmp_path


def samples_of(folder, number):
    recipe, model = training.load_run(folder)
    data = load_data(recipe).test
    pairs = [data[index] for index in range(number)]
    return model, torch.stack([x for x, _ in pairs]), np.array([y for _, y in pairs])


def test_the_accuracy_of_the_integers_is_that_of_their_simulation(run):
    done = command("eval", "r", "--backend", "simulator", "--limit", 70, "--json", "-", cwd=run)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    model, inputs, labels = samples_of(run / "r", 70)
    net = convert(model, "extended")
    ours = simulate(net, net.encode(inputs, 2)).prediction
    with torch.no_grad():
        theirs = model(inputs).sum(-1).argmax(1).numpy()
    assert figures["test_accuracy"] == (ours == labels).mean()
    assert figures["torch_accuracy"] == (theirs == labels).mean()
    assert figures["same_class"] == (ours == theirs).mean()
    assert figures["samples"] == 70 and figures["digest"] == net.digest()
    assert "get the same class" in done.stderr


def test_torch_alone_takes_a_limit_too(run):
    done = command("eval", "r", "--limit", 30, "--json", "-", cwd=run)
    assert done.returncode == 0, done.stderr
    model, inputs, labels = samples_of(run / "r", 30)
    assert json.loads(done.stdout)["test_accuracy"] == training.accuracy(model, inputs.numpy(), labels)


def test_gates_become_constants_for_profiles_without(run):
    arguments = ("eval", "r", "--backend", "simulator", "--profile", "loihi", "--limit", 20)
    done = command(*arguments, "--json", "-", cwd=run)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["profile"] == "loihi"
    assert "accuracy on 256 calibration samples" in done.stderr


@pytest.mark.lava
def test_lava_gives_what_the_simulator_gives(run):
    figures = {}
    for backend in ("simulator", "lava-fused"):
        done = command("eval", "r", "--backend", backend, "--limit", 12, "--json", "-", cwd=run)
        assert done.returncode == 0, done.stderr
        figures[backend] = json.loads(done.stdout)
    for name in ("samples", "test_accuracy", "same_class", "digest"):
        assert figures["simulator"][name] == figures["lava-fused"][name]


@pytest.mark.lava
def test_a_file_is_tested_and_verified_on_samples_of_its_run(run):
    assert command("export", "r", "--out", "a.net", "--test", 0, cwd=run).returncode == 0
    arguments = ("eval", "r", "--backend", "simulator", "--net", "a.net", "--limit", 5, "--json", "-")
    done = command(*arguments, cwd=run)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == read(run / "a.net").digest()
    arguments = ("verify", "a.net", "--data", "r", "--samples", 3, "--backends", "lava-fused", "--json", "-")
    done = command(*arguments, cwd=run)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["steps"], found["mismatches"]) == (3, 2, 0)
    assert found["backends"]["lava-fused"]["ran"]
    assert "inputs: test samples of r" in done.stderr


def test_verify_runs_the_samples_that_it_is_given(run, monkeypatch):
    model, inputs, _ = samples_of(run / "r", 4)
    net = convert(model, "extended")
    data, ran = net.encode(inputs, 2), []

    def record(net, data, backend, **options):
        ran.append(data)
        return simulate(net, data, trace=True)

    monkeypatch.setattr("netx_export.verify.backends.run", record)
    found = verify(net, data=data, backends=("lava",))
    assert len(ran) == 2 and all(np.array_equal(x, data) for x in ran)
    assert (found.samples, found.steps, found.mismatches) == (4, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "chip"), "backend='chip' is unknown"),
        (("--limit", "0"), "limit=0 is not allowed"),
        (("--profile", "stock"), "add backend=simulator, or leave out"),
    ],
)
def test_eval_refuses_in_one_line(run, arguments, message):
    done = command("eval", "r", *arguments, cwd=run)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
