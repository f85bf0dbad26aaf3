"""The loss around trained weights, in two random directions scaled filter by filter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError
from ..modes import evaluating
from ._model import latent_weight, synapses
from ._style import ORANGE, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Loss over a plane through the weights.

    Attributes:
        alphas: ``[A]`` factors of the first direction; 0 is the model itself, 1 moves each
            filter by its own norm.
        betas: ``[B]`` factors of the second direction.
        losses: ``[A, B]`` loss at ``alphas[i], betas[j]``, in the unit of the loss.
    """

    alphas: np.ndarray
    betas: np.ndarray
    losses: np.ndarray


def filter_direction(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Random normal direction with, per output channel, the norm of the weight's filter.

    ``d[c] <- d[c] / ||d[c]|| * ||w[c]||`` (Li et al. 2018, section 4).

    Args:
        weight: ``[out, ...]``.
        generator: on the CPU, so that a seed means the same on every device.
    """
    noise = torch.randn(weight.shape, generator=generator).to(weight)
    dims = tuple(range(1, weight.dim()))
    norm = noise.pow(2).sum(dims, keepdim=True).sqrt()
    return noise / norm * weight.detach().pow(2).sum(dims, keepdim=True).sqrt()


@contextmanager
def _restoring(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    originals = [weight.detach().clone() for weight in weights]
    try:
        yield originals
    finally:
        with torch.no_grad():
            for weight, original in zip(weights, originals, strict=True):
                weight.copy_(original)


def loss_landscape(
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module], Tensor | float],
    *,
    span: float = 1.0,
    points: int = 21,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Landscape:
    """Evaluate the loss at ``w + alpha d1 + beta d2`` (Li et al. 2018; AGMM fig. 2 and 7).

    ``d1`` and ``d2`` are filter-normalised random directions in the latent weights of all
    synapses; a binary model is binarised anew, signs and scales, at each point. The direction is 0 in
    biases, batch norm, modulation and neurons. The model is in evaluation mode, with the running
    statistics of its batch norms as they are. Weights, modes and neuron states are restored exactly, also
    after an exception.

    Args:
        model: model to look around.
        loss: maps the model to its loss on fixed data.
        span: alpha and beta run over ``-span..span``, in filter norms.
        points: points per direction, odd so that the model itself is one.
        seed: of both directions.
        progress: called with points done and points in all.

    Raises:
        OptionError: an option is out of range.
    """
    if points < 3 or points % 2 == 0:
        raise OptionError(f"loss_landscape: points={points!r} is not allowed; use an odd number >= 3")
    if not 0 < span < float("inf"):
        raise OptionError(f"loss_landscape: span={span!r} is not allowed; use a number > 0")
    weights: list[Tensor] = [latent_weight(synapse) for synapse in synapses(model).values()]
    if not weights:
        raise OptionError("loss_landscape: the model has no synapses (0); use a model of lava_bsnn.models")
    generator = torch.Generator().manual_seed(seed)
    first, second = ([filter_direction(w, generator) for w in weights] for _ in range(2))
    steps = span * np.linspace(-1, 1, points)
    losses = np.empty((points, points))
    with evaluating(model), _restoring(weights) as originals:
        for done, (i, j) in enumerate(np.ndindex(points, points), start=1):
            for weight, original, d1, d2 in zip(weights, originals, first, second, strict=True):
                weight.copy_(original + float(steps[i]) * d1 + float(steps[j]) * d2)
            losses[i, j] = float(loss(model))
            if progress is not None:
                progress(done, points * points)
    return Landscape(alphas=steps, betas=steps.copy(), losses=losses)


def plot_landscape(landscape: Landscape, axes: Axes, *, levels: int = 12, unit: str = "nats") -> Axes:
    """Draw lines of equal loss, and the model itself in the middle."""
    from matplotlib.ticker import MaxNLocator

    losses = np.ma.masked_invalid(landscape.losses.T)
    low, high = float(losses.min()), float(losses.max())
    heights = np.linspace(low, high if high > low else low + 1, levels)
    filled = axes.contourf(landscape.alphas, landscape.betas, losses, levels=heights, cmap="cividis")
    axes.figure.colorbar(filled, ax=axes, label=f"loss ({unit})", format="%.4g", ticks=MaxNLocator(6))
    axes.contour(landscape.alphas, landscape.betas, losses, levels=heights, colors="white", linewidths=0.5)
    axes.plot(0, 0, "o", color=ORANGE)
    axes.set(xlabel="direction 1 (filter norms)", ylabel="direction 2 (filter norms)", aspect="equal")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return tidy(axes)
