"""Surrogate gradients: closed forms of ds/du around the threshold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import check_option

Derivative = Callable[[Tensor, float], Tensor]


def triangular(distance: Tensor, gamma: float) -> Tensor:
    """``max(0, gamma - |u - theta|) / gamma^2`` (AGMM eq. 7, Q-SNN eq. 5)."""
    slope = distance.abs().neg_().add_(gamma).clamp_(min=0)
    return slope if gamma == 1 else slope.div_(gamma * gamma)


def rectangular(distance: Tensor, gamma: float) -> Tensor:
    """``1 / gamma`` where ``|u - theta| < gamma / 2`` (Wu et al. 2018, STBP)."""
    return (distance.abs() < gamma / 2).to(distance.dtype).div_(gamma)


def exponential(distance: Tensor, gamma: float) -> Tensor:
    """``exp(-|u - theta| / gamma) / (2 gamma)``, the form of SLAYER's spike function."""
    return torch.exp(-distance.abs() / gamma).div_(2 * gamma)


SURROGATES: dict[str, Derivative] = {
    "triangular": triangular,
    "rectangular": rectangular,
    "exponential": exponential,
}
"""Surrogates by name; each takes ``u - theta`` and the width ``gamma``."""


def surrogate_derivative(surrogate: str | Derivative) -> Derivative:
    """Return the closed form for a name of ``SURROGATES``, or the callable itself."""
    if callable(surrogate):
        return surrogate
    check_option("surrogate", "surrogate", surrogate, SURROGATES)
    return SURROGATES[surrogate]
