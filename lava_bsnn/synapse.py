"""Synapses that derive from SLAYER's, computed as 2-D operations on ``T * N`` images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import functional
from ._slayer import synapse_layer
from .errors import OptionError, check_option
from .functional.time import fold_time, unfold_time
from .functional.weights import SCALES, quantization_step, sign

Pair = int | tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Binarize:
    """Weight hook: ``alpha * sign(w)`` (see :func:`lava_bsnn.functional.binarize`).

    Attributes:
        scale: ``"channel"`` or ``"layer"``.
        clip: bound of the clipped straight-through estimator; None for the plain one.
        standardize: standardise the layer's weights first (WS-DR, Q-SNN eq. 16).
    """

    scale: str = "channel"
    clip: float | None = None
    standardize: bool = False

    def __post_init__(self) -> None:
        check_option("Binarize", "scale", self.scale, SCALES)

    @property
    def bits(self) -> int:
        """Bits per weight."""
        return 1

    def __call__(self, w: Tensor, descale: bool = False) -> Tensor:
        if descale:
            return self.integers(w)[0]
        w = functional.standardize(w) if self.standardize else w
        return functional.binarize(w, self.scale, clip=self.clip)

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Integer weights (+1 or -1) and the real step per channel that scales them."""
        w = functional.standardize(w.detach()) if self.standardize else w.detach()
        return sign(w), functional.weight_scale(w, self.scale, "mean")


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Weight hook: symmetric k-bit weights (see :func:`lava_bsnn.functional.quantize_weights`)."""

    bits: int = 8
    scale: str = "channel"

    def __post_init__(self) -> None:
        check_option("Quantize", "scale", self.scale, SCALES)
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or self.bits not in range(2, 17):
            raise OptionError(f"Quantize: weight_bits={self.bits!r} is not allowed; use 2..16 or None")

    def __call__(self, w: Tensor, descale: bool = False) -> Tensor:
        return self.integers(w)[0] if descale else functional.quantize_weights(w, self.bits, self.scale)

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Integer weights in ``+-(2^(bits-1) - 1)`` and the real step that scales them."""
        step = quantization_step(w.detach(), self.bits, self.scale)
        return torch.round(w.detach() / step), step


class _HookedWeight:
    """The weight that a synapse computes with."""

    weight: Tensor

    def effective_weight(self) -> Tensor:
        """Weight after ``pre_hook_fx``, ``[out, in, kh, kw]``."""
        hook = self._pre_hook_fx  # type: ignore[attr-defined]
        weight = self.weight if hook is None else hook(self.weight)
        result: Tensor = weight.squeeze(-1)
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class OnGrid:
    """What a synapse computes with on the device's grid, in place of its own weights.

    Attributes:
        weight: integers, in a floating-point type in which the sums are exact up to rounding:
            ``[out, in / groups, kh, kw]``, ``[out, in, ...]``, or None for the ones of a pooling.
        value: real value of a message of 1: inputs are divided by it and rounded.
    """

    weight: Tensor | None
    value: float

    def messages(self, images: Tensor) -> Tensor:
        """Integers that come in."""
        whole = torch.round(images / self.value)
        return whole.float() if self.weight is None else whole.to(self.weight.dtype)


class Conv(_HookedWeight, synapse_layer.Conv):
    """2-D convolution of ``[N, C, H, W, T]``; parameters and weight layout of SLAYER's ``Conv``."""

    def forward(self, x: Tensor, grid: OnGrid | None = None) -> Tensor:
        """Weighted input; with ``grid``, sums of integers."""
        images, num_steps = fold_time(x)
        weight = self.effective_weight() if grid is None else grid.weight
        assert weight is not None
        y = F.conv2d(
            images if grid is None else grid.messages(images),
            weight,
            None,
            self.stride[:2],
            self.padding[:2],
            self.dilation[:2],
            self.groups,
        )
        return unfold_time(y if grid is None else y.round(), x.shape[0], num_steps)


class Dense(_HookedWeight, synapse_layer.Dense):
    """Full connection of ``[N, C, T]`` or ``[N, C, H, W, T]``; inputs are read in C, H, W order."""

    def forward(self, x: Tensor, grid: OnGrid | None = None) -> Tensor:
        """Weighted input; with ``grid``, sums of integers."""
        images, num_steps = fold_time(x)
        weight = self.effective_weight() if grid is None else grid.weight
        assert weight is not None
        images = images if grid is None else grid.messages(images)
        y = F.linear(images.flatten(1), weight.flatten(1))
        y = y if grid is None else y.round()
        if x.dim() == 5:
            y = y[..., None, None]
        return unfold_time(y, x.shape[0], num_steps)


class Pool(synapse_layer.Pool):
    """Sum or average pooling of ``[N, C, H, W, T]``: a fixed convolution per channel."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        weight_scale: float = 1.0,
        mode: str = "average",
    ) -> None:
        check_option("Pool", "mode", mode, ("average", "sum"))
        super().__init__(kernel_size, stride, padding)
        self.mode = mode
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.tap_weight = weight_scale / taps if mode == "average" else weight_scale

    def forward(self, x: Tensor, grid: OnGrid | None = None) -> Tensor:
        """Pooled input; with ``grid``, sums of integers."""
        images, num_steps = fold_time(x)
        images = images if grid is None else grid.messages(images)
        sums = F.avg_pool2d(
            images, self.kernel_size[:2], self.stride[:2], self.padding[:2], divisor_override=1
        )
        sums = sums.round() if grid is not None else sums * self.tap_weight
        return unfold_time(sums, x.shape[0], num_steps)
