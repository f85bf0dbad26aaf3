"""Random networks of both profiles, and random torch models, for the parity suite."""

from __future__ import annotations

import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from netx_export import FixedPointNetwork, network, run


def stock_weights(rng, size):
    """All, few, or only extreme values."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return rng.integers(-128, 128, size)
    if kind == 1:
        return rng.choice([-128, 127], size)
    return rng.choice([-1, 1] if kind == 2 else [-7, 0, 7], size)


def stock_neuron(rng, channels, fan_in):
    """Quiet, dead, saturated and ordinary neurons; limits of every parameter."""
    kind = rng.integers(0, 5)
    bias = rng.integers(-60, 60, channels)
    if kind == 0:
        bias = rng.choice([-4096, 4095, 0], channels)
    threshold = (
        int(rng.choice([0, 1, 30 * fan_in, 131_071])) if kind == 1 else int(rng.integers(1, 40 * fan_in))
    )
    return network.LIF(
        threshold=min(threshold, 131_071),
        bias=bias,
        current_decay=int(rng.choice([4096, 1, rng.integers(1, 4097)])),
        voltage_decay=int(rng.choice([0, 4096, rng.integers(0, 4097)])),
    )


def stock_conv(rng, shape):
    """A convolution, or a sum pooling as conversion makes it."""
    if rng.random() < 0.25 and min(shape[1:]) > 1:
        return network.Conv(weight=np.ones((shape[0], 1, 2, 2), int), stride=(2, 2), groups=shape[0])
    groups = int(rng.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
    kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = np.maximum(rng.integers(0, 3, 2), (dilation * (kernel - 1) + 1 - shape[1:] + 1) // 2).clip(0)
    size = (groups * int(rng.integers(1, 4)), shape[0] // groups, *kernel)
    return network.Conv(
        weight=stock_weights(rng, size),
        stride=tuple(int(v) for v in rng.integers(1, 3, 2)),
        padding=tuple(int(v) for v in padding),
        dilation=tuple(int(v) for v in dilation),
        groups=groups,
    )


def random_stock(seed, depth, num_steps):
    """A chain of ``depth`` layers that unmodified lava-dl computes; raises ExportError for some seeds."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), *rng.integers(2, 8, 2).tolist())
    if rng.random() < 0.25:
        shape = (int(rng.integers(1, 12)),)
    entry = network.Input(shape=shape, bits=int(rng.choice([0, 0, 4, 8])))
    layers, source = [], network.INPUT
    for i in range(depth):
        last = i == depth - 1
        if len(shape) == 3 and rng.random() < 0.7 and not (last and rng.random() < 0.5):
            synapse = stock_conv(rng, shape)
        else:
            classes = int(rng.integers(1, 9))
            synapse = network.Dense(weight=stock_weights(rng, (classes, int(np.prod(shape)))))
        shape = synapse.output_shape(shape)
        neuron = stock_neuron(rng, shape[0], int(np.prod(synapse.weight.shape[1:])))
        if last and isinstance(synapse, network.Dense) and rng.random() < 0.5:
            neuron = network.Readout(bias=rng.integers(-50, 50, shape[0]))
        connection = network.Connection(source=source, synapse=synapse)
        source = f"layer{i}"
        layers.append(network.Layer(name=source, connections=(connection,), neuron=neuron, shape=shape))
    return FixedPointNetwork(input=entry, layers=tuple(layers)), num_steps


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_extended(seed, depth, num_steps):
    """As in the simulator's tests, with more at the limits."""
    return _simulator_tests.random_extended(seed, depth=depth, num_steps=num_steps, corners=True)


_here = Path(__file__).parent
_simulator_tests = _module(_here.parent / "netx_export" / "conftest.py")


@pytest.fixture(scope="session")
def generate():
    """Generators of random networks by profile, of torch models, and of samples for them."""
    torch_models = _module(_here / "torch_models.py")
    return SimpleNamespace(
        stock=random_stock,
        extended=random_extended,
        torch=torch_models.random_model,
        samples=torch_models.random_samples,
    )


@pytest.fixture(scope="session")
def rounding_errors():
    """Errors of a network's currents, measured on its integers."""
    return _module(_here.parent / "netx_export" / "rounding.py").rounding_errors


@pytest.fixture(scope="module")
def run_lightly():
    """``netx_export.run`` in a process without torch, of which Lava's processes are forked faster."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield lambda *args, **options: pool.submit(run, *args, **options).result()
