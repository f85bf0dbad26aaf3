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


@pytest.fixture
def lava_loihi(monkeypatch):
    """Stand-ins for the closed modules; what is on the chip runs in Lava's simulation instead."""
    from stand_ins import lava_loihi_stand_in

    from lava_bsnn.compat import import_lava
    from netx_export.process import Network

    lava_loihi_stand_in.MADE.clear()
    for part in ("", ".spike", ".state"):
        monkeypatch.setitem(sys.modules, f"lava.proc.embedded_io{part}", lava_loihi_stand_in)
    loihi, configs = import_lava("lava.utils.loihi"), import_lava("lava.magma.core.run_configs")
    calls, chosen = [], []
    monkeypatch.setattr(loihi, "is_installed", lambda: True)
    monkeypatch.setattr(loihi, "use_slurm_host", lambda **options: calls.append(("slurm", options)))
    monkeypatch.setattr(loihi, "use_ethernet_host", lambda **options: calls.append(("ethernet", options)))

    class StandInHwCfg(configs.Loihi2SimCfg):
        def __init__(self, **options):
            chosen.append(options)
            super().__init__(select_tag="fixed_pt", **options)

    monkeypatch.setattr(configs, "Loihi2HwCfg", StandInHwCfg)
    networks = []
    started = Network.run

    def run_and_note(self, **options):
        networks.append(self)
        started(self, **options)

    monkeypatch.setattr(Network, "run", run_and_note)
    return SimpleNamespace(made=lava_loihi_stand_in.MADE, calls=calls, chosen=chosen, networks=networks)
