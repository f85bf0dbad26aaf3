"""Raw samples by index, and how a set without an official split is split."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """Samples before any conversion.

    ``labels`` are int64 ``[N]``; ``read`` gives image ``[C, H, W]`` uint8 or structured events with fields
    x, y, t (us), p, and raises whatever its reader raises; ``where`` names the file of a sample, or "";
    ``scale`` is the raw value that means 1.0; ``in_memory`` tells that reading costs no file access.
    """

    labels: np.ndarray
    scale: int
    in_memory: bool

    def __len__(self) -> int: ...
    def read(self, index: int) -> np.ndarray: ...
    def where(self, index: int) -> str: ...


class ArraySource:
    """Images uint8 ``[N, C, H, W]`` in memory."""

    in_memory = True

    def __init__(self, images: np.ndarray, labels: Any, scale: int = 255, path: str = "") -> None:
        self.images = images
        self.labels = np.asarray(labels).astype(np.int64)
        self.scale = scale
        self.path = path

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        return self.images[index]

    def where(self, index: int) -> str:
        return self.path


def stratified(
    labels: np.ndarray, num_classes: int, test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return indices of train and test, and whether each class has its share in both.

    The same seed gives the same split. Sets too small to hold each class on both sides are shuffled
    without regard to class.
    """
    from sklearn.model_selection import train_test_split

    known = np.where((labels >= 0) & (labels < num_classes), labels, 0)
    counts = np.bincount(known)
    counts = counts[counts > 0]
    test_size = int(np.ceil(test_fraction * len(labels)))
    small = counts.min() < 2 or test_size < len(counts) or len(labels) - test_size < len(counts)
    train, test = train_test_split(
        np.arange(len(labels)),
        test_size=test_fraction,
        random_state=seed,
        stratify=None if small else known,
    )
    return train, test, not small
