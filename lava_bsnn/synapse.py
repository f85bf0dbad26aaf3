"""Synapses that derive from SLAYER's, computed as 2-D operations on ``T * N`` images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import functional
from ._slayer import synapse_layer
from .errors import OptionError, check_option
from .functional.time import fold_time, unfold_time
from .functional.weights import (
    BINARY_SCALES,
    QUANTIZED_SCALES,
    STANDARDS,
    binary_scale,
    quantization_step,
    sign,
)

Pair = int | tuple[int, int]


def _computed(w: Tensor) -> torch.dtype:
    """Type that a convolution with these weights computes in."""
    try:
        autocast = torch.is_autocast_enabled(w.device.type)
    except (TypeError, RuntimeError):  # before torch 2.4, and on devices without; autocast itself converts
        return w.dtype
    return torch.get_autocast_dtype(w.device.type) if autocast else w.dtype


@dataclass(frozen=True, kw_only=True)
class Binarize:
    """Weight hook: ``alpha * sign(w)`` (see :func:`lava_bsnn.functional.binarize`).

    Attributes:
        scale: ``"channel"``, ``"layer"`` or ``"power_of_two"``.
        clip: bound of the clipped straight-through estimator; None for the plain one.
        standardize: standardise the weights first, per ``"layer"`` (WS-DR, Q-SNN eq. 16) or per
            ``"filter"``; None for neither.
        sharpness: t of the annealed gradient, which :func:`lava_bsnn.training.anneal` raises; None for the
            straight-through one.
        latent: False where the weights are +1 and -1 themselves (:mod:`lava_bsnn.training.bso`): they are
            computed with as they are, without a copy.
    """

    scale: str = "channel"
    clip: float | None = None
    standardize: str | None = None
    sharpness: float | None = None
    latent: bool = True

    def __post_init__(self) -> None:
        check_option("Binarize", "scale", self.scale, BINARY_SCALES)
        check_option("Binarize", "standardize", self.standardize, STANDARDS)
        if self.sharpness is not None and (self.clip is not None or not self.sharpness > 0):
            raise OptionError(
                f"Binarize: sharpness={self.sharpness!r} with clip={self.clip!r} is not allowed; use a "
                "number > 0 without clip"
            )

    @property
    def bits(self) -> int:
        """Bits per weight."""
        return 1

    def _standard(self, w: Tensor) -> Tensor:
        return w if self.standardize is None else functional.standardize(w, self.standardize)

    def __call__(self, w: Tensor, descale: bool = False) -> Tensor:
        if descale:
            return self.integers(w)[0]
        if not self.latent:
            return w.to(_computed(w))
        w, dtype = self._standard(w), _computed(w)
        return functional.binarize(w, self.scale, clip=self.clip, sharpness=self.sharpness, dtype=dtype)

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Integer weights (+1 or -1) and the real step per channel that scales them."""
        w = self._standard(w.detach())
        return sign(w), binary_scale(w, self.scale)


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Weight hook: symmetric k-bit weights (see :func:`lava_bsnn.functional.quantize_weights`).

    Attributes:
        bits: 2..16.
        scale: ``"channel"``, ``"layer"`` or ``"signed_maximum"``.
    """

    bits: int = 8
    scale: str = "channel"

    def __post_init__(self) -> None:
        check_option("Quantize", "scale", self.scale, QUANTIZED_SCALES)
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or self.bits not in range(2, 17):
            raise OptionError(f"Quantize: weight_bits={self.bits!r} is not allowed; use 2..16 or None")

    def __call__(self, w: Tensor, descale: bool = False) -> Tensor:
        return self.integers(w)[0] if descale else functional.quantize_weights(w, self.bits, self.scale)

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Integer weights and the real step that scales them."""
        step = quantization_step(w.detach(), self.bits, self.scale)
        return torch.round(w.detach() / step), step


