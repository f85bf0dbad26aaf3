"""The training engine: resume after a kill, several processes, numbers that are not finite."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from support import ddp_worker
from support.cli import command
from support.processes import ONE_THREAD

from lava_bsnn import models, training
from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.training.batches import epoch_batches, mixed_seed, share
from lava_bsnn.training.diagnose import first_not_finite
from lava_bsnn.training.schedule import rate_factor

TINY = (
    "epochs=3 width=0.25 num_steps=2 checkpoint_steps=5 ema_decay=0.9 clip_norm=1 warmup_epochs=1 "
    "augment=crop label_smoothing=0.1 optimizer=sgd lr=0.05"
)
KILLED = """
import os, sys
from pathlib import Path
from lava_bsnn.training.recipe import load_recipe
from lava_bsnn.training.run import train

def kill(step):
    if (step.epoch, step.step) == (2, 13):
        os.kill(os.getpid(), 9)

train(load_recipe("digits-agmm").replace(sys.argv[2].split()), Path(sys.argv[1]), on_step=kill)
"""


SMALL = ("epochs=1", "width=0.25", "num_steps=2", "batch_size=256")


def small_model(method="binary"):
    return models.create(
        "cnn",
        num_classes=5,
        in_shape=(1, 8, 8),
        num_steps=3,
        method=method,
        input_bits=8,
        channels=(4, 6),
        hidden=8,
    )


def small_data(size=32):
    rng = np.random.default_rng(0)
    return rng.random((size, 1, 8, 8), dtype=np.float32), np.arange(size) % 5


def flat(value, name=""):
    """(path, leaf) pairs of a nested checkpoint."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{name}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from flat(item, f"{name}/{index}")
    else:
        yield name, value


