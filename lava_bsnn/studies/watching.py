"""What is looked at in a cell while it trains: gradients of 1-bit weights, epoch by epoch."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import torch

from .. import analysis
from ..analysis._model import latent_weight, select
from ..data import Splits
from ..files import atomic_path
from ..training import Epoch, Recipe, anneal, load_run
from ..training.batches import as_input
from ..training.build import build_loss, class_weights_of
from .measuring import rounded

GRADIENTS = "gradients.csv"
"""In the folder of a cell, a row per epoch."""
FIGURES = ("gradient_mean", "gradient_spread", "gradient_to_weight")
_BATCHES = 8


class GradientWatch:
    """Gradients of a run's 1-bit weights after each epoch, over eight batches of training samples.

    Per layer and batch: the mean over the layer's weights, as a magnitude; their standard deviation, the
    root of AGMM's variance (eq. 9-10); and that over the mean magnitude of the latent weights, which their
    scale does not change. Batches and layers are averaged. The network is that of the checkpoint, with batch
    norm in training mode; the one that is trained is not touched.

    Args:
        recipe: of the run.
        run: its folder.
        splits: its data, without augmentation.
        path: file of the figures; those of epochs before a resume are kept.
    """

    def __init__(self, recipe: Recipe, run: Path, splits: Splits, path: Path) -> None:
        self._recipe, self._run, self._path = recipe, run, path
        self._class_weights = class_weights_of(recipe, splits)
        size = recipe.batch_size
        count = min(_BATCHES * size, len(splits.train))
        count -= count % size if count > size else 0  # no rest of a few samples
        pairs = [splits.train[index] for index in range(count)]
        inputs, labels = (
            torch.stack([torch.as_tensor(one) for one in part]) for part in zip(*pairs, strict=True)
        )
        self._batches = list(zip(inputs.split(size), labels.split(size), strict=True))

    def __call__(self, epoch: Epoch) -> None:
        """Take the figures of the weights after an epoch."""
        if epoch.flip_ratio is None:  # there are no 1-bit weights
            return
        model = load_run(self._run)[1].train()
        anneal(model, epoch.epoch - 1, self._recipe.epochs)
        loss = build_loss(self._recipe, model, self._class_weights)
        scales = {
            name: float(latent_weight(synapse).detach().abs().mean())
            for name, synapse in select(model, "binary", "study").items()
        }
        found = []
        for inputs, labels in self._batches:
            model.zero_grad()
            loss(model(as_input(model, inputs)), labels).backward()
            for name, one in analysis.gradient_statistics(model).items():
                spread = math.sqrt(one.variance)
                found.append((abs(one.mean), spread, spread / max(scales[name], 1e-12)))
        figures = {**_by_epoch(self._path), epoch.epoch: [rounded(one) for one in np.mean(found, 0)]}
        with atomic_path(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("epoch", *FIGURES))
            rows.writerows((number, *values) for number, values in sorted(figures.items()))


def gradient_curves(path: Path) -> dict[str, list[float]]:
    """Each of :data:`FIGURES` by epoch; empty without 1-bit weights."""
    figures = [values for _, values in sorted(_by_epoch(path).items())]
    return {name: list(values) for name, values in zip(FIGURES, zip(*figures, strict=True), strict=False)}


def _by_epoch(path: Path) -> dict[int, list[float]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return {int(number): [float(value) for value in values] for number, *values in rows}
