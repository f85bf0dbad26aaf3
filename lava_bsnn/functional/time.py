"""Time layout: logical ``NCHWT`` / ``NCT`` tensors, stored time-major, images channels last.

In a time-major tensor the steps of ``x.movedim(-1, 0)`` follow each other in memory, so folding time into
the batch is a free view and a convolution over time is one 2-D convolution of ``T * N`` images.
A tensor that repeats one frame (stride 0 in time) is folded to its single frame.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ShapeError


def direct_code(frames: Tensor, num_steps: int) -> Tensor:
    """Repeat static frames ``[N, ...]`` over ``num_steps`` steps, ``[N, ..., T]``, without a copy."""
    if num_steps < 1:
        raise ShapeError(f"direct_code: num_steps={num_steps} is not allowed; use 1 or more")
    return frames.unsqueeze(-1).expand(*frames.shape, num_steps)


def is_constant_in_time(x: Tensor) -> bool:
    """Whether ``[..., T]`` repeats one frame by its strides, as :func:`direct_code` gives it."""
    return x.shape[-1] > 1 and x.stride(-1) == 0


def fold_time(x: Tensor) -> tuple[Tensor, int]:
    """Fold ``[N, ..., T]`` to ``([T * N, ...], T)``; a constant input to ``([N, ...], T)``."""
    num_steps = x.shape[-1]
    if is_constant_in_time(x):
        return x[..., 0], num_steps
    return x.movedim(-1, 0).flatten(0, 1), num_steps


def unfold_time(images: Tensor, num_samples: int, num_steps: int) -> Tensor:
    """Undo :func:`fold_time`: images to logical ``[N, ..., T]``, stored time-major."""
    if images.shape[0] == num_samples and num_steps > 1:
        return direct_code(images, num_steps)
    return images.unflatten(0, (num_steps, num_samples)).movedim(0, -1)


def time_major(x: Tensor) -> Tensor:
    """View ``[N, ..., T]`` as ``[T, N, ...]``; copied only if not stored time-major, channels last or not."""
    y = x.movedim(-1, 0)
    if is_constant_in_time(x) or (y.dim() == 5 and y.movedim(2, -1).is_contiguous()):
        return y
    return y.contiguous()


def from_time_major(x: Tensor) -> Tensor:
    """View ``[T, N, ...]`` as logical ``[N, ..., T]``."""
    return torch.movedim(x, 0, -1)
