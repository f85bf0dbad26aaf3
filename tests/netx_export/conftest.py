"""The slow reference, random networks and float models, as fixtures."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import float_models as float_models_module
from support import generators, oracle, rounding
from support.processes import wait_until


@pytest.fixture(scope="session")
def float_models():
    """Random samples, and batch norm with statistics."""
    return float_models_module


@pytest.fixture(scope="session")
def rounding_errors():
    """Errors of a network's currents, measured on its integers."""
    return rounding.rounding_errors


@pytest.fixture(scope="session")
def settle():
    """Run random batches through a model in training mode."""
    return float_models_module.settle


@pytest.fixture(scope="session")
def slow():
    """Slow references and random networks."""
    return SimpleNamespace(simulation=oracle.slow_simulation, random_network=generators.random_extended)


def shared_mappings():
    """Lines of the map of this process that are memory which children share."""
    maps = Path("/proc/self/maps").read_text() if sys.platform == "linux" else ""
    return [line for line in maps.splitlines() if "/dev/zero" in line or "/dev/shm" in line]


@pytest.fixture
def nothing_left():
    """Child processes, threads and the run's shared memory are gone afterwards."""
    gc.collect()
    threads, shared = threading.active_count(), shared_mappings()
    yield
    assert multiprocessing.active_children() == []
    wait_until(lambda: threading.active_count() <= threads, 5)
    gc.collect()
    assert len(shared_mappings()) <= len(shared)
