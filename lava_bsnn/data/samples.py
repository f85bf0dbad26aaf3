"""Samples that are checked when they are read, and kept in memory or on disk where asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DataError, OptionError
from ..files import atomic_path
from .sources import Source


class Samples(Dataset[tuple[Tensor, Any]]):
    """Items (tensor, label) of one split; integers as the converter gives them, not yet scaled.

    Args:
        name, split: for error messages.
        source: raw samples.
        indices: samples of ``source`` that form the split.
        convert: raw sample to array; raises ValueError on what it does not allow.
        shape: of each array; None allows any.
        num_classes: labels are 0..num_classes - 1.
        cache: folder of a tonic disk cache; None reads again each time.

    Raises:
        DataError: on access: a sample cannot be read, or is not what it should be.
    """

    def __init__(
        self,
        name: str,
        split: str,
        source: Source,
        indices: np.ndarray,
        convert: Callable[[np.ndarray], np.ndarray],
        *,
        shape: tuple[int, ...] | None,
        num_classes: int,
        cache: Path | None = None,
    ) -> None:
        self.name, self.split = name, split
        self.source, self.indices = source, indices
        self.convert, self.shape, self.num_classes = convert, shape, num_classes
        self.memory: dict[int, Tensor] = {}
        self.disk = None if cache is None else DiskCache(self, cache)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if not 0 <= index < len(self.indices):
            raise IndexError(f"{self.name} {self.split}: sample {index} of {len(self.indices)}")
        raw = int(self.indices[index])
        if raw in self.memory:
            return self.memory[raw], self._target(raw)
        if self.disk is not None:
            return torch.from_numpy(self.disk.read(index, raw)), self._target(raw)
        return torch.from_numpy(self.compute(index)), self._target(raw)

    def _target(self, raw: int) -> Any:
        """Class; of a source with other targets, a tensor bool or float32 ``[K]``."""
        targets = getattr(self.source, "targets", None)
        if targets is None or targets.ndim == 1:
            return int(self.source.labels[raw])
        return torch.from_numpy(targets[raw])

    def compute(self, index: int) -> np.ndarray:
        """Read, convert and check sample ``index`` of the split."""
        raw = int(self.indices[index])
        label = int(self.source.labels[raw])
        if not 0 <= label < self.num_classes:
            raise self._error(index, f"label {label} is not in 0..{self.num_classes - 1}")
        try:
            array = self.convert(self.source.read(raw))
        except (MemoryError, ImportError, DataError, OptionError):
            raise
        except Exception as error:  # readers raise anything on damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self._error(index, reason) from error
        if self.shape is not None and array.shape != self.shape:
            raise self._error(index, f"its shape is {list(array.shape)}, allowed is {list(self.shape)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self._error(index, "it holds values that are not finite")
        return array

    def _error(self, index: int, problem: str) -> DataError:
        where = self.source.where(int(self.indices[index]))
        return DataError(
            f"{self.name} {self.split}[{index}]{f' ({where})' if where else ''}: {problem}; "
            "mend or remove it, or leave bad samples out with skip_bad=True"
        )

    def keep(self) -> None:
        """Read all into memory; bad samples stay out and raise on access."""
        for index, raw in enumerate(self.indices):
            try:
                self.memory[int(raw)] = torch.from_numpy(self.compute(index))
            except DataError:
                continue

    def skip_bad(self) -> tuple[str, ...]:
        """Read every sample once, leave bad ones out, and return what was wrong with them."""
        good, problems = [], []
        for index in range(len(self)):
            try:
                self[index]
            except DataError as error:
                problems.append(str(error).rsplit("; mend or remove", 1)[0])
            else:
                good.append(index)
        self.indices = self.indices[good]
        return tuple(problems)


class DiskCache:
    """Converted samples in the files of tonic's disk cache, written whole; damaged ones are made again."""

    def __init__(self, samples: Samples, folder: Path) -> None:
        self.samples, self.folder = samples, folder

    def read(self, index: int, raw: int) -> np.ndarray:
        """Return sample ``index`` of the split, cached under its number ``raw`` in the source."""
        from tonic import cached_dataset

        path = self.folder / f"{raw}_0.hdf5"  # as tonic's DiskCachedDataset names it
        if path.is_file():
            try:
                data, label = cached_dataset.load_from_disk_cache(path)
                if np.shape(data) == self.samples.shape and label == self.samples.source.labels[raw]:
                    return np.asarray(data)
            except Exception:  # damaged in any way: made again below
                pass
        array = self.samples.compute(index)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot be made ({error.strerror}); choose another folder as cache"
            ) from error
        with atomic_path(path) as temporary:
            cached_dataset.save_to_disk_cache(array, self.samples.source.labels[raw], temporary)
        return array
