"""What training does to weights: sign flips per epoch, entropy of the signs, gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, ShapeError
from ._model import latent_weight, select, weight_bits
from ._style import BLUE, GREEN, LINES, bars, entropy_limit, integers, line, prefixes, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def flip_ratio(w_before: Tensor | np.ndarray, w_after: Tensor | np.ndarray) -> float:
    """Share of weights whose sign differs.

    ``sum |sign(w_after) - sign(w_before)| / (2 n)`` with ``sign(0) = +1``, in 0..1 (AGMM eq. 8).

    Args:
        w_before, w_after: weights of equal shape, e.g. of two epochs.

    Raises:
        ShapeError: the shapes differ, or there is no weight.
    """
    before, after = torch.as_tensor(w_before), torch.as_tensor(w_after)
    if before.shape != after.shape or not before.numel():
        raise ShapeError(
            f"flip_ratio: shapes {tuple(before.shape)} and {tuple(after.shape)} are not allowed; "
            "use the weights of one layer at two times"
        )
    return _share((before.detach() >= 0) != (after.detach().to(before.device) >= 0))


def _share(mask: Tensor) -> float:
    return int(mask.sum()) / mask.numel()


@torch.no_grad()
def _is_positive(synapse: Any) -> Tensor:
    """Bool signs of the weights in use; a 1-bit hook may shift them before it takes signs."""
    weight = synapse.weight
    return (synapse.pre_hook_fx(weight) if weight_bits(synapse) == 1 else weight) >= 0


class FlipRecorder:
    """Flip ratio per layer from epoch to epoch (AGMM eq. 8, fig. 1 and 6).

    Signs are taken once when it is made and once at each :meth:`record`, usually after an epoch:
    ``training.fit(..., on_epoch=recorder.record)``.

    Args:
        model: model in training.
        which: ``"binary"`` for layers with 1-bit weights, ``"hidden"`` for all between first
            and last (latent weights: for floating-point models), or ``"all"``.

    Attributes:
        ratios: layer name -> flip ratio of each recorded epoch, in 0..1.

    Raises:
        OptionError: the model has no such layer.
    """

    def __init__(self, model: torch.nn.Module, which: str = "binary") -> None:
        self._layers = select(model, which, "FlipRecorder")
        self.signs = {name: _is_positive(synapse) for name, synapse in self._layers.items()}
        self.ratios: dict[str, list[float]] = {name: [] for name in self._layers}

    def record(self, epoch: object = None) -> dict[str, float]:
        """Append and return the share of signs that changed since the call before; ``epoch`` is not used."""
        signs = {name: _is_positive(synapse) for name, synapse in self._layers.items()}
        latest = {name: _share(self.signs[name] != signs[name].to(self.signs[name].device)) for name in signs}
        self.signs = signs
        for name, ratio in latest.items():
            self.ratios[name].append(ratio)
        return latest

    def mean(self) -> list[float]:
        """Flip ratio of each epoch over all recorded weights."""
        sizes = [signs.numel() for signs in self.signs.values()]
        return [float(value) for value in np.average(list(self.ratios.values()), axis=0, weights=sizes)]


def entropy(probabilities: Sequence[float]) -> float:
    """Entropy ``-sum p ln p`` of a distribution, in nats; Q-SNN eq. 14 for ``[p, 1 - p]``."""
    p = np.asarray(probabilities, dtype=float)
    p = p[p > 0]
    return abs(float((p * np.log(p)).sum()))


def weight_entropy(model: torch.nn.Module, which: str = "binary") -> dict[str, float]:
    """Entropy of the signs of each layer's weights, 0..ln 2 nats (Q-SNN eq. 14).

    ``p`` is the share of +1 among the layer's binary weights.
    """
    positive = {name: _share(_is_positive(s)) for name, s in select(model, which, "weight_entropy").items()}
    return {name: entropy([p, 1 - p]) for name, p in positive.items()}


@dataclass(frozen=True, kw_only=True)
class GradientStatistics:
    """Mean (loss per weight) and population variance (its square) of a layer's gradients."""

    mean: float
    variance: float


def gradient_statistics(model: torch.nn.Module, which: str = "binary") -> dict[str, GradientStatistics]:
    """Mean and variance of ``dL/dw`` over the latent weights of each layer, after ``backward()``.

    AGMM eq. 9-10 take a weight's gradient as normal with this mean and variance: with
    either, the probability grows that a step carries the weight across zero.

    Raises:
        OptionError: a layer has no gradient, or the model has no such layer.
    """
    statistics = {}
    for name, synapse in select(model, which, "gradient_statistics").items():
        weight = latent_weight(synapse)
        if weight.grad is None:
            raise OptionError(
                f"gradient_statistics: {name} has no gradient (None); call loss.backward() first"
            )
        gradient = weight.grad.double()
        statistics[name] = GradientStatistics(
            mean=float(gradient.mean()), variance=float(gradient.var(correction=0))
        )
    return statistics


def plot_flip_ratio(ratios: Mapping[str, Sequence[float]], axes: Axes) -> Axes:
    """Draw each layer's flip ratio in percent over epochs, and their mean.

    Up to six layers have a line of their own look and a name; more go from dark to light, and the first and
    the last have a name.
    """
    from matplotlib import colormaps

    names = list(ratios)
    for index, (name, values) in enumerate(ratios.items()):
        look: dict[str, Any] = {"label": short(name), **line(index)}
        if len(ratios) > len(LINES["color"]):
            colour = colormaps["viridis"](0.85 * index / (len(ratios) - 1))
            look = {"color": colour, "linestyle": "-", "marker": ""}
            look["label"] = short(name) if name in (names[0], names[-1]) else None
        axes.plot(np.arange(1, len(values) + 1), 100 * np.asarray(values), lw=1, ms=4, **look)
    if len(ratios) > 1:
        mean = 100 * np.mean(list(ratios.values()), axis=0)
        look = {"color": "black", "linestyle": "-", "marker": "", "label": "mean of the layers"}
        axes.plot(np.arange(1, len(mean) + 1), mean, lw=2, **look)
    axes.set(xlabel="epoch", ylabel="weight signs flipped (%)", ylim=(0, None))
    axes.xaxis.set_major_locator(integers())
    axes.legend(frameon=False, fontsize="small")
    return tidy(axes)


def plot_weight_entropy(entropies: Mapping[str, float], axes: Axes) -> Axes:
    """Draw the entropy of each layer's weight signs, and its maximum ln 2."""
    bars(entropies, axes, ylabel="weight entropy (nats)")
    return entropy_limit(axes)


def plot_gradient_statistics(
    statistics: Mapping[str, GradientStatistics], axes: Sequence[Axes]
) -> Sequence[Axes]:
    """Draw the gradients' mean per unit weight on the first of two axes, their variance on the second."""
    means = {name: one.mean for name, one in statistics.items()}
    variances = {name: one.variance for name, one in statistics.items()}
    bars(means, axes[0], ylabel="gradient, mean (nats)", colour=BLUE)
    bars(variances, axes[1], ylabel="gradient, variance (nats²)", colour=GREEN)
    for one in axes:
        one.yaxis.set_major_formatter(prefixes())
    return axes
