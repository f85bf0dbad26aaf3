"""Training curves, spike rasters and membrane traces, in one colour-blind-safe style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import BLUE, GREEN, GREY, ORANGE, integers, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_training(history: Sequence[Any], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the loss of epochs of ``fit`` on the first of two axes, accuracies in percent on the second."""
    epochs = [epoch.epoch for epoch in history]
    loss_axes, accuracy_axes = axes
    loss_axes.plot(epochs, [epoch.loss for epoch in history], color=BLUE)
    loss_axes.set(xlabel="epoch", ylabel="training loss (nats)", ylim=(0, None))
    for label, colour, dashes, values in (
        ("training set", BLUE, "-", [100 * epoch.train_accuracy for epoch in history]),
        ("test set", ORANGE, "--", [100 * epoch.test_accuracy for epoch in history]),
    ):
        accuracy_axes.plot(epochs, values, color=colour, linestyle=dashes, label=label)
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(None, 100.5))
    accuracy_axes.legend(frameon=False, loc="lower right")
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
