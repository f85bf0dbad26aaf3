"""Freeze binary spiking networks to integers, write NetX HDF5, simulate, and run on Lava.

Names are imported when they are first used; nothing here imports SLAYER.
"""

from __future__ import annotations

import importlib
from typing import Any

from lava_bsnn.errors import ExportError, NetXFormatError

_PUBLIC = {
    "Agreement": "verify.agree",
    "Cost": "costs",
    "FixedPointNetwork": "network",
    "FusedSimCfg": "backends.fused",
    "Simulation": "simulator",
    "Neuron": "neurons",
    "Placement": "placement",
    "Report": "reports",
    "Stepper": "simulator.stepper",
    "Trace": "simulator",
    "agreement": "verify.agree",
    "compare": "verify.parity",
    "convert": "lowering",
    "cost": "costs",
    "describe": "hdf5",
    "from_nir": "nir",
    "place": "placement",
    "rails_of": "network.rails",
    "read": "hdf5",
    "register_neuron": "neurons",
    "register_target": "targets",
    "report": "reports",
    "run": "backends",
    "run_stock": "backends.stock",
    "simulate": "simulator",
    "stream": "simulator.stepper",
    "to_nir": "nir",
    "two_rails": "network.rails",
    "write": "hdf5",
}
__all__ = ["ExportError", "NetXFormatError", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
