"""Every figure that a trained run can have, by name, each with its data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import OptionError
from ..functional import direct_code
from ..modes import evaluating
from ..training.losses import tet_cross_entropy
from ._model import layer_labels
from ._style import integers, tidy
from .activity import LayerActivity, activity, plot_firing_rates, plot_spike_entropy, spikes
from .animation import Gif, animate_raster, plot_events
from .landscape import loss_landscape, plot_landscape
from .operations import (
    ENERGY_45NM,
    ENERGY_AGMM,
    OperationCount,
    count_operations,
    estimate_energy,
    plot_energy,
    plot_operations,
)
from .plots import plot_membrane, plot_raster, plot_training
from .size import footprint, model_size, parameter_groups, plot_footprint, plot_model_size
from .weights import (
    gradient_statistics,
    plot_flip_ratio,
    plot_gradient_statistics,
    plot_weight_entropy,
    weight_entropy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..models import SpikingNetwork
    from ..training.history import Epoch

_SOME = 32
"""Samples of figures that run many times or keep what they see."""
_MOST_RASTERS = 6
_BITS = {"32w-32u": (32, 32), "1w-8u": (1, 8), "1w-4u": (1, 4), "1w-2u": (1, 2)}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model, samples for it, and its history.

    Attributes:
        model: trained; it is left as it was.
        inputs: as the model takes them, ``[N, *shape]`` or ``[N, *shape, T]``.
        labels: classes ``[N]``.
        history: epochs of the training.
        batch_size: of the training.
        points: of the landscape, per direction.
        tell: told what is done, in words.
    """

    model: SpikingNetwork
    inputs: Tensor
    labels: Tensor
    history: tuple[Epoch, ...] = ()
    batch_size: int = 64
    points: int = 11
    tell: Callable[[str], None] = field(default=lambda text: None)

    @cached_property
    def names(self) -> dict[str, str]:
        """What exports call the layers."""
        return layer_labels(self.model)

    def named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the names of exports."""
        return {self.names.get(name, name): value for name, value in values.items()}

    @cached_property
    def activity(self) -> dict[str, LayerActivity]:
        """Of all samples."""
        return self.named(activity(self.model, self.inputs.split(self.batch_size)))

    @cached_property
    def operations(self) -> OperationCount:
        """Of all samples."""
        found = count_operations(self.model, self.inputs.split(self.batch_size))
        return OperationCount(layers=self.named(found.layers), samples=found.samples)

    @property
    def frames(self) -> np.ndarray:
        """The first sample, ``[C, H, W, T]``.

        Raises:
            OptionError: it has no ON and OFF events.
        """
        sample = self.inputs[0].numpy()
        if sample.ndim != 4 or sample.shape[0] != 2:
            raise OptionError("analyze: this data set has no events; animations and frames are of such")
        return sample


Made = tuple["Figure | Gif", Any]


def _figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 3.4)) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


def training(subject: Subject) -> Made:
    """Loss and accuracies over the epochs."""
    figure, axes = _figure(1, 2)
    plot_training(subject.history, axes)
    return figure, [asdict(epoch) for epoch in subject.history]


def flips(subject: Subject) -> Made:
    """Share of 1-bit weights that change their sign, over the epochs."""
    ratios = [epoch.flip_ratio for epoch in subject.history if epoch.flip_ratio is not None]
    if not ratios:
        raise OptionError("analyze: the run has no 1-bit weights; flips are of such")
    figure, axes = _figure()
    plot_flip_ratio({"all 1-bit weights": ratios}, axes)
    return figure, ratios


def rates(subject: Subject) -> Made:
    """Firing rate of each layer."""
    figure, axes = _figure()
    plot_firing_rates(subject.activity, axes)
    return figure, {name: one.firing_rate for name, one in subject.activity.items()}


def entropy(subject: Subject) -> Made:
    """Entropy of each layer's spikes, and of the signs of 1-bit weights."""
    figure, axes = _figure(2, 1, (8, 6))
    plot_spike_entropy(subject.activity, axes[0])
    data = {"spikes": {name: one.entropy for name, one in subject.activity.items()}}
    try:
        data["weights"] = subject.named(weight_entropy(subject.model))
        plot_weight_entropy(data["weights"], axes[1])
    except OptionError:  # no 1-bit weights
        axes[1].remove()
    return figure, data


