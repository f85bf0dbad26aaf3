"""How a data set is divided into its parts, and how the samples of a part are made and kept."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..code import is_code
from ..errors import DataError
from .frames import Framing, Sizing
from .info import DatasetInfo, Opened
from .sources import Source, stratified


def divided(
    opened: Opened, fraction: float, seed: int
) -> tuple[list[tuple[str, Source, np.ndarray]], tuple[str, ...]]:
    """Split name, source and indices of each part; and notes on their sizes."""
    info, source, held_out = opened.info, opened.train, opened.test
    own = [] if opened.validation is None else [("validation", opened.validation)]
    if held_out is not None:
        parts = [("train", source), ("test", held_out)]
        sizes = (info.train_size, info.test_size)
        notes = [
            f"{split} has {len(part)} of {size} samples"
            for (split, part), size in zip(parts, sizes, strict=True)
            if len(part) != size
        ]
        every = [*parts, *own]
        return [(split, part, np.arange(len(part))) for split, part in every], (*opened.notes, *notes)
    if len(source) < 2:
        raise DataError(
            f"{info.name}: {len(source)} sample cannot be split into train and test; use 2 or more"
        )
    train, test, by_class = stratified(source.labels, info.num_classes, fraction, seed)
    notes = [f"{len(source)} samples, {len(test)} of them held out for test with split_seed={seed}"]
    if not by_class:
        notes.append("too few samples a class to split by class")
    validation = [(split, part, np.arange(len(part))) for split, part in own]
    return [("train", source, train), ("test", source, test), *validation], (*opened.notes, *notes)


def sizing(
    info: DatasetInfo, source: Source, size: int | None, shape: tuple[int, int, int], native: bool
) -> dict[str, Any]:
    """Converter of images, and the shape that must result; images in files may have any size."""
    if source.in_memory or is_code(info.name):
        sizing = Sizing(shape=info.shape, size=None if native else size)
    else:
        sizing = Sizing(shape=None, size=None if native else shape[1], crop=info.name == "imagenet")
    return {"convert": sizing, "shape": None if native else shape}


def frame_bytes(number: int, shape: tuple[int, ...], counts: bool) -> int:
    """Memory that the frames of so many samples take."""
    return number * math.prod(shape) * (2 if counts else 1)


def cache_folder(
    cache: Path, info: DatasetInfo, split: str, path: Path | None, source: Source, framing: Framing
) -> Path:
    """Folder named by all that the frames depend on."""
    key = hashlib.sha256(f"{path} {split} {framing}".encode())
    if path is not None and path.is_file():
        key.update(f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    for index in range(len(source)):
        key.update(source.where(index).encode())
    return cache / f"{info.name}-{split}-{key.hexdigest()[:16]}"
