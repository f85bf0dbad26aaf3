"""What all figures share: colours, tidy axes, and bars with names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import EngFormatter, MaxNLocator

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
"""Okabe-Ito colours."""
LINES = {
    "color": [BLUE, ORANGE, GREEN, GREY, "#CC79A7", "#56B4E9"],
    "linestyle": ["-", "--", "-.", ":", "-", "--"],
    "marker": ["o", "s", "^", "D", "v", "X"],
}
"""Colour, dashes and marker of the first, second, ... line: told apart without colour too."""
HATCHES = ("", "//", "..", "xx")
"""Patterns of stacked bars."""


def line(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of line ``index``, for ``axes.plot``."""
    return {name: values[index % len(values)] for name, values in LINES.items()}


def style() -> None:
    """Set matplotlib's defaults to the style of this package's figures, e.g. at the head of a notebook.

    Figures are 8 x 3.2 inches, lines differ in colour (Okabe-Ito), dashes and marker, legends have no frame.
    """
    from cycler import cycler
    from matplotlib import rcParams

    rcParams.update(
        {
            "axes.prop_cycle": cycler(**LINES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.figsize": (8, 3.2),
            "font.size": 10,
            "legend.fontsize": "small",
            "legend.frameon": False,
            "lines.markersize": 4,
        }
    )


def tidy(axes: Axes) -> Axes:
    """Remove the frame's top and right side."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def integers() -> MaxNLocator:
    """Ticks at integers only."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, min_n_ticks=1)


def short(name: str) -> str:
    """A layer's name as labels have it: ``blocks.8.blocks.0`` is ``8.0``, a shortcut ``8 skip``."""
    name = re.sub(r"(^|\.)blocks\.(?=\d)", r"\1", name)
    return re.sub(r"\.shortcut\.0$", " skip", name)


def prefixes(unit: str = "") -> EngFormatter:
    """Ticks with prefixes, ``20 k`` or ``3 µJ``."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(unit=unit)


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Write a name below each bar; upright where there is no room for them side by side."""
    shown = [short(name) for name in names]
    inches = axes.get_window_extent().width / axes.figure.dpi
    crowded = sum(len(name) + 1 for name in shown) > 10 * inches
    axes.set_xticks(range(len(shown)), shown, rotation=90 if crowded else 0, fontsize="small")
    axes.set_xlim(-0.6, len(shown) - 0.4)


def bars(
    values: Mapping[str, float],
    axes: Axes,
    *,
    ylabel: str,
    xlabel: str = "layer",
    colour: str | Sequence[Any] = BLUE,
    label: str | None = None,
    bottom: list[float] | None = None,
    hatch: str | None = None,
) -> Axes:
    """Draw a bar per name."""
    positions = range(len(values))
    axes.bar(
        positions,
        list(values.values()),
        color=colour,
        label=label,
        bottom=bottom,
        hatch=hatch,
        edgecolor="white",
    )
    name_ticks(axes, list(values))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return tidy(axes)


def entropy_limit(axes: Axes) -> Axes:
    """Mark ln 2, the largest entropy of a binary value."""
    axes.axhline(np.log(2), color=ORANGE, linestyle="--", label="ln 2: largest of a binary value")
    axes.set_ylim(0, 1.2 * max(np.log(2), axes.dataLim.ymax))
    axes.legend(frameon=False, fontsize="small", loc="upper right")
    return axes


def legend_above(axes: Axes, **options: Any) -> Axes:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(frameon=False, fontsize="small", ncols=2, loc="lower left", bbox_to_anchor=(0, 1), **options)
    return axes
