"""Parts of the training set, by class: some samples of it, and a validation set that is held out."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from .. import data
from ..data.augment import Augmented, Mapped
from ..data.samples import DiskCache, Samples
from ..data.slicing import SlicedSource
from ..data.sources import stratified
from ..errors import OptionError
from .batches import labels_of


class Part(Dataset[Any]):
    """Some samples of a dataset, which is told the epoch."""

    def __init__(self, dataset: Any, indices: np.ndarray) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def set_epoch(self, epoch: int) -> None:
        """Tell the dataset, where it asks for it."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


def keep_some(splits: data.Splits, number: int | None, seed: int) -> data.Splits:
    """Keep so many training samples, the same share of each class; None keeps all.

    The same seed keeps the same samples. Sets too small to have each class are drawn without regard to class.

    Raises:
        OptionError: there are not so many.
    """
    if number is None:
        return splits
    labels = labels_of(splits.train)
    if number > len(labels):
        raise OptionError(
            f"recipe: train_samples={number} is not allowed: there are {len(labels)}; use as many or fewer"
        )
    if number == len(labels):
        return splits
    kept = np.sort(
        stratified(labels, splits.info.num_classes, (number - 0.5) / len(labels), seed)[1]
    )  # rounded up
    note = f"{number} of {len(labels)} training samples, drawn with split_seed={seed}"
    return dataclasses.replace(splits, train=_train_part(splits.train, kept), notes=(*splits.notes, note))


def hold_out(splits: data.Splits, fraction: float, seed: int) -> data.Splits:
    """Move a share of the training set, by class, to ``validation``, without augmentation.

    Splits with a validation set, and those for a share of 0, stay as they are. The same seed gives the same
    split.

    Raises:
        OptionError: too few samples.
    """
    if splits.validation is not None or not fraction:
        return splits
    train: Any = splits.train
    labels = labels_of(train)
    groups = _recordings(train)
    number = len(labels if groups is None else np.unique(groups))
    if not number:  # left out, all of them
        return splits
    if number < 2:
        raise OptionError(
            f"recipe: validation_fraction={fraction}: {number} training sample cannot be split; use 0"
        )
    kept, held = _divided(labels, groups, splits.info.num_classes, fraction, seed)
    samples, test = getattr(train, "dataset", None), getattr(splits.test, "dataset", None)
    validation: Any
    if isinstance(train, Augmented) and isinstance(samples, Samples) and isinstance(test, Samples):
        validation = Mapped(_some(samples, held, "validation", like=test), splits.test.transform)
    else:
        validation = Part(train, held)
    note = f"{len(held)} training samples held out for validation with split_seed={seed}"
    notes = (*splits.notes, note)
    return dataclasses.replace(splits, train=_train_part(train, kept), validation=validation, notes=notes)


def _train_part(train: Any, kept: np.ndarray) -> Any:
    """Some of the training samples, augmented as before."""
    samples = getattr(train, "dataset", None)
    if isinstance(train, Augmented) and isinstance(samples, Samples):
        return Augmented(_some(samples, kept, "train", like=samples), train.transform, train.seed)
    return Part(train, kept)


def _recordings(train: Any) -> np.ndarray | None:
    """Recording of each sample ``[N]``, where recordings were cut into several samples."""
    samples = getattr(train, "dataset", None)
    source = getattr(samples, "source", None)
    if not isinstance(source, SlicedSource):
        return None
    return np.array([recording for recording, _ in source.slices])[samples.indices]  # type: ignore[union-attr]


def _divided(
    labels: np.ndarray, groups: np.ndarray | None, num_classes: int, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of what is kept and held out; samples of a group stay together."""
    if groups is None:
        return stratified(labels, num_classes, fraction, seed)[:2]
    names, first = np.unique(groups, return_index=True)
    _, held, _ = stratified(labels[first], num_classes, fraction, seed)
    apart = np.isin(groups, names[held])
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _some(samples: Samples, indices: np.ndarray, split: str, like: Samples) -> Samples:
    """Samples of a split, sized as those of another are; what is kept of them stays."""
    some = copy.copy(samples)
    some.indices, some.split = samples.indices[indices], split
    some.convert, some.shape = like.convert, like.shape
    if samples.disk is not None:
        some.disk = DiskCache(some, samples.disk.folder)
    return some
