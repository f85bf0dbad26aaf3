"""Accuracy of a model on arrays and datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LavaBsnnError
from ..modes import evaluating
from .batches import Data, as_dataset, as_input, loader


def check_batch(split: str, indices: Tensor, inputs: Any, labels: Any) -> None:
    """Raise :class:`LavaBsnnError` that names the sample unless inputs are finite and labels int64."""
    if not isinstance(inputs, Tensor) or not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kinds = [f"{v.dtype} tensor" if isinstance(v, Tensor) else type(v).__name__ for v in (inputs, labels)]
        raise LavaBsnnError(
            f"fit: {split} gives batches of {' and '.join(kinds)}; use pairs of a tensor and an integer"
        )
    finite = torch.isfinite(inputs)
    if not finite.all():
        bad = int((~finite).flatten(1).any(1).nonzero()[0])
        raise LavaBsnnError(f"fit: {split}[{int(indices[bad])}] holds values that are not finite; mend it")


def check_classes(split: str, indices: Tensor, labels: Tensor, logits: Tensor) -> None:
    """Raise :class:`LavaBsnnError` unless labels are classes of the logits ``[N, classes, T]``."""
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if wrong.any():
        bad = int(wrong.nonzero()[0])
        raise LavaBsnnError(
            f"fit: {split}[{int(indices[bad])}]: label {int(labels[bad])} does not fit the model's "
            f"{logits.shape[1]} classes; use 0..{logits.shape[1] - 1}"
        )


def _batched(dataset: Any, batch_size: int, rank: int, world_size: int) -> list[Tensor]:
    return list(torch.arange(rank, len(dataset), world_size).split(batch_size))


def count_correct(
    model: torch.nn.Module, dataset: Any, batch_size: int, rank: int, world_size: int, num_workers: int
) -> int:
    """Samples of this process's share that the model gets right, in evaluation mode."""
    right: Any = 0
    with evaluating(model):
        batches = _batched(dataset, batch_size, rank, world_size)
        for indices, (inputs, labels) in zip(batches, loader(dataset, batches, num_workers), strict=True):
            check_batch("test", indices, inputs, labels)
            logits = model(as_input(model, inputs))
            check_classes("test", indices, labels, logits)
            right = right + (logits.sum(-1).argmax(1) == labels.to(logits.device, non_blocking=True)).sum()
    return int(right)


def predict(model: torch.nn.Module, inputs: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class of the summed logits ``[N]``, in evaluation mode; the model's mode is restored."""
    with evaluating(model):
        parts = [
            model(as_input(model, torch.from_numpy(inputs[start : start + batch_size]))).sum(-1).argmax(1)
            for start in range(0, len(inputs), batch_size)
        ]
    result: np.ndarray = torch.cat(parts).cpu().numpy()
    return result


def accuracy(model: torch.nn.Module, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples that :func:`predict` gets right, in 0..1."""
    return evaluate(model, (inputs, labels), batch_size=256)


def evaluate(model: torch.nn.Module, data: Data, *, batch_size: int = 64, num_workers: int = 0) -> float:
    """Share of samples whose class of the summed logits is right, in 0..1, in evaluation mode."""
    dataset = as_dataset(data, "test")
    return count_correct(model, dataset, batch_size, 0, 1, num_workers) / len(dataset)
