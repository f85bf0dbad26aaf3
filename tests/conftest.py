from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import settings
from support import generators
from support.cli import command
from support.processes import wait_until

import lava_bsnn  # noqa: F401  makes lava importable before any test module does

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores Ctrl-C
torch.set_num_threads(1)  # small tensors; a second thread only waits on a loaded machine
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")


forks = []
"""One for each fork of this process since the last report: Lava forks its processes, so do loaders."""
os.register_at_fork(before=lambda: forks.append(True))


LONG = ("test_notebooks.py", "test_docs.py")
"""Files that take minutes: first, so that no worker is left alone with one in the end."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Fail a test that forks and is not marked for it: under pytest-xdist it may hang."""
    report = (yield).get_result()
    if forks and report.passed and item.get_closest_marker("lava") is None:
        report.outcome, report.longrepr = "failed", f"{item.nodeid} forks this process; mark it lava"
    forks.clear()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    np.random.seed(0)


TRAINED = ("epochs=2", "width=0.25", "num_steps=2", "ema_decay=0.5")


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """Folder of a small AGMM run for all tests and workers, figures beside it; copy it to change it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, figures = shared / "trained", shared / "trained.json"
    try:
        folder.mkdir()
    except FileExistsError:
        wait_until(figures.exists, 300)
    else:
        done = command("train", "digits-agmm", "--set", *TRAINED, "--out", folder, "--json", figures)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def make_network():
    return generators.random_network


@pytest.fixture
def make_data():
    return generators.random_data


@torch.no_grad()
def spikes_of_model(model, x):
    """Spike counts of every block with neurons, in the order of the forward pass, and what comes out."""
    from lava_bsnn import block  # loads slayer: not for every test

    found, hooks = [], []
    for module in model.modules():
        if isinstance(module, block.SpikingBlock) and module.neuron is not None:
            hooks.append(module.neuron.register_forward_hook(lambda n, i, out: found.append((n, out))))
    x = torch.from_numpy(np.asarray(x))
    logits = model(x if x.dtype == torch.uint8 else x.float())  # pixels stay what they are
    for hook in hooks:
        hook.remove()
    counts = [(out / n.theta).round() if getattr(n, "scaled", False) else out for n, out in found]
    return [count.numpy() for count in counts], logits.numpy()


@pytest.fixture(scope="session")
def float_spikes():
    return spikes_of_model
