"""Event sets that tonic reads: N-MNIST, DVS Gesture, CIFAR10-DVS."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .info import DatasetInfo, Place
from .packed import PackedSource
from .sources import Source


class TonicSource:
    """Samples of a tonic dataset in the order of their paths, whatever the order of the file system."""

    scale = 1
    in_memory = False

    def __init__(self, dataset: Any, folder: Path, record: int = 1) -> None:
        names = [Path(path).relative_to(folder).as_posix() for path in dataset.data]
        self.order = sorted(range(len(names)), key=names.__getitem__)
        self.dataset = dataset
        self.labels = np.array([dataset.targets[i] for i in self.order], dtype=np.int64)
        self.record = record  # bytes of one event, where files are plain

    def __len__(self) -> int:
        return len(self.order)

    def read(self, index: int) -> np.ndarray:
        path = Path(self.where(index))
        if path.stat().st_size % self.record:
            raise ValueError(f"{path.stat().st_size} bytes are no multiple of {self.record}: file cut short")
        events: np.ndarray = self.dataset[self.order[index]][0]
        return events

    def where(self, index: int) -> str:
        return str(self.dataset.data[self.order[index]])


def _open(info: DatasetInfo, class_name: str, folder: Path, record: int = 1, **options: Any) -> TonicSource:
    """Make tonic's dataset on the extracted files in ``folder``, without its look for the archive."""
    import tonic

    kind = getattr(tonic.datasets, class_name)
    # tonic would download where the archive is gone; the folder may have any name
    fixed = {
        "_check_exists": lambda self: True,
        "location_on_system": property(lambda self: str(folder), lambda self, value: None),
    }
    try:
        dataset = type(class_name, (kind,), fixed)(save_to=str(folder), **options)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{info.name}: {folder} holds a file or folder of unknown name ({reason}); {info.source}"
        ) from error
    dataset.__class__ = kind  # an instance of the plain class can be sent to workers
    if not dataset.data:
        raise DataError(f"{info.name}: {folder} ({options or 'all'}) holds no recordings; {info.source}")
    return TonicSource(dataset, folder, record)


def _packed_or(info: DatasetInfo, place: Place, class_name: str, record: int) -> tuple[Source, Source | None]:
    assert place.path is not None
    if place.path.is_file():
        return PackedSource(place.path), None
    train, test = (_open(info, class_name, place.path, record, train=train) for train in (True, False))
    return train, test


def load_nmnist(info: DatasetInfo, place: Place) -> tuple[Source, Source | None]:
    """N-MNIST: ``{Train,Test}/<digit>/*.bin`` with 5 bytes an event, or packed recordings."""
    return _packed_or(info, place, "NMNIST", record=5)


def load_dvs_gesture(info: DatasetInfo, place: Place) -> tuple[Source, Source | None]:
    """DVS Gesture as tonic cut it: ``ibmGesture{Train,Test}/userNN_<light>/<0-10>.npy``, or packed."""
    import numpy.lib.recfunctions  # noqa: F401  tonic takes for granted that it is loaded

    return _packed_or(info, place, "DVSGesture", record=1)


def load_cifar10_dvs(info: DatasetInfo, place: Place) -> tuple[Source, Source | None]:
    """CIFAR10-DVS: ``<class>/*.aedat4``, without a split, or packed recordings.

    Raises:
        DataError: the package aedat, through which tonic reads these files, is not installed.
    """
    assert place.path is not None
    if place.path.is_file():
        return PackedSource(place.path), None
    try:
        importlib.import_module("aedat")
    except ImportError as error:
        raise DataError(
            f"{info.name}: tonic reads .aedat4 with the package aedat; run pip install aedat"
        ) from error
    return _open(info, "CIFAR10DVS", place.path), None
