"""What is known of a dataset before it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..encoding import MESSAGE_BITS_MAX, Encoding
from ..errors import OptionError
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
        classes: their names in the order of labels; empty for ImageNet and its parts, whose classes are the
            sorted names of their folders.
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
    classes: tuple[str, ...] = ()
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

    def sized(self, size: int | None) -> tuple[int, int, int]:
        """Shape of items of a size: the side of images, or the number of channels of sounds."""
        if size is None:
            return self.shape
        channels, height, _ = self.shape
        return (channels, 1 if height == 1 else size, size)

    def encoding(
        self,
        *,
        bits: int | None = None,
        counts: bool = False,
        normalize: bool = False,
        saturate: bool = False,
    ) -> Encoding:
        """What samples of this set, loaded without ``normalize``, are for a network.

        =========================== ========================================= ============
        samples                     encoding                                  bits if None
        =========================== ========================================= ============
        event frames of 0 and 1     spikes; intensities where bits are given  0
        event frames with counts    counts                                    8
        images                      intensities                               8
        images with ``normalize``   images with the set's mean and deviation  8
        =========================== ========================================= ============

        Args:
            bits: width of a message; 0 is for event frames of 0 and 1 only.
            counts: the frames hold counts; event sets only.
            normalize: the network subtracts the mean and divides by the deviation; sets with a mean only.
            saturate: counts beyond the largest message become it.

        Raises:
            OptionError: an option is not for samples of this kind, or ``bits`` are out of range.
        """
        images = self.kind == "static"
        if counts and images:
            raise OptionError(f"{self.name}: counts=True is for event sets, not for images; leave it out")
        if saturate and not counts:
            raise OptionError(f"{self.name}: saturate=True is for counts=True only; leave it out")
        if normalize and not self.mean:
            raise OptionError(
                f"{self.name}: normalize=True needs a mean per channel, which this set has not; leave it out"
            )
        if not images and not counts and not bits:
            return Encoding()
        width = MESSAGE_BITS_MAX if bits is None else bits
        allowed = f"{3 if normalize else 1}..{MESSAGE_BITS_MAX}"
        if not width:
            gives = "counts without limit" if counts else "real-valued images"
            raise OptionError(f"{self.name}: bits={bits} gives {gives}, which no device takes; use {allowed}")
        if normalize and width in (1, 2):  # 0, 1 and -1 are fewer than the deviations from the mean
            raise OptionError(f"{self.name}: bits={bits} cannot hold normalised images; use {allowed}")
        if normalize:
            return Encoding.images(self.mean, self.std, bits=width)
        return Encoding(kind="counts" if counts else "intensities", bits=width, saturate=saturate)


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """Sources of a dataset, and what is known of it; ``notes`` are told when training starts."""

    info: DatasetInfo
    train: Source
    test: Source | None
    validation: Source | None = None
    notes: tuple[str, ...] = ()
    framed: bool = False
    """Whether samples of an event set are frames already."""
    path: Path | None = None
    """Where it was found."""
