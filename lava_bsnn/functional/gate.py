"""The adaptive gradient modulation gate of AGMM."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ShapeError, check_option

MEANS = ("channel", "layer")


def agmm(x: Tensor, alpha: Tensor, per: str = "channel", *, detach: bool = False) -> Tensor:
    """Gate a current by its own mean: ``sigmoid(alpha[t] * mean(x[t])) * x[t]`` (AGMM eq. 11).

    Gradient: that of the formula. Its leading factor is the gate itself, in (0, 1), which
    calms sign flips (eq. 15); the rest is divided by the number of values in the mean.

    Args:
        x: current after batch norm, ``[N, C, H, W, T]`` or ``[N, C, T]``.
        alpha: factor per time step, ``[T]`` or ``[T, C]``.
        per: ``"channel"``: mean over height and width; ``"layer"``: also over channels. A
            dense layer has no space: both average over its features.
        detach: let no gradient go through the gate.

    Raises:
        ShapeError: ``alpha`` does not fit the steps or channels of ``x``.
    """
    check_option("agmm", "per", per, MEANS)
    if x.dim() not in (3, 5):
        raise ShapeError(f"agmm: input of shape {tuple(x.shape)}; use [N, C, H, W, T] or [N, C, T]")
    if alpha.shape[0] != x.shape[-1] or (alpha.dim() == 2 and alpha.shape[1] != x.shape[1]):
        raise ShapeError(
            f"agmm: alpha of shape {tuple(alpha.shape)} does not fit input of {x.shape[1]} channels and "
            f"{x.shape[-1]} steps; use num_steps={x.shape[-1]} and num_features={x.shape[1]}"
        )
    over = tuple(range(2, x.dim() - 1)) if x.dim() == 5 else ()
    mean = (x.mean(over) if over else x).movedim(-1, 0)
    factor = gate(mean, alpha, "layer" if x.dim() == 3 else per).movedim(0, -1)
    factor = factor.detach() if detach else factor
    return factor.view(*factor.shape[:2], *[1] * (x.dim() - 3), -1) * x


def gate(mean: Tensor, alpha: Tensor, per: str = "channel") -> Tensor:
    """The factor ``sigmoid(alpha[t] * mean[t])``, ``[T, N, C]``.

    Args:
        mean: of the current over height and width, ``[T or 1, N, C]``.
        alpha: factor per time step, ``[T]`` or ``[T, C]``.
        per: ``"layer"``: take the mean over channels, too; the factor then is ``[T, N, 1]``.
    """
    mean = mean.mean(-1, keepdim=True) if per == "layer" else mean
    return torch.sigmoid((alpha[:, None, None] if alpha.dim() == 1 else alpha[:, None]) * mean)
