"""What is known of a dataset before it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .sources import Source

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a dataset is read from, and how long work on it is reported.

    ``path`` is what :func:`lava_bsnn.data.find` returned; ``cache`` a folder for generated files, None for
    the user's own; ``progress(done, total)`` is called while samples are generated.
    """

    path: Path | None = None
    cache: Path | None = None
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """One dataset of the registry.

    Attributes:
        kind: ``"static"`` (images) or ``"events"`` (recordings of an event camera).
        shape: (C, H, W); for events C is the polarities, OFF then ON, and H x W the sensor.
        train_size: samples of the complete set; without an official split all are in train.
        test_size: likewise; 0 without an official split.
        licence: one line.
        source: one line that says how to get the files.
        loader: gives the train and test source; test is None without an official split.
        layouts: relative paths that must all exist in a folder, one tuple per accepted layout; empty for
            sets that need no files.
        packed: name that a file of packed recordings carries (``*.npz``); empty where not supported.
        folders: further places where a system package puts the files.
        requires: optional package that the set needs.
        mean: per channel, of images in [0, 1].
        std: likewise.
        test_fraction: usual share of the test split where there is no official one.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    num_classes: int
    train_size: int
    test_size: int
    licence: str
    source: str
    loader: Callable[[DatasetInfo, Place], tuple[Source, Source | None]]
    layouts: tuple[tuple[str, ...], ...] = ()
    packed: str = ""
    folders: tuple[str, ...] = ()
    requires: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    test_fraction: float = 0.25

    @property
    def embedded(self) -> bool:
        """Whether the set needs no files."""
        return not self.layouts
