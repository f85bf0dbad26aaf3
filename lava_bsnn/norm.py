"""Normalisation between synapse and neuron."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .errors import ShapeError
from .functional.time import fold_time, unfold_time


class BatchNorm(_BatchNorm):
    """Batch normalisation per channel of ``NCHWT`` / ``NCT`` tensors over batch, space and time.

    The same as ``torch.nn.BatchNorm2d`` on ``T * N`` images. An input that repeats one
    frame is normalised once.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in (2, 4):
            raise ShapeError(f"BatchNorm: expected [N, C, H, W, T] or [N, C, T], got {x.dim() + 1} axes")

    def forward(self, x: Tensor) -> Tensor:
        images, num_steps = fold_time(x)
        return unfold_time(super().forward(images), x.shape[0], num_steps)

    def affine_terms(self) -> tuple[Tensor, Tensor]:
        """Gain and offset per channel of the evaluation-mode transform ``gain * x + offset``."""
        if self.running_mean is None or self.running_var is None:
            raise ShapeError("BatchNorm: no running statistics; use track_running_stats=True")
        gain = torch.rsqrt(self.running_var + self.eps)
        if self.weight is not None:
            gain = gain * self.weight
        offset = -self.running_mean * gain
        if self.bias is not None:
            offset = offset + self.bias
        return gain, offset
