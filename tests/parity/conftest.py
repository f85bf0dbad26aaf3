"""Random networks of all profiles, and random torch models, for the parity suite."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import pytest
from support import generators, rounding, torch_models

from netx_export import run


def random_extended(seed, depth, num_steps):
    """As in the simulator's tests, with more at the limits."""
    return generators.random_extended(seed, depth=depth, num_steps=num_steps, corners=True)


@pytest.fixture(scope="session")
def generate():
    """Generators of random networks by profile, of torch models, and of samples for them."""
    return SimpleNamespace(
        stock=generators.random_stock,
        loihi=generators.random_loihi,
        extended=random_extended,
        torch=torch_models.random_model,
        samples=torch_models.random_samples,
    )


@pytest.fixture(scope="session")
def rounding_errors():
    """Errors of a network's currents, measured on its integers."""
    return rounding.rounding_errors


@pytest.fixture(scope="module")
def run_lightly():
    """``netx_export.run`` in a process without torch, of which Lava's processes are forked faster."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield lambda *args, **options: pool.submit(run, *args, **options).result()
