"""Datasets by name, packed recordings, a saccade simulator, and augmentation.

What needs torch is imported when it is first used, so that the list of data sets is there at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .catalog import DATASETS
from .digits import Split, digits
from .info import DatasetInfo
from .own import OwnData
from .packed import PackedSource, write_packed
from .registry import find, status
from .saccades import saccades
from .sounds import sweeps

if TYPE_CHECKING:
    from .augment import Augmented
    from .loading import Splits, load

_HOME = {"Augmented": "augment", "Splits": "loading", "load": "loading"}
__all__ = [
    "DATASETS",
    "Augmented",
    "DatasetInfo",
    "OwnData",
    "PackedSource",
    "Split",
    "Splits",
    "digits",
    "find",
    "load",
    "saccades",
    "status",
    "sweeps",
    "write_packed",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
