"""Event frames, and an animation of what a network makes of them."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ShapeError
from ..files import atomic_path
from ._style import BLUE, GREY, ORANGE, integers, tidy
from .plots import plot_raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Gif:
    """An animated GIF; a notebook shows it as the last value of a cell, without any script.

    Attributes:
        data: content of the file.
        description: text for those who cannot see it.
    """

    data: bytes = field(repr=False)
    description: str

    def _repr_html_(self) -> str:
        content = base64.b64encode(self.data).decode()
        alt = html.escape(self.description)
        return f'<img alt="{alt}" style="max-width: 100%" src="data:image/gif;base64,{content}">'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.data)


def plot_events(frame: np.ndarray, axes: Axes, *, title: str = "") -> Axes:
    """Draw one event frame: ``+`` where a pixel has ON events, ``-`` where it has OFF events.

    Args:
        frame: ``[2, H, W]``, OFF and ON, as :func:`lava_bsnn.data.load` gives each time step.

    Raises:
        ShapeError: another shape.
    """
    if frame.ndim != 3 or frame.shape[0] != 2:
        raise ShapeError(f"plot_events: frame of shape {frame.shape} is not allowed; use [2, H, W]")
    height, width = frame.shape[1:]
    box = axes.get_window_extent()
    size = 0.8 * 72 / axes.figure.dpi * min(box.width / width, box.height / height)  # points of a pixel
    for label, marker, colour, events in (("ON", "+", ORANGE, frame[1]), ("OFF", "_", BLUE, frame[0])):
        y, x = np.nonzero(events)
        axes.plot(x, y, linestyle="", marker=marker, color=colour, markersize=max(1.5, size), label=label)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)")
    axes.set_title(title, fontsize="medium")
    axes.xaxis.set_major_locator(integers())
    axes.yaxis.set_major_locator(integers())
    return tidy(axes)


def animate_raster(
    frames: np.ndarray,
    layers: Mapping[str, np.ndarray],
    logits: np.ndarray,
    *,
    label: int | None = None,
    seconds_per_step: float = 0.6,
    most: int = 100,
) -> Gif:
    """Animate one sample: events, the spikes of each layer so far, and the logits summed so far.

    Args:
        frames: input ``[2, H, W, T]``, OFF and ON.
        layers: layer name -> spikes ``[*shape, T]``, e.g. those of :func:`spikes` for the sample.
        logits: ``[classes, T]``, of each step.
        label: the sample's class.
        most: neurons to draw of each layer, as in :func:`plot_raster`.

    Raises:
        ShapeError: the numbers of steps differ, or ``frames`` are not event frames.
    """
    from PIL import Image

    steps = frames.shape[-1]
    for name, one in (("logits", logits), *layers.items()):
        if one.shape[-1] != steps:
            raise ShapeError(f"animate_raster: {name} has {one.shape[-1]} steps, frames have {steps}")
    images = []
    for step in range(steps):
        picture = _picture(frames, layers, logits, step, label, most)
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png")
        images.append(Image.open(buffer).convert("RGB"))
    palette = Image.new("P", (1, 1))
    palette.putpalette(_shades())
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    duration = [round(1000 * seconds_per_step)] * steps
    duration[-1] *= 4
    result = io.BytesIO()
    first.save(result, "gif", save_all=True, append_images=rest, duration=duration, loop=0)
    return Gif(
        data=result.getvalue(),
        description=f"Events, spikes of {', '.join(layers)} and logits over {steps} time steps",
    )


def _shades() -> list[int]:
    """Palette: black, and the colours in use, each in 16 shades up to white."""
    from matplotlib.colors import to_rgb

    shades = [
        255 - part / 15 * (255 - 255 * np.array(to_rgb(colour)))
        for colour in ("black", BLUE, ORANGE, GREY)
        for part in range(16)
    ]
    return np.rint(shades).astype(int).ravel().tolist()


def _picture(
    frames: np.ndarray,
    layers: Mapping[str, np.ndarray],
    logits: np.ndarray,
    step: int,
    label: int | None,
    most: int,
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(layers) + 4.5, 3.2), dpi=80, layout="constrained")
    widths = [1.25, *[1] * len(layers), 0.9]
    event_axes, *raster_axes, logit_axes = figure.subplots(1, len(widths), width_ratios=widths)
    plot_events(frames[..., step], event_axes, title=f"events of step {step}: + ON, - OFF")
    seen = np.arange(frames.shape[-1]) <= step
    for axes, (name, spikes) in zip(raster_axes, layers.items(), strict=True):
        plot_raster(np.where(seen, spikes, 0), axes, most=most)
        axes.axvline(step + 0.5, color=GREY, linewidth=1)
        axes.set_title(f"spikes of {name}", fontsize="medium")
    sums = logits[:, : step + 1].sum(-1)
    best = int(sums.argmax())
    bars = logit_axes.barh(range(len(sums)), sums, color=GREY)
    bars[best].set(color=ORANGE, hatch="//", edgecolor="white")
    reach = 1.05 * float(np.abs(logits.cumsum(-1)).max()) or 1.0
    logit_axes.set(xlim=(-reach, reach), xlabel="sum of logits so far", ylabel="class")
    logit_axes.set_yticks(range(len(sums)))
    truth = "" if label is None else f", label {label}"
    logit_axes.set_title(f"predicted {best}{truth}", fontsize="medium")
    tidy(logit_axes)
    return figure
