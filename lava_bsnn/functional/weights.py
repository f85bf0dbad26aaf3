"""Weight binarisation and k-bit weight quantisation with straight-through gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError, check_option
from . import machine
from .backend import backend_of

SCALES = ("channel", "layer")


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
    def forward(ctx: Any, w: Tensor, scale: str, clip: float | None, dtype: torch.dtype) -> Tensor:
        ctx.clip, ctx.dtype = clip, w.dtype
        ctx.save_for_backward(*([] if clip is None else [w]))
        alpha = weight_scale(w, scale, "mean")
        known = w.dtype == torch.float32 and dtype in machine.TYPES and backend_of(w) is machine
        if known and w.dim() > 1:
            return machine.with_signs(alpha, w, dtype)
        return torch.where(w >= 0, alpha, -alpha).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].to(ctx.dtype, memory_format=torch.contiguous_format)
        if ctx.clip is not None:
            grad = grad * (ctx.saved_tensors[0].abs() <= ctx.clip)
        return grad, None, None, None


def binarize(
    w: Tensor, scale: str = "channel", *, clip: float | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Binarise weights to ``alpha * sign(w)``.

    Forward: ``w_b = alpha * sign(w)``, ``alpha = mean(|w|)`` over each output channel or
    over the layer (AGMM eq. 5, Q-SNN eq. 6).
    Gradient: straight-through, ``dL/dw = dL/dw_b``; with ``clip=c`` it is 0 where ``|w| > c``.

    Args:
        w: weights ``[out, ...]``.
        scale: ``"channel"`` or ``"layer"``.
        clip: bound of the clipped straight-through estimator; ``None`` for the plain one.
        dtype: of the result; by default that of ``w``.
    """
    result: Tensor = _Binarize.apply(w, scale, clip, w.dtype if dtype is None else dtype)
    return result


def standardize(w: Tensor) -> Tensor:
    """Standardise a layer's weights: ``(w - mean) / std`` over all of them (Q-SNN eq. 16, WS-DR).

    Gradient: that of the formula. The sign of the result is balanced, which maximises the
    entropy of binary weights.
    """
    std, mean = torch.std_mean(w, correction=0)
    return (w - mean) / (std + 1e-8)


def quantize_weights(w: Tensor, bits: int, scale: str = "channel") -> Tensor:
    """Quantise weights symmetrically to ``bits`` bits.

    Forward: ``q * step`` with ``q = round(w / step)`` in ``+-(2^(bits-1) - 1)`` and
    ``step = max(|w|) / (2^(bits-1) - 1)`` per output channel or per layer.
    Gradient: straight-through.

    Raises:
        OptionError: ``bits`` is not in 2..16.
    """
    if not 2 <= bits <= 16:
        raise OptionError(f"quantize_weights: bits={bits} is not allowed; use 2..16")
    step = quantization_step(w.detach(), bits, scale)
    return straight_through(torch.round(w.detach() / step) * step, w)


def quantization_step(w: Tensor, bits: int, scale: str) -> Tensor:
    """Step of :func:`quantize_weights`; 1 for a channel whose weights are all zero."""
    step = weight_scale(w, scale, "max") / ((1 << (bits - 1)) - 1)
    return torch.where(step > 0, step, torch.ones_like(step))
