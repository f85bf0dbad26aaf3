"""Training curves, spike rasters and membrane traces, in one colour-blind-safe style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import BLUE, GREEN, GREY, ORANGE, integers, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_training(history: Sequence[Any], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw losses of epochs of ``fit`` on the first of two axes, accuracies in percent on the second.

    Test figures that only some epochs have, as with a validation set, are single marks.
    """
    epochs = [epoch.epoch for epoch in history]
    loss_axes, accuracy_axes = axes
    for label, name, colour, dashes in (
        ("training set", "train", BLUE, "-"),
        ("validation set", "validation", GREEN, "-."),
        ("test set", "test", ORANGE, "--"),
    ):
        losses = [getattr(epoch, "loss" if name == "train" else f"{name}_loss", None) for epoch in history]
        accuracies = [getattr(epoch, f"{name}_accuracy", None) for epoch in history]
        percent = [None if value is None else 100 * value for value in accuracies]
        for one, values in ((loss_axes, losses), (accuracy_axes, percent)):
            known = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
            if known:
                few = len(known) < len(epochs)
                one.plot(
                    *zip(*known, strict=True),
                    color=colour,
                    linestyle="" if few else dashes,
                    marker="o" if few else "",
                    label=label,
                )
    loss_axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(None, 100.5))
    if accuracy_axes.lines:  # the same lines as those of the losses
        accuracy_axes.legend(frameon=False, loc="lower right")
    else:
        loss_axes.legend(frameon=False, loc="best")
    for one in axes:
        one.xaxis.set_major_locator(integers())
        tidy(one)
    return axes


def plot_raster(spikes: np.ndarray, axes: Axes, *, title: str = "", most: int = 100) -> Axes:
    """Draw the spikes of one sample of one layer, a cell per neuron and time step.

    Args:
        spikes: bool ``[*shape, T]``; neurons are numbered in C, H, W order.
        title: the layer's name; the mean firing rate is added.
        most: neurons to draw; of a larger layer every k-th is drawn, as the axis says.
    """
    from matplotlib.colors import ListedColormap

    flat = spikes.reshape(-1, spikes.shape[-1])
    every = -(-len(flat) // most)
    axes.imshow(
        flat[::every],
        cmap=ListedColormap(["white", BLUE]),
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(-0.5, flat.shape[1] - 0.5, 0, len(flat)),
    )
    which = "neuron" if every == 1 else f"neuron (1 in {every} drawn)"
    axes.set(xlabel="time step", ylabel=which)
    axes.set_title(f"{short(title)}, {flat.mean():.0%} fire per step".strip(", "), fontsize="medium")
    axes.xaxis.set_major_locator(integers())
    return tidy(axes)


def plot_membrane(
    potential: np.ndarray, spikes: np.ndarray, threshold: float, axes: Axes, *, title: str = ""
) -> Axes:
    """Draw one neuron's membrane potential, its threshold, resets and spikes.

    Args:
        potential: ``[T]`` before reset, in the threshold's unit.
        spikes: bool ``[T]``.
        threshold: firing threshold.
        title: which neuron.
    """
    steps = np.arange(len(potential))
    times = np.repeat(steps, 2).astype(float)
    trace = np.stack([potential, np.where(spikes, 0, potential)], axis=1).reshape(-1)
    axes.plot(times, trace, color=BLUE, linestyle="-", marker="", label="membrane potential")
    axes.plot(steps, potential, ".", color=BLUE)
    axes.axhline(threshold, color=ORANGE, linestyle="--", label="threshold")
    fired = np.flatnonzero(spikes)
    axes.plot(fired, potential[fired], "^", color=GREEN, markersize=8, label="spike, reset to 0")
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.set(xlabel="time step", ylabel="potential (thresholds)")
    axes.set_title(title, loc="right", fontsize="medium")
    axes.xaxis.set_major_locator(integers())
    axes.legend(frameon=False, fontsize="small", ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return tidy(axes)
