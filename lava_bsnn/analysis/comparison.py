"""Figures of runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import integers, line, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..training.comparing import RunComparison, RunGroup

CURVES = {
    "accuracy": ("validation_accuracy", "test_accuracy"),
    "loss": ("loss",),
    "firing_rate": ("firing_rate",),
    "flip_ratio": ("flip_ratio",),
}
"""Columns of ``metrics.csv`` that a curve may show; the first that a run has is drawn."""
_LABELS = {
    "accuracy": "accuracy (%)",
    "loss": "training loss (nats)",
    "firing_rate": "firing rate (%)",
    "flip_ratio": "weight signs flipped (%)",
}
_LONG = 34


def _rows(group: RunGroup, what: str) -> np.ndarray:
    """Values ``[runs, epochs]`` of the runs that have some; NaN where a run is shorter."""
    curves = [run.curve(*CURVES[what]) for run in group.runs]
    curves = [curve for curve in curves if curve]
    rows = np.full((len(curves), max((len(curve) for curve in curves), default=0)), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve)] = [np.nan if value is None else value for value in curve]
    return rows


def plot_curves(comparison: RunComparison, axes: Axes, what: str = "accuracy") -> Axes:
    """Draw a figure over the epochs: the mean of each group of runs, and a band of its deviation.

    Args:
        what: ``"accuracy"`` (of the validation set where there is one, else of the test set), ``"loss"``,
            ``"firing_rate"`` or ``"flip_ratio"``.
    """
    factor = 1 if what == "loss" else 100
    for index, group in enumerate(comparison.groups):
        rows = factor * _rows(group, what)
        if not rows.size:
            continue
        known = ~np.isnan(rows)
        counts = known.sum(0)
        steps = np.flatnonzero(counts)
        mean = np.nansum(rows, 0)[steps] / counts[steps]
        look: dict[str, Any] = {**line(index), "marker": "" if len(steps) > 20 else line(index)["marker"]}
        axes.plot(steps + 1, mean, label=_short(group.name), lw=1.5, ms=4, **look)
        centred = np.where(known, rows, 0)[:, steps] - mean * known[:, steps]
        spread = np.sqrt((centred**2).sum(0) / np.maximum(counts[steps] - 1, 1))
        if len(rows) > 1:
            low, high = mean - spread, mean + spread
            if what != "loss":  # a share
                low, high = np.clip(low, 0, 100), np.clip(high, 0, 100)
            axes.fill_between(steps + 1, low, high, color=look["color"], alpha=0.2, lw=0)
    held_out = any(run.curve("validation_accuracy") for group in comparison.groups for run in group.runs)
    prefix = "" if what != "accuracy" else "validation " if held_out else "test "
    axes.set(xlabel="epoch", ylabel=f"{prefix}{_LABELS[what]}")
    axes.xaxis.set_major_locator(integers())
    return tidy(axes)


def plot_comparison(comparison: RunComparison, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw accuracy over epochs on the first of two axes, the finished runs' test accuracy on the second.

    Bands and error bars are the standard deviation over the seeds of a group; points are its runs.
    """
    curves, ends = axes
    plot_curves(comparison, curves)
    curves.margins(y=0.08)
    names = []
    for index, group in enumerate(comparison.groups):
        names.append(_short(group.name))
        values = 100 * np.array(group.values("test_accuracy"))
        if not len(values):
            continue
        colour = line(index)["color"]
        deviation = group.deviation("test_accuracy")
        ends.errorbar(
            values.mean(),
            index,
            xerr=None if deviation is None else 100 * deviation,
            color=colour,
            marker=line(index)["marker"],
            linestyle="",
            capsize=4,
            ms=7,
        )
        ends.plot(
            values, np.full(len(values), index - 0.22), "o", color=colour, ms=5, mfc="none", linestyle=""
        )
    ends.set_yticks(range(len(names)), names, fontsize="small")
    ends.set_ylim(len(names) - 0.4, -0.6)
    ends.set(xlabel="test accuracy (%): runs, mean and deviation")
    ends.margins(x=0.15)
    ends.grid(axis="x", alpha=0.3)
    tidy(ends)
    return axes


def _short(name: str) -> str:
    """A name in lines that fit beside a figure."""
    lines, current = [], ""
    for part in name.split(", "):
        if current and len(current) + len(part) + 2 > _LONG:
            lines.append(current + ",")
            current = part
        else:
            current = f"{current}, {part}" if current else part
    return "\n".join([*lines, current])