def test_a_killed_run_resumes_bit_identically(tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "killed", TINY], env=ONE_THREAD, capture_output=True
    )
    assert killed.returncode == -9
    half = training.read_checkpoint(tmp_path / "killed/last.pt")
    assert (half["epoch"], half["step"]) == (1, 10)
    resumed = command("resume", tmp_path / "killed", "--json", "-")
    assert resumed.returncode == 0, resumed.stderr
    whole = command(
        "train", "digits-agmm", "--set", *TINY.split(), "--out", tmp_path / "whole", "--json", "-"
    )
    assert whole.returncode == 0, whole.stderr
    for name in ("last.pt", "best.pt"):
        ours, theirs = (
            dict(flat(training.read_checkpoint(tmp_path / run / name))) for run in ("killed", "whole")
        )
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            if not key.endswith("seconds"):
                equal = torch.equal(value, theirs[key]) if torch.is_tensor(value) else value == theirs[key]
                assert equal, key
    figures, expected = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert figures["test_accuracy"] == expected["test_accuracy"]
    assert figures["config"] == expected["config"]
    rows = (tmp_path / "killed/metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]


TOLERANCE = 1e-12
"""Of weights after six steps in double precision: only the order of sums differs."""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What ``ddp_worker`` prints, and its folder: weights by method, and ``run`` of the command."""
    folder = tmp_path_factory.mktemp("two")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = ["train", "digits-agmm", "--set", *SMALL, "--out", folder / "run", "--json", folder / "run.json"]
    done = subprocess.run(
        [*run, ddp_worker.__file__, folder, *train], capture_output=True, text=True, env=ONE_THREAD
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_two_processes_train_what_one_does(two_processes):
    from lightning_fabric import Fabric

    _, folder = two_processes
    for method in ddp_worker.METHODS:
        fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
        state, history = ddp_worker.train(method, fabric)
        theirs = torch.load(folder / f"{method}.pt", weights_only=True)
        for name, value in state.items():
            difference = (value.double() - theirs["state"][name].double()).abs().max()
            assert difference <= TOLERANCE, (method, name)
        assert theirs["loss"] == pytest.approx([e.loss for e in history], rel=1e-6)
        assert theirs["rate"] == pytest.approx([e.firing_rate for e in history], rel=1e-6)
        assert theirs["test"] == [e.test_accuracy for e in history]
        assert theirs["held"] == [e.validation_accuracy for e in history]
        assert theirs["test loss"] == pytest.approx(history[-1].test_loss, rel=1e-6)
        assert theirs["flips"] == [e.flip_ratio for e in history]


def test_torchrun_starts_the_same_command(two_processes):
    printed, folder = two_processes
    assert printed.count("test accuracy") == 1
    figures = json.loads((folder / "run.json").read_text())
    evaluated = command("eval", folder / "run", "--json", "-")
    assert json.loads(evaluated.stdout)["test_accuracy"] == pytest.approx(figures["test_accuracy"])


def test_batches_cover_the_epoch_and_depend_on_seed_and_epoch_only():
    batches = epoch_batches(23, 5, seed=1, epoch=2)
    assert [len(b) for b in batches] == [6, 6, 6, 5]
    assert sorted(torch.cat(batches).tolist()) == list(range(23))
    assert torch.equal(torch.cat(batches), torch.cat(epoch_batches(23, 5, seed=1, epoch=2)))
    assert not torch.equal(torch.cat(batches), torch.cat(epoch_batches(23, 5, seed=1, epoch=3)))
    assert not torch.equal(torch.cat(batches), torch.cat(epoch_batches(23, 5, seed=2, epoch=2)))
    assert [share(batches[3], rank, 2).tolist() for rank in (0, 1)] == [
        batches[3][:2].tolist(),
        batches[3][2:4].tolist(),
    ]
    assert len({mixed_seed(0, a, b) for a in range(30) for b in range(30)}) == 900


def test_learning_rate_rises_then_falls_like_a_cosine():
    factors = [rate_factor(step, 100, warmup=10) for step in range(100)]
    assert factors[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert rate_factor(99, 100, schedule="constant") == 1


def test_weight_decay_spares_norms_and_biases():
    model = small_model("agmm")
    decayed, spared = training.optimizer("sgd", lr=1, weight_decay=0.1)(model.parameters()).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0)
    assert all(p.dim() > 1 for p in decayed["params"]) and all(p.dim() <= 1 for p in spared["params"])
    with pytest.raises(OptionError, match="'sgd', 'adam', 'adamw'"):
        training.optimizer("lion")


def test_averaged_weights_are_the_moving_average():
    seen = []
    model = small_model("fp")
    weight = model.blocks[1].synapse.weight

    def record(step):
        seen.append(weight.detach().clone())

    training.fit(model, small_data(), small_data(), epochs=2, batch_size=8, ema_decay=0.8, on_step=record)
    expected = seen[0]
    for value in seen[1:]:
        expected = 0.8 * expected + 0.2 * value
    torch.testing.assert_close(model.blocks[1].synapse.weight.detach(), expected)


def test_clipping_bounds_the_step():
    def moved(clip):
        torch.manual_seed(0)
        model = small_model()
        before = [p.detach().clone() for p in model.parameters()]
        sgd = training.optimizer("sgd", lr=1.0, weight_decay=0, momentum=0)
        data = small_data(8)
        training.fit(
            model, data, data, epochs=1, batch_size=8, optimizer=sgd, schedule="constant", clip_norm=clip
        )
        steps = [(p.detach() - b).square().sum() for p, b in zip(model.parameters(), before, strict=True)]
        return float(sum(steps)) ** 0.5

    assert moved(1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert moved(None) > 0.1


def test_a_loss_that_is_not_finite_names_layer_and_step_and_keeps_the_checkpoint(tmp_path):
    sgd = training.optimizer("sgd", lr=1e25, momentum=0)
    with pytest.raises(
        LavaBsnnError, match=r"in epoch 1, step \d; first not finite: (parameter|layer|gradient of) \S+"
    ):
        training.fit(
            small_model("fp"),
            small_data(),
            small_data(),
            epochs=2,
            batch_size=8,
            optimizer=sgd,
            out=tmp_path,
            schedule="constant",
        )
    kept = training.read_checkpoint(tmp_path / "last.pt")
    assert all(torch.isfinite(value).all() for value in kept["model"].values())


def test_the_first_layer_that_is_not_finite_is_named():
    model = small_model("binary")
    x = torch.rand(2, 1, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert first_not_finite(model, x).startswith("the loss")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.blocks[2].norm.running_var.fill_(float("nan"))
    model.eval()
    assert first_not_finite(model, x) == "layer blocks.2.norm (BatchNorm)"
    model.blocks[2].name = "second"
    assert first_not_finite(model, x) == "layer second: blocks.2.norm (BatchNorm)"
    x[1, 0, 3, 3] = float("inf")
    assert first_not_finite(model, x) == "the input (sample 1 of the batch)"


def test_a_sample_that_is_not_finite_is_named_although_spikes_hide_it():
    inputs, labels = small_data()
    inputs[5, 0, 3, 3] = np.nan
    with pytest.raises(LavaBsnnError, match=r"train\[5\] holds values that are not finite"):
        training.fit(small_model(), (inputs, labels), small_data(), epochs=1)
    with pytest.raises(LavaBsnnError, match=r"test\[5\] holds values that are not finite"):
        training.fit(small_model(), small_data(), (inputs, labels), epochs=1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "train is a NoneType"),
        ([(torch.zeros(1, 8, 8), 0.5)] * 4, "batches of torch.float32 tensor and torch.float64 tensor"),
        ([(torch.zeros(1, 8, 8), "a")] * 4, "batches of torch.float32 tensor and (list|tuple)"),
    ],
)
def test_datasets_of_other_things_are_refused(data, message):
    with pytest.raises(LavaBsnnError, match=message):
        training.fit(small_model(), data, small_data(), epochs=1)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (
            np.zeros((4, 1, 8, 8)),
            np.array([0, 1, 2, 5]),
            "label 5 does not fit the model's 5 classes; use 0..4",
        ),
        (np.zeros((4, 1, 8, 8)), np.array([0, 1, -1, 2]), "label -1"),
        (np.zeros((4, 1, 8, 8)), np.array([0, 1]), r"inputs \(4, 1, 8, 8\) and labels \(2,\)"),
        (np.zeros((4, 1, 8, 8)), np.zeros(4), "labels .* of float64"),
        (np.zeros((0, 1, 8, 8)), np.zeros(0, int), "train is empty"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(inputs, labels, message):
    with pytest.raises(LavaBsnnError, match=message):
        training.fit(small_model(), (inputs, labels), small_data(), epochs=1)


def test_resume_refuses_another_runs_or_a_damaged_checkpoint(tmp_path):
    options = {"epochs": 2, "batch_size": 8, "out": tmp_path}
    training.fit(small_model(), small_data(), small_data(), **options)
    with pytest.raises(LavaBsnnError, match="was written with seed=0, not 1"):
        training.fit(small_model(), small_data(), small_data(), seed=1, resume=True, **options)
    sgd = training.optimizer("sgd", lr=0.1)
    with pytest.raises(LavaBsnnError, match="was written with optimizer=AdamW, not SGD"):
        training.fit(small_model(), small_data(), small_data(), optimizer=sgd, resume=True, **options)
    with pytest.raises(
        LavaBsnnError, match="was written with epochs=2, not 1; a run can only be made longer"
    ):
        training.fit(small_model(), small_data(), small_data(), resume=True, **{**options, "epochs": 1})
    with pytest.raises(LavaBsnnError, match=r"does not fit this run \(Error.*modulation"):
        training.fit(small_model("agmm"), small_data(), small_data(), resume=True, **options)
    content = bytearray((tmp_path / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(LavaBsnnError, match="damaged|not a checkpoint"):
        training.fit(small_model(), small_data(), small_data(), resume=True, **options)


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    model = torch.nn.Linear(4, 4)
    training.save_checkpoint(tmp_path / "a.pt", model)
    original = (tmp_path / "a.pt").read_bytes()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    rng = np.random.default_rng(0)
    for position in rng.choice(len(original), 200, replace=False):
        content = bytearray(original)
        content[position] ^= 1 << rng.integers(8)
        (tmp_path / "b.pt").write_bytes(content)
        try:
            read = training.read_checkpoint(tmp_path / "b.pt")["model"]
        except LavaBsnnError:
            continue
        assert all(torch.equal(read[name], value) for name, value in expected.items()), position