def operations(subject: Subject) -> Made:
    """SOPs and MACs per sample of each layer."""
    figure, axes = _figure()
    count = subject.operations
    plot_operations(count, axes)
    layers = {
        name: {"kind": one.kind, "operations": one.operations / count.samples}
        for name, one in count.layers.items()
    }
    return figure, {"sops": count.sops, "macs": count.macs, "layers": layers}


def energy(subject: Subject) -> Made:
    """Energy per sample that one may estimate from operations, with two sets of constants."""
    figure, axes = _figure()
    estimates = {one.name: estimate_energy(subject.operations, one) for one in (ENERGY_45NM, ENERGY_AGMM)}
    plot_energy(estimates, axes)
    return figure, {name: {"estimated_joule": one.joule} for name, one in estimates.items()}


def sizes(subject: Subject) -> Made:
    """Bytes of the parameters, by kind and bits."""
    figure, axes = _figure()
    plot_model_size({"this run": subject.model}, axes)
    groups = [asdict(group) for group in parameter_groups(subject.model)]
    return figure, {"bytes": model_size(subject.model), "groups": groups}


def footprints(subject: Subject) -> Made:
    """Bytes of parameters and membranes at the training's batch size, with different bits."""
    figure, axes = _figure()
    found = {
        name: footprint(subject.model, subject.model.in_shape, subject.batch_size, *bits)
        for name, bits in _BITS.items()
    }
    plot_footprint(found, axes)
    return figure, {name: {**asdict(one), "total": one.total} for name, one in found.items()}


def gradients(subject: Subject) -> Made:
    """Mean and variance of the gradients of the 1-bit weights, for some samples in training mode."""
    model = copy.deepcopy(subject.model).train()
    tet_cross_entropy(model(subject.inputs[:_SOME]), subject.labels[:_SOME]).backward()
    found = subject.named(gradient_statistics(model))
    figure, axes = _figure(2, 1, (8, 6))
    plot_gradient_statistics(found, axes)
    return figure, {name: asdict(one) for name, one in found.items()}


def landscape(subject: Subject) -> Made:
    """Loss around the weights, in two random directions."""
    inputs, labels = subject.inputs[:_SOME], subject.labels[:_SOME]
    found = loss_landscape(
        subject.model,
        lambda model: tet_cross_entropy(model(inputs), labels),
        points=subject.points,
        progress=lambda done, total: subject.tell(f"landscape: {done} of {total} points"),
    )
    figure, axes = _figure(size=(5.4, 4.4))
    plot_landscape(found, axes)
    return figure, {"alphas": found.alphas.tolist(), "losses": found.losses.tolist()}


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
    figure, axes = _figure(rows, columns, (3.2 * columns, 2.9 * rows))
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
    figure, axes = _figure()
    where = ", ".join(map(str, chosen))
    plot_membrane(potential, fired[chosen], 1.0, axes, title=f"neuron {where} of {name}")
    return figure, {"potential": potential.tolist(), "spikes": fired[chosen].tolist()}


def events(subject: Subject) -> Made:
    """Up to five frames of the first sample."""
    frames = subject.frames
    steps = np.linspace(0, frames.shape[-1] - 1, min(5, frames.shape[-1])).round().astype(int)
    figure, axes = _figure(1, len(steps), (2.4 * len(steps) + 0.6, 2.8))
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
    figure, axes = _figure()
    for index, values in enumerate(sums):
        look = {"color": "black", "lw": 2, "zorder": 3} if index == label else {"color": "#999999", "lw": 0.8}
        axes.plot(np.arange(len(values)), values, label=f"class {label}" if index == label else None, **look)
    axes.set(xlabel="time step", ylabel="sum of logits so far", title=f"all {len(sums)} classes")
    axes.xaxis.set_major_locator(integers())
    axes.legend(frameon=False, fontsize="small")
    tidy(axes)
    return figure, {"label": label, "sums": sums.tolist()}


FIGURES: dict[str, Callable[[Subject], Made]] = {
    one.__name__: one
    for one in (
        training,
        flips,
        rates,
        entropy,
        operations,
        energy,
        sizes,
        footprints,
        gradients,
        raster,
        logits,
        membrane,
        events,
        animation,
        landscape,
    )
}
"""By name; each takes a :class:`Subject` and returns a figure and its data."""
