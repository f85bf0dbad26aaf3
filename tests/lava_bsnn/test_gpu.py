"""What can differ on a GPU: kernels, rounding of convolutions, 16 bits, and waiting for the device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from lava_bsnn import data, models, training
from lava_bsnn.errors import LavaBsnnError, LavaBsnnWarning
from lava_bsnn.training import match_device
from lava_bsnn.training.batches import as_dataset, epoch_batches
from lava_bsnn.training.engine import Engine
from netx_export import convert, read, simulate, write

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use (CUDA)"),
]
GPU = "cuda"
METHODS = ("agmm", "qsnn", "lmht")


def model_of(method, device=GPU):
    torch.manual_seed(0)
    options = dict(num_steps=4, method=method, input_bits=8, channels=(16, 24), hidden=32)
    return models.create("cnn", num_classes=10, in_shape=(1, 8, 8), **options).to(device)


def digits(number):
    split = data.digits()
    return split.train_images[:number], split.train_labels[:number]


def fit(model, samples=64, **options):
    return training.fit(
        model,
        digits(samples),
        digits(32),
        epochs=1,
        batch_size=32,
        optimizer=training.optimizer("sgd", lr=0.05),
        **options,
    )


def test_kernels_compute_what_the_definition_does():
    tests = Path(__file__).parents[1]
    options = ("-q", "-p", "no:cacheprovider", "-c", tests.parent / "pyproject.toml")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tests / "support" / "triton_cases.py"],
        env={**os.environ, "KERNELS_ON": GPU},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("method", METHODS)
def test_training_takes_the_same_way(method):
    with torch.backends.cudnn.flags(allow_tf32=False):
        ours, theirs = (fit(model_of(method, device))[0] for device in (GPU, "cpu"))
    assert ours.loss == pytest.approx(theirs.loss, rel=0.02)
    assert ours.firing_rate == pytest.approx(theirs.firing_rate, rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_matched_mode_is_exact(method, tmp_path):
    """Although TF32 is allowed; and so is what is converted from a GPU."""
    model, x = model_of(method), torch.from_numpy(digits(32)[0])
    fit(model)
    match_device(model)
    model.eval()
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=True):
        ours = model(x.to(GPU)).cpu()
    net = convert(model, "extended")
    write(net, tmp_path / "gpu.net")
    theirs = model.to("cpu")(x).detach()
    assert torch.equal(ours, theirs)
    write(convert(model, "extended"), tmp_path / "cpu.net")
    first, second = (
        simulate(read(tmp_path / name), net.encode(x.numpy())) for name in ("gpu.net", "cpu.net")
    )
    np.testing.assert_array_equal(first.readout, second.readout)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "32-true"])
@pytest.mark.parametrize("method", METHODS)
def test_every_precision_trains(method, precision):
    model, torch_fabric = model_of(method), Fabric(accelerator=GPU, devices=1, precision=precision)
    record = fit(model, fabric=torch_fabric)[0]
    assert 0 < record.firing_rate < 1
    assert np.isfinite(record.loss)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_wait_for_the_device(method):
    model = model_of(method)
    run = Engine(
        model=model,
        train=as_dataset(digits(256), "train"),
        test=as_dataset(digits(32), "test"),
        optimizer=training.optimizer(),
        fabric=Fabric(accelerator=GPU, devices=1, precision="bf16-mixed"),
        ema_decay=0.9,
        batch_size=32,
        seed=0,
        num_workers=0,
        settings={},
    )
    batches = epoch_batches(256, 32, 0, 0)
    for indices, batch in run.epoch_loader(batches):
        waits = run.step < 2  # kernels are compiled, and the first step is looked at
        torch.cuda.set_sync_debug_mode("default" if waits else "error")
        try:
            run.train_step(indices, batch, training.tet_cross_entropy, 1.0, 1.0)
            run.progress(len(batches))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert run.step == 8


def test_what_is_not_finite_is_named(tmp_path):
    with pytest.raises(LavaBsnnError, match=r"in epoch 1, step \d+; first not finite: \S+"):
        training.fit(
            model_of("agmm"),
            digits(640),
            digits(32),
            epochs=1,
            batch_size=32,
            optimizer=training.optimizer("sgd", lr=1e25, momentum=0),
            schedule="constant",
            out=tmp_path,
        )
    kept = training.read_checkpoint(tmp_path / "last.pt")
    assert all(torch.isfinite(value).all() for value in kept["model"].values())


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
@pytest.mark.parametrize("method", METHODS)
def test_recorded_passes_are_those_of_kernels_one_by_one(method, precision, monkeypatch):
    """Losses, rates and statistics of an epoch, in which both shapes of batches are recorded."""
    found = {}
    for switch in ("0", "1"):
        monkeypatch.setenv("LAVA_BSNN_GRAPHS", switch)
        model, fabric = model_of(method), Fabric(accelerator=GPU, devices=1, precision=precision)
        recorded = Recorded(monkeypatch)
        found[switch] = fit(model, 32 * 20 + 9, fabric=fabric)[0], model.state_dict()
        assert len(recorded.shapes) == (2 if switch == "1" else 0)
    (plain, before), (repeated, after) = found["0"], found["1"]
    assert repeated.loss == pytest.approx(plain.loss, rel=2e-3)
    assert repeated.firing_rate == pytest.approx(plain.firing_rate, rel=0.01)
    for name, value in before.items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(value, after[name]), name
        elif name.endswith("running_var"):
            torch.testing.assert_close(value, after[name], rtol=0.05, atol=0.01)


class Recorded:
    """Shapes of inputs whose passes were recorded."""

    def __init__(self, monkeypatch):
        self.shapes, record = [], torch.cuda.make_graphed_callables

        def spy(module, arguments, **options):
            self.shapes.append(tuple(arguments[0].shape))
            return record(module, arguments, **options)

        monkeypatch.setattr(torch.cuda, "make_graphed_callables", spy)


def test_what_waits_for_the_device_is_told_and_trains():
    """Where no one looks for it: recording fails, and training goes on."""
    model = model_of("agmm")
    read = torch.nn.Module.__call__

    def waits(self, *args, **kwargs):
        result = read(self, *args, **kwargs)
        if isinstance(result, torch.Tensor) and self.training:
            float(result.sum())
        return result

    model.blocks[1].norm.__class__ = type("Waits", (type(model.blocks[1].norm),), {"__call__": waits})
    type(model.blocks[1].norm).__module__ = "lava_bsnn.norm"
    with pytest.warns(LavaBsnnWarning, match="kernel by kernel"):
        record = fit(model, 320)[0]
    assert np.isfinite(record.loss)
