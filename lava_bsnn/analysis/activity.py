"""What a batch of inputs makes the neurons do: firing rate and entropy of each layer's spikes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..modes import evaluating
from ._model import neurons, observing
from ._style import GREEN, bars, entropy_limit
from .weights import entropy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class LayerActivity:
    """What one layer's neurons sent.

    Attributes:
        histogram: value sent (0 for no spike) -> number of neuron-steps, over all samples.
    """

    histogram: Mapping[float, int]

    @property
    def neuron_steps(self) -> int:
        """Neurons x time steps x samples."""
        return sum(self.histogram.values())

    @property
    def spikes(self) -> int:
        """Neuron-steps with a spike, of whatever size."""
        return self.neuron_steps - self.histogram.get(0.0, 0)

    @property
    def firing_rate(self) -> float:
        """Share of neuron-steps with a spike, 0..1."""
        return self.spikes / self.neuron_steps

    @property
    def entropy(self) -> float:
        """Entropy of the value sent in nats, 0..ln 2 for binary spikes (Q-SNN eq. 13-14)."""
        return entropy([count / self.neuron_steps for count in self.histogram.values()])


def _histogram(values: Tensor) -> dict[float, int]:
    top = float(values.max())
    zeros, tops = int((values == 0).sum()), int((values == top).sum())
    if top > 0 and zeros + tops == values.numel():  # binary: no need to sort
        return {value: count for value, count in ((0.0, zeros), (top, tops)) if count}
    levels, counts = torch.unique(values, return_counts=True)
    return dict(zip(levels.tolist(), counts.tolist(), strict=True))


def activity(model: torch.nn.Module, inputs: Tensor | Iterable[Tensor]) -> dict[str, LayerActivity]:
    """Run a batch, or several, in evaluation mode and count what each layer's neurons send.

    The model is left as it was: hooks, modes and neuron states, also after an exception.

    Args:
        inputs: what the model is called with, ``[N, C, H, W]``, ``NCHWT`` or ``NCT``.

    Returns:
        Layer name -> activity, in the order of definition. Layers without neuron have none.
    """
    layers = neurons(model)
    counts: dict[str, Counter[float]] = {name: Counter() for name in layers}

    def observer(name: str, module: torch.nn.Module, x: Tensor, spikes: Tensor) -> None:
        counts[name].update(_histogram(spikes))

    with evaluating(model), observing(layers, observer):
        for batch in [inputs] if isinstance(inputs, Tensor) else inputs:
            model(batch)
    return {name: LayerActivity(histogram=dict(count)) for name, count in counts.items() if count}


def spikes(model: torch.nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Run a batch in evaluation mode and return what each layer's neurons send, step by step.

    The model is left as it was, as by :func:`activity`.

    Args:
        inputs: what the model is called with, ``[N, C, H, W]``, ``NCHWT`` or ``NCT``.

    Returns:
        Layer name -> spikes ``[N, *shape, T]``: 0 or 1, counts 0..L of multi-threshold neurons (also where
        they send ``theta * count``). A layer that runs several times has its last.
    """
    layers = neurons(model)
    sent: dict[str, Tensor] = {}

    def observer(name: str, module: Any, x: Tensor, out: Tensor) -> None:
        sent[name] = (out / module.threshold).round() if getattr(module, "scaled", False) else out

    with evaluating(model), observing(layers, observer):
        model(inputs)
    return sent


def plot_firing_rates(activities: Mapping[str, LayerActivity], axes: Axes) -> Axes:
    """Draw each layer's firing rate in percent of neuron-steps."""
    rates = {name: 100 * one.firing_rate for name, one in activities.items()}
    return bars(rates, axes, ylabel="firing rate (%)")


def plot_spike_entropy(activities: Mapping[str, LayerActivity], axes: Axes) -> Axes:
    """Draw the entropy of each layer's spikes, and ln 2, the maximum of binary ones."""
    entropies = {name: one.entropy for name, one in activities.items()}
    bars(entropies, axes, ylabel="spike entropy (nats)", colour=GREEN)
    return entropy_limit(axes)
