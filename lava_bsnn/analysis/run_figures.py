"""Every figure that a trained run can have, by name, each with its data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict

from ..errors import OptionError
from ..training.losses import tet_cross_entropy
from .activity import plot_firing_rates, plot_spike_entropy
from .landscape import loss_landscape, plot_landscape
from .operations import ENERGY_45NM, ENERGY_AGMM, estimate_energy, plot_energy, plot_operations
from .plots import plot_training
from .sample_figures import animation, events, logits, membrane, raster
from .size import footprint, model_size, parameter_groups, plot_footprint, plot_model_size
from .subject import Made, Subject, new_figure
from .weights import (
    gradient_statistics,
    plot_flip_ratio,
    plot_gradient_statistics,
    plot_weight_entropy,
    weight_entropy,
)

_SOME = 32
"""Samples of figures that run many times or keep what they see."""
_BITS = {"32w-32u": (32, 32), "1w-8u": (1, 8), "1w-4u": (1, 4), "1w-2u": (1, 2)}


def training(subject: Subject) -> Made:
    """Loss and accuracies over the epochs."""
    figure, axes = new_figure(1, 2)
    plot_training(subject.history, axes)
    return figure, [asdict(epoch) for epoch in subject.history]


def flips(subject: Subject) -> Made:
    """Share of 1-bit weights that change their sign, over the epochs."""
    ratios = [epoch.flip_ratio for epoch in subject.history if epoch.flip_ratio is not None]
    if not ratios:
        raise OptionError("analyze: the run has no 1-bit weights; flips are of such")
    figure, axes = new_figure()
    plot_flip_ratio({"all 1-bit weights": ratios}, axes)
    return figure, ratios


def rates(subject: Subject) -> Made:
    """Firing rate of each layer."""
    figure, axes = new_figure()
    plot_firing_rates(subject.activity, axes)
    return figure, {name: one.firing_rate for name, one in subject.activity.items()}


def entropy(subject: Subject) -> Made:
    """Entropy of each layer's spikes, and of the signs of 1-bit weights."""
    figure, axes = new_figure(2, 1, (8, 6))
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
    figure, axes = new_figure()
    count = subject.operations
    plot_operations(count, axes)
    layers = {
        name: {"kind": one.kind, "operations": one.operations / count.samples}
        for name, one in count.layers.items()
    }
    return figure, {"sops": count.sops, "macs": count.macs, "layers": layers}


def energy(subject: Subject) -> Made:
    """Energy per sample that one may estimate from operations, with two sets of constants."""
    figure, axes = new_figure()
    estimates = {one.name: estimate_energy(subject.operations, one) for one in (ENERGY_45NM, ENERGY_AGMM)}
    plot_energy(estimates, axes)
    return figure, {name: {"estimated_joule": one.joule} for name, one in estimates.items()}


def sizes(subject: Subject) -> Made:
    """Bytes of the parameters, by kind and bits."""
    figure, axes = new_figure()
    plot_model_size({"this run": subject.model}, axes)
    groups = [asdict(group) for group in parameter_groups(subject.model)]
    return figure, {"bytes": model_size(subject.model), "groups": groups}


def footprints(subject: Subject) -> Made:
    """Bytes of parameters and membranes at the training's batch size, with different bits."""
    figure, axes = new_figure()
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
    figure, axes = new_figure(2, 1, (8, 6))
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
    figure, axes = new_figure(size=(5.4, 4.4))
    plot_landscape(found, axes)
    return figure, {"alphas": found.alphas.tolist(), "losses": found.losses.tolist()}


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
