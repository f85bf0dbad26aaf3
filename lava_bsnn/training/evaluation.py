"""Accuracy of a model on arrays and datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LavaBsnnError
from ..modes import evaluating
from .batches import Data, as_dataset, loader


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise :class:`LavaBsnnError` unless the labels are classes of the logits ``[N, classes, T]``."""
    if labels.device.type == "cpu":  # elsewhere the device checks
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= logits.shape[1]:
            raise LavaBsnnError(
                f"fit: label {low if low < 0 else high} does not fit the model's {logits.shape[1]} classes; "
                f"use 0..{logits.shape[1] - 1}"
            )


def _batched(dataset: Any, batch_size: int, rank: int, world_size: int) -> list[Tensor]:
    return list(torch.arange(rank, len(dataset), world_size).split(batch_size))


def count_correct(
    model: torch.nn.Module, dataset: Any, batch_size: int, rank: int, world_size: int, num_workers: int
) -> int:
    """Samples of this process's share that the model gets right, in evaluation mode."""
    like = next(model.parameters())
    right = 0
    with evaluating(model):
        batches = _batched(dataset, batch_size, rank, world_size)
        for inputs, labels in loader(dataset, batches, num_workers):
            logits = model(inputs.to(like))
            check_labels(labels, logits)
            right += int((logits.sum(-1).argmax(1).cpu() == labels).sum())
    return right


def predict(model: torch.nn.Module, inputs: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class of the summed logits ``[N]``, in evaluation mode; the model's mode is restored."""
    like = next(model.parameters())
    with evaluating(model):
        parts = [
            model(torch.from_numpy(inputs[start : start + batch_size]).to(like)).sum(-1).argmax(1)
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
