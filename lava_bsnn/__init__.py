"""Binary-weight spiking neural networks for Lava and Loihi 2.

Sub-modules are imported when they are first used, so that ``import lava_bsnn`` is fast.
On Python 3.11 and newer it also makes ``import lava`` work (see :mod:`lava_bsnn.compat`).
"""

from __future__ import annotations

import importlib
from typing import Any

from . import compat

__version__ = "0.1.0"

_SUBMODULES = (
    "analysis",
    "block",
    "compat",
    "data",
    "distributed",
    "errors",
    "fixed_point",
    "functional",
    "models",
    "modulation",
    "neuron",
    "norm",
    "synapse",
    "training",
)
__all__ = ["__version__", *_SUBMODULES]

compat.enable_lava()


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
