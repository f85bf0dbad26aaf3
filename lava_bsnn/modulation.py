"""Modulation between normalisation and neuron: maps a current to a current."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import OptionError, check_option
from .functional.gate import MEANS, agmm


class AGMM(torch.nn.Module):
    """Adaptive gradient modulation (AGMM eq. 11; see :func:`lava_bsnn.functional.agmm`).

    Args:
        num_steps: time steps T.
        num_features: channels C; needed for ``alpha="channel"`` only.
        per: ``"channel"`` or ``"layer"``: what the mean is taken over.
        alpha: ``"step"`` for a factor per time step ``[T]``, ``"channel"`` for ``[T, C]``;
            trainable, initially ``start``.
        start: alpha at first; 0 is a gate of 1/2.
        learn: let alpha learn.
        detach: let no gradient go through the gate, which then scales currents and their gradients alike;
            alpha does not learn.

    Raises:
        OptionError: an unknown option, or ``alpha="channel"`` without ``num_features``.
    """

    def __init__(
        self,
        num_steps: int,
        num_features: int | None = None,
        per: str = "channel",
        alpha: str = "step",
        *,
        start: float = 1.0,
        learn: bool = True,
        detach: bool = False,
    ) -> None:
        super().__init__()
        check_option("AGMM", "per", per, MEANS)
        check_option("AGMM", "alpha", alpha, ("step", "channel"))
        if num_steps < 1:
            raise OptionError(f"AGMM: num_steps={num_steps} is not allowed; use 1 or more")
        if alpha == "channel" and num_features is None:
            raise OptionError("AGMM: alpha='channel' needs num_features; give the number of channels")
        self.per, self.detach = per, detach
        shape = (num_steps,) if alpha == "step" else (num_steps, num_features)
        self.alpha = torch.nn.Parameter(torch.full(shape, float(start)), learn and not detach)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        detached = ", detach=True" if self.detach else ""
        return f"alpha={tuple(self.alpha.shape)}, per={self.per!r}{detached}"

    def forward(self, x: Tensor) -> Tensor:
        """Gate the current ``[N, C, H, W, T]`` or ``[N, C, T]``."""
        return agmm(x, self.alpha, self.per, detach=self.detach)


class ConstantGate(torch.nn.Module):
    """A gate that does not see its input: one learned factor per channel, for neurons without AGMM.

    It is a part of the weights on the device (:func:`lava_bsnn.device.affine`).

    Args:
        factor: ``[C]``.
    """

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(factor.detach().clone().float())

    def extra_repr(self) -> str:
        return f"features={len(self.factor)}"

    def forward(self, x: Tensor) -> Tensor:
        """Scale the current ``[N, C, H, W, T]`` or ``[N, C, T]``."""
        return x * self.factor.view(-1, *[1] * (x.dim() - 2))
