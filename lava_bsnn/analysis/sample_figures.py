"""Figures of one sample of a trained run, each with its data."""

from __future__ import annotations

import math

import numpy as np

from ..errors import OptionError
from ..functional import direct_code
from ..modes import evaluating
from ._style import integers, tidy
from .activity import spikes
from .animation import animate_raster, plot_events
from .plots import plot_membrane, plot_raster
from .subject import Made, Subject, new_figure

_MOST_RASTERS = 6


def _sent(subject: Subject) -> dict[str, np.ndarray]:
    found = subject.named(spikes(subject.model, subject.inputs[:1]))
    return {name: one[0].numpy() for name, one in found.items()}


def _spread(names: list[str], most: int) -> list[str]:
    """Names from the first to the last, no more than that."""
    places = np.linspace(0, len(names) - 1, min(most, len(names)))
    return [names[round(place)] for place in places]


def raster(subject: Subject) -> Made:
    """Spikes of one sample, of up to six layers."""
    sent = _sent(subject)
    shown = _spread(list(sent), _MOST_RASTERS)
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, axes = new_figure(rows, columns, (3.2 * columns, 2.9 * rows))
    places = np.atleast_1d(axes).ravel()
    for place, name in zip(places, shown, strict=False):
        plot_raster(sent[name] != 0, place, title=name)
    for place in places[len(shown) :]:
        place.remove()
    return figure, {name: float((values != 0).mean()) for name, values in sent.items()}


def membrane(subject: Subject) -> Made:
    """Potential of one neuron of the first layer in the exported integers, one that fires at some steps."""
    from netx_export import convert, simulate

    net = convert(subject.model, "extended")
    name = net.layers[0].name
    timed = subject.inputs.dim() == len(net.input.shape) + 2
    data = net.encode(subject.inputs[:1].numpy(), None if timed else net.num_steps)
    trace = simulate(net, data, trace=True).layers[name]
    if trace.potential is None or net.layers[0].neuron.reads_out:
        raise OptionError("analyze: the first layer has no spikes; membrane shows a neuron that fires")
    fired = trace.spikes[0] != 0
    counts = fired.sum(-1)
    away = np.where(counts > 0, np.abs(counts - fired.shape[-1] / 2), np.inf)
    chosen = np.unravel_index(int(away.argmin()), fired.shape[:-1])
    bounds = np.broadcast_to(
        np.reshape(np.asarray(net.layers[0].neuron.threshold), (-1, *[1] * (fired.ndim - 2))),
        fired.shape[:-1],
    )
    threshold = float(bounds[chosen])
    potential = trace.potential[0][chosen] / threshold
    figure, axes = new_figure()
    where = ", ".join(map(str, chosen))
    plot_membrane(potential, fired[chosen], 1.0, axes, title=f"neuron {where} of {name}")
    return figure, {"potential": potential.tolist(), "spikes": fired[chosen].tolist()}


def events(subject: Subject) -> Made:
    """Up to five frames of the first sample."""
    frames = subject.frames
    steps = np.linspace(0, frames.shape[-1] - 1, min(5, frames.shape[-1])).round().astype(int)
    figure, axes = new_figure(1, len(steps), (2.4 * len(steps) + 0.6, 2.8))
    for place, step in zip(np.atleast_1d(axes), steps, strict=True):
        plot_events(frames[..., step], place, title=f"step {step}")
    figure.suptitle("+ ON events, - OFF events", fontsize="medium")
    return figure, {"events_per_step": frames.sum((0, 1, 2)).tolist()}


def animation(subject: Subject) -> Made:
    """The first sample: events, spikes so far, logits so far."""
    frames, sent = subject.frames, _sent(subject)
    shown = _spread(list(sent), 3)
    with evaluating(subject.model):
        logits = subject.model(subject.inputs[:1])[0].numpy()
    label = int(subject.labels[0])
    return animate_raster(frames, {name: sent[name] for name in shown}, logits, label=label), {
        "label": label,
        "logits": logits.tolist(),
    }


def logits(subject: Subject) -> Made:
    """Logits of one sample, summed so far, step by step."""
    inputs = subject.inputs[:1]
    if inputs.dim() == len(subject.model.in_shape) + 1:
        inputs = direct_code(inputs, subject.model.num_steps)
    with evaluating(subject.model):
        sums = subject.model(inputs)[0].cumsum(-1).numpy()
    label = int(subject.labels[0])
    figure, axes = new_figure()
    for index, values in enumerate(sums):
        look = {"color": "black", "lw": 2, "zorder": 3} if index == label else {"color": "#999999", "lw": 0.8}
        axes.plot(np.arange(len(values)), values, label=f"class {label}" if index == label else None, **look)
    axes.set(xlabel="time step", ylabel="sum of logits so far", title=f"all {len(sums)} classes")
    axes.xaxis.set_major_locator(integers())
    axes.legend(frameon=False, fontsize="small")
    tidy(axes)
    return figure, {"label": label, "sums": sums.tolist()}
