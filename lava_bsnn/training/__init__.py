"""Losses and the training loop."""

from .checkpoint import load_checkpoint, save_checkpoint
from .loop import Epoch, accuracy, fit, predict, seed_everything
from .losses import tet_cross_entropy

__all__ = [
    "Epoch",
    "accuracy",
    "fit",
    "load_checkpoint",
    "predict",
    "save_checkpoint",
    "seed_everything",
    "tet_cross_entropy",
]
