"""The slow reference, random networks and float models, as fixtures."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support import float_models as float_models_module
from support import generators, oracle, rounding


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
