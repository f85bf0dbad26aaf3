"""Normalisation between synapse and neuron."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from . import distributed
from .errors import ShapeError
from .functional.time import fold_time, unfold_time


class BatchNorm(_BatchNorm):
    """Batch normalisation per channel of ``NCHWT`` / ``NCT`` tensors over batch, space and time.

    The same as ``torch.nn.BatchNorm2d`` on ``T * N`` images. An input that repeats one
    frame is normalised once. In a distributed run the statistics in training are those of
    all processes, whose batches must be of equal size.

    Attributes:
        frozen: keep to the running statistics in training too.
        owner: label of its block, for errors.
    """

    frozen = False
    owner = "BatchNorm"

    def train(self, mode: bool = True) -> BatchNorm:
        super().train(mode and not self.frozen)
        return self

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in (2, 4):
            raise ShapeError(f"BatchNorm: expected [N, C, H, W, T] or [N, C, T], got {x.dim() + 1} axes")

    def forward(self, x: Tensor) -> Tensor:
        images, num_steps = fold_time(x)
        self._check_count(images[:, 0].numel())
        synchronise = self.training and distributed.world_size() > 1
        y = self._synchronised(images) if synchronise else super().forward(images)
        return unfold_time(y, x.shape[0], num_steps)

    def _check_count(self, count: int) -> None:
        """Refuse to take statistics of one value per channel."""
        if self.training and count * distributed.world_size() < 2:
            raise ShapeError(
                f"{self.owner}: batch norm in training needs 2 or more values per channel, got {count}; "
                "use larger batches or more steps, norm=None, or model.eval()"
            )

    def _synchronised(self, images: Tensor) -> Tensor:
        """Normalise by mean and variance over the batches of all processes."""
        axes = [0, *range(2, images.dim())]
        column = (-1, *[1] * (images.dim() - 2))
        count = images[:, 0].numel() * distributed.world_size()
        mean = distributed.total(images.sum(axes)) / count
        centred = images - mean.view(column)
        variance = distributed.total(centred.square().sum(axes)) / count
        self._follow(mean, variance, count)
        gain = self._gain(variance)
        y = centred * gain.view(column)
        return y if self.bias is None else y + self.bias.view(column)

    def _gain(self, variance: Tensor) -> Tensor:
        """Factor per channel."""
        gain = torch.rsqrt(variance + self.eps)
        return gain if self.weight is None else gain * self.weight

    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics."""
        if self.running_mean is None or self.running_var is None:
            return
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = self.momentum
            weight = 1 / float(self.num_batches_tracked) if momentum is None else momentum
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
            self.running_var.lerp_(
                (variance * (count / max(1, count - 1))).to(self.running_var.dtype), weight
            )

    def batch_terms(self, mean: Tensor, square: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Gain and offset per channel of the training-mode transform; moves the running statistics.

        Args:
            mean, square: of this process's currents and their squares, float64 ``[C]``.
            count: values per channel that they are of.
        """
        self._check_count(count)
        world_size = distributed.world_size() if self.training else 1
        if world_size > 1:
            mean, square = distributed.total(mean) / world_size, distributed.total(square) / world_size
        variance = (square - mean.square()).clamp(min=0)
        if self.training:
            self._follow(mean, variance, count * world_size)
        gain = self._gain(variance)
        return gain, -mean * gain if self.bias is None else self.bias - mean * gain

    def affine_terms(self) -> tuple[Tensor, Tensor]:
        """Gain and offset per channel of the evaluation-mode transform ``gain * x + offset``."""
        if self.running_mean is None or self.running_var is None:
            raise ShapeError("BatchNorm: no running statistics; use track_running_stats=True")
        gain = self._gain(self.running_var)
        offset = -self.running_mean * gain
        if self.bias is not None:
            offset = offset + self.bias
        return gain, offset


class Bias(BatchNorm):
    """A learned offset per channel, ``x + bias``: batch norm whose mean is 0, variance 1 and gain 1 for good.

    The bias of a fully connected layer that has no batch norm, as in the heads of VGG networks.
    """

    frozen = True

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=0.0)
        self.weight = None  # type: ignore[assignment]  # no gain
        self.eval()
