"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 20
"""Classes up to which cells hold their counts."""
_LETTERS = 48
"""Letters for which there is room below the matrix; longer names stand upright."""
_NAMED = 100
"""Classes up to which each has its name at the axes."""


def plot_confusion(confusion: np.ndarray, axes: Axes, classes: Sequence[str] = ()) -> Axes:
    """Draw a confusion matrix; colours are shares of each true class, numbers are samples.

    Args:
        confusion: counts ``[classes, classes]``, a row per true class, a column per predicted one.
        classes: their names; without, their numbers.
    """
    from matplotlib.colors import PowerNorm

    number = len(confusion)
    totals = confusion.sum(1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    norm = PowerNorm(0.5, vmin=0, vmax=100)  # so that rare confusions are seen
    image = axes.imshow(100 * shares, cmap="Blues", norm=norm, interpolation="nearest")
    bar = axes.figure.colorbar(
        image, ax=axes, shrink=0.6, pad=0.02, aspect=30, ticks=[0, 1, 5, 10, 20, 40, 60, 80, 100]
    )
    bar.set_label("share of the true class (%)")
    every = -(-number // _NAMED)
    places = range(0, number, every)
    names = [classes[place] if classes else str(place) for place in places]
    size = "small" if number <= _NUMBERED else 6.5
    upright = len(names) * (max(map(len, names)) + 1) > _LETTERS or number > _NUMBERED
    axes.set_xticks(places, names, rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.tick_params(length=0 if number <= _NAMED else 2)
    which = "class" if every == 1 else f"class (1 in {every} named)"
    axes.set(xlabel=f"predicted {which}", ylabel=f"true {which}")
    if number <= _NUMBERED:
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if shares[row, column] > 0.35 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=colour)
    elif number <= _NAMED:
        axes.set_xticks(np.arange(-0.5, number), minor=True)
        axes.set_yticks(np.arange(-0.5, number), minor=True)
        axes.grid(which="minor", color="#dddddd", linewidth=0.3)
        axes.tick_params(which="minor", length=0)
    return axes


def confusion_figure(confusion: np.ndarray, classes: Sequence[str] = ()) -> Figure:
    """A figure of :func:`plot_confusion`, large enough for the names of up to 100 classes."""
    from matplotlib.figure import Figure

    number = min(len(confusion), _NAMED)
    side = 2.4 + (0.4 if number <= _NUMBERED else 0.115) * number
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    plot_confusion(confusion, figure.subplots(), classes)
    right = confusion.diagonal().sum() / max(1, confusion.sum())
    figure.suptitle(f"{confusion.sum():,} samples, {right:.2%} right", fontsize="medium")
    return figure
