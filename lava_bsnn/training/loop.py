"""A plain training loop for data that fits into memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import LavaBsnnError
from ..modes import evaluating
from .losses import tet_cross_entropy


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Figures of one epoch; accuracies in 0..1."""

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float


def seed_everything(seed: int) -> None:
    """Seed torch, numpy and Python."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def adamw(parameters: Iterator[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW with learning rate 2e-3 and weight decay 1e-4."""
    return torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-4)


def fit(
    model: torch.nn.Module,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int,
    batch_size: int = 64,
    optimizer: Callable[[Iterator[torch.nn.Parameter]], torch.optim.Optimizer] = adamw,
    seed: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] = tet_cross_entropy,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train with a cosine schedule; the same seed gives the same weights.

    Args:
        model: maps ``[N, ...]`` to logits per step ``[N, classes, T]``.
        train, test: images and labels.
        optimizer: makes the optimizer of the parameters.
        on_epoch: called after each epoch.

    Raises:
        LavaBsnnError: the loss is not finite.
    """
    seed_everything(seed)
    optimize = optimizer(model.parameters())
    device = next(model.parameters()).device
    images, labels = (torch.from_numpy(array).to(device) for array in train)
    batches = max(1, len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimize, epochs * batches)
    history = []
    for epoch in range(1, epochs + 1):
        model.train()
        total, correct, seen = 0.0, 0, 0
        for index in torch.randperm(len(images)).tensor_split(batches):
            logits = model(images[index])
            value = loss(logits, labels[index])
            if not torch.isfinite(value):
                raise LavaBsnnError(
                    f"fit: the loss is {value.item()} in epoch {epoch}; use a smaller learning rate"
                )
            optimize.zero_grad()
            value.backward()
            optimize.step()
            schedule.step()
            total += float(value.detach()) * len(index)
            correct += int((logits.detach().sum(-1).argmax(1) == labels[index]).sum())
            seen += len(index)
        history.append(
            Epoch(
                epoch=epoch,
                loss=total / seen,
                train_accuracy=correct / seen,
                test_accuracy=accuracy(model, *test),
            )
        )
        if on_epoch is not None:
            on_epoch(history[-1])
    return history


def predict(model: torch.nn.Module, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class of the summed logits ``[N]``, in evaluation mode; the model's mode is restored."""
    device = next(model.parameters()).device
    with evaluating(model):
        parts = [
            model(torch.from_numpy(images[start : start + batch_size]).to(device)).sum(-1).argmax(1)
            for start in range(0, len(images), batch_size)
        ]
    result: np.ndarray = torch.cat(parts).cpu().numpy()
    return result


def accuracy(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples that :func:`predict` gets right, in 0..1."""
    return float((predict(model, images) == labels).mean())
