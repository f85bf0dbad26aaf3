"""Which samples make which batch: a function of seed, epoch and process, so that a run can be resumed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from ..errors import LavaBsnnError, LavaBsnnWarning

Arrays = tuple[np.ndarray, np.ndarray]
Data = Arrays | Dataset | DataLoader


class Collated(Dataset[Any]):
    """The dataset of a ``DataLoader`` and how it makes batches."""

    def __init__(self, dataset: Any, collate_fn: Any) -> None:
        self.dataset, self.collate_fn = dataset, collate_fn

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def set_epoch(self, epoch: int) -> None:
        """Tell the dataset, where it asks for it."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


def _unloaded(data: DataLoader, what: str) -> Dataset[Any]:
    """Dataset of a DataLoader, with its ``collate_fn``; what else it has is not taken."""
    order = type(data.batch_sampler if data.batch_size is None else data.sampler).__name__
    if order not in ("SequentialSampler", "RandomSampler", "NoneType"):
        warnings.warn(
            f"fit: {what}: the order of the DataLoader's {order} is not taken, which a resumed run could not "
            "repeat; use sampler='balanced' or a dataset in that order",
            LavaBsnnWarning,
            stacklevel=4,
        )
    return Collated(data.dataset, data.collate_fn)


def as_dataset(data: Data, what: str, classes: bool = True) -> Any:
    """Return a map-style dataset of (input, target) pairs; arrays and DataLoaders are wrapped.

    Args:
        classes: targets of arrays must be classes; else they may be bool or real, too.

    Raises:
        LavaBsnnError: no sample, or inputs and targets that do not fit each other.
    """
    if isinstance(data, tuple):
        inputs, labels = (np.asarray(array) for array in data)
        fits = labels.dtype.kind in "iu" and labels.ndim in (1, 2)
        if not classes:
            fits = fits or (labels.dtype.kind in "fb" and labels.ndim >= 1)
        if not fits or len(inputs) != len(labels):
            wanted = "integers [N]" if classes else "integers [N] or [N, T], bools [N, classes], or floats"
            raise LavaBsnnError(
                f"fit: {what} has inputs {inputs.shape} and labels {labels.shape} of {labels.dtype}; "
                f"use [N, ...] and {wanted}{_hint(inputs, labels)}"
            )
        tensor = torch.from_numpy(np.ascontiguousarray(inputs))
        kinds = {"f": np.float32, "b": np.bool_}
        data = TensorDataset(
            tensor if tensor.dtype == torch.uint8 else tensor.float(),
            torch.from_numpy(labels.astype(kinds.get(labels.dtype.kind, np.int64))),
        )
    source = data.dataset if isinstance(data, DataLoader) else data
    if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
        raise LavaBsnnError(
            f"fit: {what} is a {type(source).__name__}; use a tuple of arrays, a dataset with a length, or a "
            "DataLoader of one"
        )
    if isinstance(data, DataLoader):
        data = _unloaded(data, what)
    if not len(data):  # type: ignore[arg-type]
        raise LavaBsnnError(f"fit: {what} is empty; give at least one sample")
    return data


def _hint(inputs: np.ndarray, labels: np.ndarray) -> str:
    """What makes arrays fit that come in another usual form."""
    if labels.ndim == 2 and ((labels != 0).sum(1) == 1).all():
        return "; one-hot labels become classes by labels.argmax(1)"
    if inputs.ndim > 2 and labels.ndim == 1 and inputs.shape[1] == len(labels) != len(inputs):
        return "; time is last: np.moveaxis(x, 0, -1) of [T, N, ...]"
    return ""


def labels_of(dataset: Any) -> np.ndarray:
    """Classes ``[N]`` of a dataset: what it says of them, else those of its samples, read one by one.

    Raises:
        LavaBsnnError: targets that are no classes.
    """
    found: Any = None
    if isinstance(dataset, TensorDataset):
        found = dataset.tensors[1]
    elif hasattr(dataset, "source") and hasattr(dataset, "indices"):  # data.Samples
        found = dataset.source.labels[dataset.indices]
    elif hasattr(dataset, "dataset"):  # Subset, Augmented, Mapped, Collated
        inner = labels_of(dataset.dataset)
        found = inner[np.asarray(dataset.indices)] if hasattr(dataset, "indices") else inner
    else:
        for name in ("labels", "targets"):
            values = np.asarray(getattr(dataset, name, ()))
            if values.shape == (len(dataset),) and values.dtype.kind in "iu":
                found = values
        if found is None:
            found = [np.asarray(dataset[index][1]) for index in range(len(dataset))]
    labels = np.asarray(found)
    if labels.shape != (len(dataset),) or labels.dtype.kind not in "iu":
        raise LavaBsnnError(
            f"fit: targets {labels.shape} of {labels.dtype} are no classes [N], by which samples are "
            "balanced or held out; leave sampler, class_weights and validation_fraction out"
        )
    return labels


def as_input(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Inputs on the model's device and in its precision; pixels in uint8 stay what they are."""
    like = next(model.parameters())
    blocks = getattr(model, "blocks", model)
    encoding = getattr(next(iter(blocks), None), "encoding", None) if hasattr(blocks, "__iter__") else None  # type: ignore[arg-type]
    if inputs.dtype == torch.uint8 and encoding is not None:
        return inputs.to(like.device)
    return inputs.to(like)


def mixed_seed(*parts: int) -> int:
    """Mix integers to a seed of 63 bits; near parts give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


def epoch_batches(
    num_samples: int, batch_size: int, seed: int, epoch: int, weights: Tensor | None = None
) -> list[Tensor]:
    """Sample indices of an epoch in ``num_samples // batch_size`` batches of about equal size.

    Args:
        weights: float64 ``[num_samples]``: chance of each sample, drawn with replacement; without, each
            sample comes once, in random order.
    """
    generator = torch.Generator().manual_seed(mixed_seed(seed, epoch))
    if weights is None:
        order = torch.randperm(num_samples, generator=generator)
    else:
        order = torch.multinomial(weights, num_samples, replacement=True, generator=generator)
    return list(order.tensor_split(max(1, num_samples // batch_size)))


def balanced(labels: np.ndarray) -> Tensor:
    """Chance of each sample, float64 ``[N]``, with which all classes that occur are drawn alike."""
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return torch.from_numpy(1.0 / counts[places])


def share(batch: Tensor, rank: int, world_size: int) -> Tensor:
    """Part of a batch for one process; what cannot be divided evenly is left out."""
    size = len(batch) // world_size
    return batch[rank * size : (rank + 1) * size]


def loader(dataset: Any, batches: list[Tensor], num_workers: int, pin: bool = False) -> Iterator[Any]:
    """Iterate over ``(inputs, labels)`` for lists of sample indices."""
    indices = [batch.tolist() for batch in batches]
    collate = getattr(dataset, "collate_fn", _stacked)
    return iter(
        DataLoader(
            dataset, batch_sampler=indices, num_workers=num_workers, pin_memory=pin, collate_fn=collate
        )
    )


def _stacked(samples: list[Any]) -> Any:
    shapes = sorted({tuple(np.shape(sample[0])) for sample in samples}) if samples[0] else []
    if len(shapes) > 1:
        raise LavaBsnnError(
            f"fit: samples of shapes {shapes[0]} and {shapes[1]} are in one set; bring all to one number of "
            "steps and one size"
        )
    return default_collate(samples)
