"""Figures of epochs, and which of them is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Figures of one epoch; accuracies, rates and ratios in 0..1.

    Accuracies are None for real targets. With a validation set the test set is used once, at the end: only
    the last and the best epoch have test figures then; without one no epoch has validation figures.

    Attributes:
        loss: mean over the steps of the epoch, all terms.
        validation_loss: of the weights after the epoch, without terms that regulate activity.
        test_loss: likewise.
        firing_rate: spikes per neuron and step in training, mean over the layers, sampled.
        flip_ratio: share of 1-bit weights that changed sign (AGMM eq. 8); None without any.
        learning_rate: of the last step.
        sharpness: t of the annealed gradient (:func:`lava_bsnn.training.anneal`); None without any.
        seconds: wall time, evaluation included.
    """

    epoch: int
    loss: float
    train_accuracy: float | None
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    firing_rate: float = 0.0
    flip_ratio: float | None = None
    learning_rate: float = 0.0
    sharpness: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a run is: figures of the current epoch up to and with this step (counted from 1).

    On a GPU, which is asked only now and then, they may be of up to 16 steps before.
    """

    epoch: int
    step: int
    num_steps: int
    loss: float
    accuracy: float | None
    firing_rate: float


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch of the highest accuracy, and of equal ones of the lowest loss.

    On the validation set; on the test set where there is none.
    """
    return max(history, key=_merit)


def _merit(epoch: Epoch) -> tuple[float, float]:
    accuracy, loss = epoch.validation_accuracy, epoch.validation_loss
    if loss is None:
        accuracy, loss = epoch.test_accuracy, epoch.test_loss
    if loss is None or math.isnan(loss):
        loss = math.inf
    return (-loss, 0.0) if accuracy is None else (accuracy, -loss)


def is_stopped(history: Sequence[Epoch], patience: int | None) -> bool:
    """Whether the last ``patience`` epochs are no better than one before."""
    return patience is not None and bool(history) and len(history) - best_epoch(history).epoch >= patience
