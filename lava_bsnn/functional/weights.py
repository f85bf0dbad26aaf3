"""Weight binarisation and k-bit weight quantisation with straight-through gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError, check_option
from . import machine
from .backend import backend_of

SCALES = ("channel", "layer")
BINARY_SCALES = (*SCALES, "power_of_two")
"""Scales of 1-bit weights."""
QUANTIZED_SCALES = (*SCALES, "signed_maximum")
"""Scales of k-bit weights."""
STANDARDS = ("layer", "filter", None)
"""What :func:`standardize` goes over."""
FIRST_SHARPNESS, LAST_SHARPNESS = 0.1, 10.0
"""t of the annealed gradient in the first and the last epoch (Q-SNN's program)."""


def weight_scale(w: Tensor, scale: str, reduce: str) -> Tensor:
    """Reduce ``|w|`` to one number per output channel (dimension 0) or per layer.

    Args:
        w: weights ``[out, ...]``.
        scale: ``"channel"`` or ``"layer"``.
        reduce: ``"mean"`` or ``"max"``.

    Returns:
        Non-negative tensor of shape ``[out, 1, ...]`` or ``[1, 1, ...]``.
    """
    check_option("weight_scale", "scale", scale, SCALES)
    dims = tuple(range(1 if scale == "channel" else 0, w.dim()))
    order = 1 if reduce == "mean" else float("inf")
    norm = torch.linalg.vector_norm(w, order, dims, keepdim=True)  # in one pass
    return norm / (w.numel() / norm.numel()) if reduce == "mean" else norm


def binary_scale(w: Tensor, scale: str) -> Tensor:
    """Magnitude alpha of 1-bit weights: ``mean(|w|)`` per output channel or per layer (AGMM eq. 5).

    With ``"power_of_two"`` it is ``2^round(log2(mean(|w|)))`` per channel (Q-SNN's program), 0 for weights
    that are all zero.

    Args:
        w: weights ``[out, ...]``.
        scale: ``"channel"``, ``"layer"`` or ``"power_of_two"``.

    Returns:
        Non-negative tensor of shape ``[out, 1, ...]`` or ``[1, 1, ...]``.
    """
    check_option("binarize", "scale", scale, BINARY_SCALES)
    if scale != "power_of_two":
        return weight_scale(w, scale, "mean")
    return torch.exp2(torch.round(torch.log2(weight_scale(w, "channel", "mean"))))


def sign(w: Tensor) -> Tensor:
    """Return +1 where ``w >= 0`` and -1 elsewhere; ``sign(0) = +1``."""
    return torch.where(w >= 0, 1.0, -1.0).to(w.dtype)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, carrier: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


def straight_through(value: Tensor, carrier: Tensor) -> Tensor:
    """Return exactly ``value``, with the gradient of ``carrier``, which has the same shape."""
    result: Tensor = _StraightThrough.apply(value.detach(), carrier)
    return result


class _Binarize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, w: Tensor, scale: str, clip: float | None, sharpness: float | None, dtype: torch.dtype
    ) -> Tensor:
        ctx.clip, ctx.sharpness, ctx.dtype = clip, sharpness, w.dtype
        alpha = binary_scale(w, scale)
        if sharpness is not None:
            ctx.save_for_backward(w, alpha)
        elif clip is not None:
            ctx.save_for_backward(w)
        known = w.dtype == torch.float32 and dtype in machine.TYPES and backend_of(w) is machine
        if known and w.dim() > 1:
            return machine.with_signs(alpha, w, dtype)
        return torch.where(w >= 0, alpha, -alpha).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].to(ctx.dtype, memory_format=torch.contiguous_format)
        if ctx.sharpness is not None:
            w, alpha = ctx.saved_tensors
            slope = 1 - torch.tanh(ctx.sharpness * w).square()
            grad = grad * (alpha * max(1.0, ctx.sharpness)) * slope
        elif ctx.clip is not None:
            grad = grad * (ctx.saved_tensors[0].abs() <= ctx.clip)
        return grad, None, None, None, None


def binarize(
    w: Tensor,
    scale: str = "channel",
    *,
    clip: float | None = None,
    sharpness: float | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Binarise weights to ``alpha * sign(w)``.

    Forward: ``w_b = alpha * sign(w)``, alpha as in :func:`binary_scale` (AGMM eq. 5, Q-SNN eq. 6).
    Gradient: straight-through, ``dL/dw = dL/dw_b``; with ``clip=c`` it is 0 where ``|w| > c``; with
    ``sharpness=t`` it is that of ``alpha k tanh(t w)``, ``k = max(1 / t, 1)``, alpha held fixed:
    ``dL/dw = dL/dw_b alpha k t (1 - tanh(t w)^2)`` (the annealed estimator of Q-SNN's program).

    Args:
        w: weights ``[out, ...]``.
        scale: ``"channel"``, ``"layer"`` or ``"power_of_two"``.
        clip: bound of the clipped straight-through estimator; ``None`` for the plain one.
        sharpness: t > 0 of the annealed estimator; ``None`` for the straight-through one.
        dtype: of the result; by default that of ``w``.
    """
    dtype = w.dtype if dtype is None else dtype
    result: Tensor = _Binarize.apply(w, scale, clip, sharpness, dtype)
    return result


def standardize(w: Tensor, per: str = "layer") -> Tensor:
    """Standardise weights: ``(w - mean) / std`` (Q-SNN eq. 16, WS-DR).

    Gradient: that of the formula. The sign of the result is balanced, which maximises the
    entropy of binary weights.

    Args:
        w: weights ``[out, ...]``.
        per: ``"layer"``: over all weights, population deviation. ``"filter"``: over those of each output
            channel, unbiased deviation (Q-SNN's program).
    """
    check_option("standardize", "per", per, STANDARDS[:2])
    if per == "layer":
        std, mean = torch.std_mean(w, correction=0)
    else:
        own = tuple(range(1, w.dim()))
        unbiased = int(w[0].numel() > 1)
        std, mean = torch.std_mean(w, own, correction=unbiased, keepdim=True)
    return (w - mean) / (std + 1e-8)


def quantize_weights(w: Tensor, bits: int, scale: str = "channel") -> Tensor:
    """Quantise weights symmetrically to ``bits`` bits.

    Forward: ``q * step`` with ``q = round(w / step)`` and the step of :func:`quantization_step`.
    Gradient: straight-through.

    Raises:
        OptionError: ``bits`` is not in 2..16.
    """
    if not 2 <= bits <= 16:
        raise OptionError(f"quantize_weights: bits={bits} is not allowed; use 2..16")
    step = quantization_step(w.detach(), bits, scale)
    return straight_through(torch.round(w.detach() / step) * step, w)


def quantization_step(w: Tensor, bits: int, scale: str) -> Tensor:
    """Step of k-bit weights, ``[out, 1, ...]`` or ``[1, 1, ...]``; 1 where it would be 0.

    ``max(|w|) / (2^(bits-1) - 1)`` per ``"channel"`` or ``"layer"``: integers are in
    ``+-(2^(bits-1) - 1)``. ``"signed_maximum"``: ``max(w) / (2^(bits-1) - 1)`` of the layer, the largest
    weight with its sign (Q-SNN's program): integers of negative weights may be larger, nothing is clipped.
    """
    check_option("quantize_weights", "scale", scale, QUANTIZED_SCALES)
    signed = scale == "signed_maximum"
    largest = w.amax().view([1] * w.dim()) if signed else weight_scale(w, scale, "max")
    step = largest / ((1 << (bits - 1)) - 1)
    return torch.where(step != 0, step, torch.ones_like(step))
