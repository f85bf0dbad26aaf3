"""Figure of a study: accuracy with intervals, what deployment leaves of it, flips and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis._style import LINES, integers, line, tidy
from ..files import atomic_path
from .gathering import Gathered, Row
from .statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(found: Gathered, path: Path) -> Path | None:
    """Draw a row of axes per set; None, and no file, without results."""
    from matplotlib.figure import Figure

    sets = {name: rows for name in found.study.sets if (rows := found.rows_of(name))}
    if not sets:
        return None
    panels = {name: _panels(rows) for name, rows in sets.items()}
    most = max(len(one) for one in panels.values())
    columns = 2 if most == 4 else most
    lines = most // columns
    heights = [max(2.8, 1.3 + 0.3 * len(rows)) for rows in sets.values() for _ in range(lines)]
    figure: Any = Figure(figsize=(3 + 4 * columns, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for row_axes, (name, rows) in zip(axes.reshape(len(sets), -1), sets.items(), strict=True):
        row_axes[0].set_title(name, loc="left")
        for panel, one in zip(panels[name], row_axes, strict=False):
            panel(rows, one)
        for one in row_axes[len(panels[name]) :]:
            one.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path


def _panels(rows: Sequence[Row]) -> list[Callable[[Sequence[Row], Axes], Axes]]:
    """What can be drawn of a set."""
    panels: dict[Callable[[Sequence[Row], Axes], Axes], bool] = {
        plot_accuracies: True,
        plot_stages: any(_losses(row) for row in rows),
        plot_steps: any(_steps(row).size for row in rows),
        plot_flips: any(_flips(row).size for row in rows),
    }
    return [panel for panel, there in panels.items() if there]


def plot_accuracies(rows: Sequence[Row], axes: Axes) -> Axes:
    """Draw test accuracy per variant: mean, 95 % interval, and a ring per seed."""
    for index, row in enumerate(rows):
        values = [100 * value for value in row.values("accuracy")]
        mean = row.interval("accuracy")
        look = _look(index)
        if mean is None:
            continue
        axes.errorbar(
            100 * mean.mean,
            index,
            xerr=None if mean.half is None else 100 * mean.half,
            color=look["color"],
            marker=look["marker"],
            linestyle="",
            capsize=4,
            ms=6,
        )
        axes.plot(values, np.full(len(values), index - 0.25), "o", color=look["color"], ms=4, mfc="none")
    axes.set_yticks(range(len(rows)), [f"{row.variant} ({len(row.results)})" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.set(xlabel="test accuracy (%), mean and 95 % interval")
    axes.margins(x=0.1)
    axes.grid(axis="x", alpha=0.3)
    return tidy(axes)


def plot_stages(rows: Sequence[Row], axes: Axes) -> Axes:
    """Draw accuracy in integers less that of the trained network by stage: mean and 95 % interval."""
    names = list(dict.fromkeys(name for row in rows for name in _losses(row)))
    width = 0.7 / max(1, len(rows))
    for index, row in enumerate(rows):
        losses = _losses(row)
        if losses:
            axes.errorbar(
                [names.index(name) + (index - (len(rows) - 1) / 2) * width for name in losses],
                [100 * loss.mean for loss in losses.values()],
                yerr=[0.0 if loss.half is None else 100 * loss.half for loss in losses.values()],
                **{**_look(index), "linestyle": ""},
                capsize=2,
                ms=4,
            )
    axes.axhline(0, color="0.6", lw=1, zorder=0)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set(xlim=(-0.5, len(names) - 0.5), ylabel="change of accuracy (points)")
    return tidy(axes)


def plot_flips(rows: Sequence[Row], axes: Axes) -> Axes:
    """Draw the share of 1-bit weights that change sign, epoch by epoch, mean over the seeds."""
    for index, row in enumerate(rows):
        flips = 100 * _flips(row)
        if flips.size:
            mean = np.nanmean(flips, 0)
            look = _look(index)
            if len(mean) > 20:
                look["marker"] = ""
            axes.plot(np.arange(len(mean)) + 1, mean, label=row.variant, lw=1.5, ms=4, **look)
    axes.set(xlabel="epoch", ylabel="weight signs flipped (%)", ylim=(0, None))
    axes.xaxis.set_major_locator(integers())
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return tidy(axes)


def plot_steps(rows: Sequence[Row], axes: Axes) -> Axes:
    """Draw flips of an epoch against the length of its last steps, a line per variant through its epochs."""
    for index, row in enumerate(rows):
        flips, steps = 100 * _flips(row), _steps(row)
        if flips.size and steps.size:
            axes.plot(np.nanmean(steps, 0), np.nanmean(flips, 0), lw=1, ms=4, **_look(index))
    axes.set(xlabel="learning rate x gradient spread / mean |weight|", ylabel="weight signs flipped (%)")
    axes.set(xscale="log", yscale="log")
    return tidy(axes)


def _losses(row: Row) -> dict[str, Interval]:
    """Accuracy lost in each stage that was not refused."""
    names = list(dict.fromkeys(name for result in row.results.values() for name in result["deployed"]))
    return {name: loss for name in names if (loss := row.loss(name)) is not None}


def _flips(row: Row) -> np.ndarray:
    return _curves(row, "flip_ratio")


def _steps(row: Row) -> np.ndarray:
    gradients, rates = _curves(row, "gradient_to_weight"), _curves(row, "learning_rate")
    return gradients * rates if gradients.shape == rates.shape else np.empty((0, 0))


def _curves(row: Row, name: str) -> np.ndarray:
    """A curve ``[seeds, epochs]``; NaN where a seed has fewer epochs, no columns without any."""
    curves = [result["history"].get(name) for result in row.results.values()]
    known = [[np.nan if value is None else value for value in curve] for curve in curves if curve]
    length = max((len(curve) for curve in known), default=0)
    rows = [curve + [np.nan] * (length - len(curve)) for curve in known]
    return np.array(rows).reshape(len(rows), length)


def _look(index: int) -> dict[str, Any]:
    """As :func:`line`; dashes and markers go on where colours begin again."""
    count = len(LINES["color"])
    turned = line(index + index // count)
    return {**turned, "color": line(index)["color"]}
