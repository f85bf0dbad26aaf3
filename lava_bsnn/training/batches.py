"""Which samples make which batch: a function of seed, epoch and process, so that a run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ..errors import LavaBsnnError

Arrays = tuple[np.ndarray, np.ndarray]
Data = Arrays | Dataset


def as_dataset(data: Data, what: str) -> Any:
    """Return a map-style dataset of (input, label) pairs; arrays are wrapped.

    Raises:
        LavaBsnnError: no sample, or inputs and labels that do not fit each other.
    """
    if isinstance(data, tuple):
        inputs, labels = (np.asarray(array) for array in data)
        if len(inputs) != len(labels) or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise LavaBsnnError(
                f"fit: {what} has inputs {inputs.shape} and labels {labels.shape} of {labels.dtype}; "
                "use [N, ...] and integers [N]"
            )
        tensor = torch.from_numpy(np.ascontiguousarray(inputs))
        data = TensorDataset(
            tensor if tensor.dtype == torch.uint8 else tensor.float(),
            torch.from_numpy(labels.astype(np.int64)),
        )
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise LavaBsnnError(
            f"fit: {what} is a {type(data).__name__}; use a tuple of arrays or a dataset with a length"
        )
    if not len(data):  # type: ignore[arg-type]
        raise LavaBsnnError(f"fit: {what} is empty; give at least one sample")
    return data


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


def epoch_batches(num_samples: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Shuffled sample indices of an epoch in ``num_samples // batch_size`` batches of about equal size."""
    generator = torch.Generator().manual_seed(mixed_seed(seed, epoch))
    order = torch.randperm(num_samples, generator=generator)
    return list(order.tensor_split(max(1, num_samples // batch_size)))


def share(batch: Tensor, rank: int, world_size: int) -> Tensor:
    """Part of a batch for one process; what cannot be divided evenly is left out."""
    size = len(batch) // world_size
    return batch[rank * size : (rank + 1) * size]


def loader(dataset: Any, batches: list[Tensor], num_workers: int, pin: bool = False) -> Iterator[Any]:
    """Iterate over ``(inputs, labels)`` for lists of sample indices."""
    indices = [batch.tolist() for batch in batches]
    return iter(DataLoader(dataset, batch_sampler=indices, num_workers=num_workers, pin_memory=pin))
