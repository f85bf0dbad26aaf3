"""The slow reference, random networks and float models, as fixtures."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import float_models as float_models_module
from support import generators, oracle, rounding
from support.waiting import wait_until

from lava_bsnn.compat import import_lava


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


@pytest.fixture
def nothing_left(monkeypatch):
    """Child processes, threads and the run's shared memory are gone afterwards."""
    manager = import_lava(
        "lava.magma.runtime.message_infrastructure.shared_memory_manager"
    ).SharedMemoryManager
    create, names = manager.create_shared_memory, []

    def noted(self, size):
        handle = create(self, size)
        names.append(handle.name)
        return handle

    monkeypatch.setattr(manager, "create_shared_memory", noted)
    threads = threading.active_count()
    yield
    assert multiprocessing.active_children() == []
    wait_until(lambda: threading.active_count() <= threads, 5)
    assert names
    assert [name for name in names if Path("/dev/shm", name.lstrip("/")).exists()] == []
    mapped = Path("/proc/self/maps").read_text() if sys.platform == "linux" else ""
    assert [name for name in names if name in mapped] == []