@dataclass(frozen=True, kw_only=True)
class Described:
    """A weight hook of SLAYER's form: a function of weights that with ``descale=True`` gives integers.

    Attributes:
        hook: such as ``quantize_8bit`` of SLAYER's neurons.
        bits: of the integers.
    """

    hook: Any
    bits: int = 8

    def __call__(self, w: Tensor, descale: bool = False) -> Tensor:
        weights: Tensor = self.integers(w)[0] if descale else self.hook(w)
        return weights

    def integers(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Integer weights, without factors that all have in common, and the real step per channel."""
        whole, real = self.hook(w.detach(), descale=True).round(), self.hook(w.detach())
        size, reached = (part.abs().flatten(1).sum(1) for part in (whole, real))
        step = torch.where(size > 0, reached / size.clamp(min=1), 1).view(-1, *[1] * (w.dim() - 1))
        common = int(np.gcd.reduce(whole.long().abs().cpu().numpy(), axis=None)) or 1
        return whole / common, step * common


def recognised(hook: Any) -> Any:
    """A weight hook; one of SLAYER's form, which knows its integers, as :class:`Described`."""
    if hasattr(hook, "integers"):
        return hook
    probe = torch.linspace(-1, 1, 101).view(1, -1, 1, 1, 1)
    try:
        whole, real = hook(probe, descale=True), hook(probe)
        exact = bool((whole == whole.round()).all()) and bool(whole.any())
        step = real.abs().sum() / whole.abs().sum()
        exact = exact and bool(torch.allclose(whole * step, real, rtol=1e-5, atol=1e-7))
    except Exception:  # a hook of another form
        return hook
    return Described(hook=hook) if exact else hook


class _HookedWeight:
    """The weight that a synapse computes with: a parameter, or with weight norm ``g v / |v|`` of two.

    Weight norm is SLAYER's: one g per output channel; parameters ``weight_g`` and ``weight_v``.
    """

    @property
    def weight(self) -> Tensor:
        """Real weights, ``[out, in, kh, kw, 1]``."""
        parameters: Any = self._parameters  # type: ignore[attr-defined]
        if "weight_v" in parameters:
            v, g = parameters["weight_v"], parameters["weight_g"]
            return v * (g / v.flatten(1).norm(dim=1).view(g.shape))
        if "weight" not in parameters:
            raise AttributeError("weight")  # while the base class is made
        weight: Tensor = parameters["weight"]
        return weight

    def enable_weight_norm(self) -> None:
        """Learn length and direction of each output channel's weights apart."""
        if not self.weight_norm_enabled:
            v = self._parameters.pop("weight")  # type: ignore[attr-defined]
            length = v.detach().flatten(1).norm(dim=1).view(-1, *[1] * (v.dim() - 1))
            self.weight_v, self.weight_g = v, torch.nn.Parameter(length)
            self.weight_norm_enabled = True

    def disable_weight_norm(self) -> None:
        """Make the weights one parameter again."""
        if self.weight_norm_enabled:
            weight = self.weight.detach()
            del self.weight_v, self.weight_g
            self.register_parameter("weight", torch.nn.Parameter(weight))  # type: ignore[attr-defined]
            self.weight_norm_enabled = False

    weight_norm_enabled: bool

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
        images = images if grid is None else grid.messages(images)
        stride: tuple[int, ...] = self.stride[:2]
        if self.kernel_size[:2] == (1, 1) and self.padding[:2] == (0, 0) and stride != (1, 1):
            images, stride = images[..., :: stride[0], :: stride[1]], (1, 1)
        # oneDNN of torch 2.14 writes out of bounds where strides skip pixels that are stored channels last
        skips = any(kernel < step for kernel, step in zip(self.kernel_size, stride, strict=False))
        order = torch.contiguous_format if skips else torch.channels_last  # the latter is fastest
        y = F.conv2d(
            images.contiguous(memory_format=order),
            weight.contiguous(memory_format=order) if skips else weight,
            None,
            stride,
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
