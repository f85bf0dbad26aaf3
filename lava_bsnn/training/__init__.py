"""Losses and the training loop."""

from .checkpoint import load_checkpoint, save_checkpoint
from .loop import Epoch, accuracy, fit, predict, seed_everything
from .losses import (
    SpikeRegulation,
    TotalLoss,
    rate_cross_entropy,
    spike_regulation,
    tet_cross_entropy,
)

__all__ = [
    "Epoch",
    "SpikeRegulation",
    "TotalLoss",
    "accuracy",
    "fit",
    "load_checkpoint",
    "predict",
    "rate_cross_entropy",
    "save_checkpoint",
    "seed_everything",
    "spike_regulation",
    "tet_cross_entropy",
]
