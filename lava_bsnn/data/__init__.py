"""Datasets by name, packed recordings, a saccade simulator, and augmentation."""

from .augment import Augmented
from .catalog import DATASETS
from .digits import Split, digits
from .info import DatasetInfo
from .loading import Splits, load
from .packed import PackedSource, write_packed
from .registry import find, status
from .saccades import saccades

__all__ = [
    "DATASETS",
    "Augmented",
    "DatasetInfo",
    "PackedSource",
    "Split",
    "Splits",
    "digits",
    "find",
    "load",
    "saccades",
    "status",
    "write_packed",
]
